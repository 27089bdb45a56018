import type { ReactNode } from "react";

import { ProblemNote } from "./ProblemNote";
import { Waiting } from "./Waiting";

interface Props<Data> {
  query: { data: Data | undefined; error: Error | null; refetch: () => unknown };
  lines?: number;
  children: (data: Data) => ReactNode;
}

/** What a query answered; until then lines that wait, or what went wrong. */
export function Read<Data>({ query, lines = 4, children }: Props<Data>) {
  if (query.data !== undefined) return children(query.data);
  if (query.error !== null) return <ProblemNote error={query.error} onRetry={() => query.refetch()} />;
  return <Waiting lines={lines} />;
}
