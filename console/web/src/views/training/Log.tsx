import { useMemo } from "react";

import type { HistoryRow, Results } from "../../api/types";
import { inWords } from "../../format/names";
import { episodeLine, type LogLine } from "../../live/events";
import { useStore } from "../../live/store";
import { log } from "../../live/useLive";
import { Empty } from "../../parts/Empty";
import styles from "./Training.module.css";

/** Episodes, what the history says of the session, and what the stream told since the page was opened. */
export function Log({ results }: { results: Results }) {
  const live = useStore(log);
  const lines = useMemo(() => linesOf(results, live), [results, live]);
  if (lines.length === 0) return <Empty title="Nothing was said yet." />;
  return (
    <ol className={styles.log} tabIndex={0} aria-label="Log, the newest first">
      {lines.map(({ at, text }) => (
        <li key={`${at} ${text}`}>
          <time dateTime={at} className="muted">
            {at.slice(11, 19)}
          </time>
          <span>{text}</span>
        </li>
      ))}
    </ol>
  );
}

function linesOf({ session, episodes, followed }: Results, live: LogLine[]): LogLine[] {
  const history = (followed as unknown as HistoryRow[]).map((row) => ({
    at: row.at,
    session: session.id,
    text: `${inWords(row.kind)} by ${row.actor}: ${row.reason}`,
  }));
  const heard = live.filter((line) => line.session === session.id);
  const all = [...episodes.map(episodeLine), ...history, ...heard];
  const different = new Map(all.map((line) => [`${line.at} ${line.text}`, line]));
  return [...different.values()].sort((one, other) => Date.parse(other.at) - Date.parse(one.at));
}
