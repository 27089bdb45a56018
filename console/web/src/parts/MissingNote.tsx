import type { Missing } from "../api/types";
import { Note } from "./Note";

/** What was not made yet, and what makes it. */
export function MissingNote({ missing }: { missing: Missing[] }) {
  if (missing.length === 0) return null;
  return (
    <Note tone="warn">
      {missing.map(({ what, hint }) => (
        <p key={what}>
          Not available: <code>{what}</code>; {hint}
        </p>
      ))}
    </Note>
  );
}
