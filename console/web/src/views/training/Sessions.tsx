import { Link } from "wouter";

import type { SessionRow } from "../../api/types";
import { scopeName } from "../../format/names";
import { Moment } from "../../parts/Moment";
import { More } from "../../parts/More";
import { Panel } from "../../parts/Panel";
import { VerdictTag } from "../../parts/VerdictTag";
import styles from "./Training.module.css";

interface Props {
  rows: SessionRow[];
  shown: string;
  query: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown };
}

/** All sessions, the newest first. */
export function Sessions({ rows, shown, query }: Props) {
  return (
    <Panel title="Sessions" flush>
      <ul className={styles.list}>
        {rows.map((row) => (
          <li key={row.id}>
            <Link href={`/training/${row.id}`} className={styles.entry} aria-current={row.id === shown}>
              <span className={styles.name}>
                {row.title}
                <VerdictTag verdict={row.verdict ?? row.status} />
              </span>
              <span className="small muted">
                {scopeName(row.scope)} · {row.actor}
              </span>
              <span className="small">
                <Moment at={row.started_at} />
              </span>
            </Link>
          </li>
        ))}
      </ul>
      <More query={query} />
    </Panel>
  );
}
