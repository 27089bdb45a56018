import { useInfiniteQuery } from "@tanstack/react-query";

import { historyQuery } from "../../api/queries";
import type { HistoryRow } from "../../api/types";
import { inWords, scopeName } from "../../format/names";
import { Empty } from "../../parts/Empty";
import { Moment } from "../../parts/Moment";
import { More } from "../../parts/More";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { Table, Words } from "../../parts/Table";
import styles from "./History.module.css";

/** The audit trail, the newest row first. */
export function Trail({ scope }: { scope: string | null }) {
  const history = useInfiniteQuery(historyQuery(scope));
  return (
    <Panel title="Audit trail" flush>
      <Read query={history} lines={8}>
        {({ pages }) => {
          const rows = pages.flatMap((page) => page.items);
          if (rows.length === 0) return <Empty title="Nothing has happened yet." />;
          return (
            <>
              <Table label="Audit trail" columns={["row", "when (UTC)", "what", "scope", "who", "why", "about"]}>
                {rows.map((row) => (
                  <Row key={row.seq} of={row} />
                ))}
              </Table>
              <More query={history} />
            </>
          );
        }}
      </Read>
    </Panel>
  );
}

function Row({ of }: { of: HistoryRow }) {
  return (
    <tr>
      <td className="number">{of.seq}</td>
      <td>
        <Moment at={of.at} seconds />
      </td>
      <th scope="row">{inWords(of.kind)}</th>
      <td>{of.scope !== null && scopeName(of.scope)}</td>
      <td>{of.actor}</td>
      <Words className={styles.why}>{of.reason}</Words>
      <Words className={styles.about}>
        {of.subject !== null && <code>{of.subject}</code>}
        <details>
          <summary>Content and hash</summary>
          <pre>{JSON.stringify(of.content, null, 1)}</pre>
          <code>{of.hash}</code>
        </details>
      </Words>
    </tr>
  );
}
