import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { historyQuery } from "../../api/queries";
import { inWords, scopeName } from "../../format/names";
import { Empty } from "../../parts/Empty";
import { Moment } from "../../parts/Moment";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { Table, Words } from "../../parts/Table";
import styles from "./Newest.module.css";

const ROWS = 6;

/** The newest rows of the audit trail. */
export function Newest() {
  const history = useInfiniteQuery(historyQuery(null));
  return (
    <Panel title="Newest in the audit trail" flush aside={<Link href="/history">All of it</Link>}>
      <Read query={history}>
        {({ pages }) => {
          const rows = pages[0]?.items.slice(0, ROWS) ?? [];
          if (rows.length === 0) return <Empty title="Nothing has happened yet." />;
          return (
            <Table label="Newest rows of the audit trail" columns={["when (UTC)", "what", "why"]}>
              {rows.map((row) => (
                <tr key={row.seq}>
                  <td>
                    <Moment at={row.at} />
                  </td>
                  <th scope="row">
                    {inWords(row.kind)}
                    {row.scope !== null && <p className="muted small">{scopeName(row.scope)}</p>}
                  </th>
                  <Words className={styles.why}>
                    <p>
                      {row.actor}: {row.reason}
                    </p>
                  </Words>
                </tr>
              ))}
            </Table>
          );
        }}
      </Read>
    </Panel>
  );
}
