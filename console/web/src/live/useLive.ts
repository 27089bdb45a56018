import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";

import { resultsQuery, statusQuery } from "../api/queries";
import { signIn } from "../api/token";
import { follow } from "./connection";
import { type LiveEvent, type LogLine, touchedBy, withEpisode, withLastEpisode, withLine } from "./events";
import { createStore, useStore } from "./store";

/** What the stream has said about sessions since the page was opened. */
export const log = createStore<LogLine[]>([]);

/** Keep all that is shown up to date by the event stream, as long as the page is signed in. */
export function useLive(): void {
  const queries = useQueryClient();
  const { needed } = useStore(signIn);
  useEffect(() => {
    if (needed) return;
    const end = new AbortController();
    void follow((event) => take(queries, event), end.signal);
    return () => end.abort();
  }, [queries, needed]);
}

function take(queries: QueryClient, event: LiveEvent): void {
  const before = queries.getQueryData(statusQuery.queryKey);
  if (event.kind === "status") queries.setQueryData(statusQuery.queryKey, event.data);
  if (event.kind === "health" && before !== undefined) {
    queries.setQueryData(statusQuery.queryKey, { ...before, health: event.data });
  }
  if (event.kind === "episode") {
    const row = event.data;
    queries.setQueryData(resultsQuery(row.session).queryKey, (known) => known && withEpisode(known, row));
    queries.setQueryData(statusQuery.queryKey, (known) => known && withLastEpisode(known, row));
  }
  for (const name of touchedBy(event, before)) void queries.invalidateQueries({ queryKey: [name] });
  const lines = withLine(log.get(), event);
  if (lines !== log.get()) log.set(lines);
}
