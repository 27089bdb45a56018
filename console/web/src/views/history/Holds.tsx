import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { holdsQuery } from "../../api/queries";
import { scopeName } from "../../format/names";
import { plain } from "../../format/numbers";
import { Empty } from "../../parts/Empty";
import { Moment } from "../../parts/Moment";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { Num, Table, Words } from "../../parts/Table";

/** What persons hold, in any scope. */
export function Holds({ scope }: { scope: string | null }) {
  const holds = useQuery(holdsQuery);
  return (
    <Panel title="Held values" flush>
      <Read query={holds}>
        {({ items }) => {
          const rows = items.filter((one) => scope === null || one.scope === scope);
          if (rows.length === 0) {
            return (
              <Empty title="Nothing is held.">
                <Link href="/parameters">Hold a value</Link>
              </Empty>
            );
          }
          return (
            <Table label="Held values" columns={["parameter", "scope", { name: "value", figure: true }, "who", "why", "since (UTC)", "until"]}>
              {rows.map((one) => (
                <tr key={`${one.scope} ${one.parameter}`}>
                  <th scope="row">{one.parameter}</th>
                  <td>{scopeName(one.scope)}</td>
                  <Num>{plain(one.value)}</Num>
                  <td>{one.actor}</td>
                  <Words>{one.reason}</Words>
                  <td>
                    <Moment at={one.since} />
                  </td>
                  <td>{one.until === null ? "it is lifted" : <Moment at={one.until} />}</td>
                </tr>
              ))}
            </Table>
          );
        }}
      </Read>
    </Panel>
  );
}
