import type { VersionPerformance } from "../../api/types";
import { versionName } from "../../format/names";
import { percent, signedPercent } from "../../format/numbers";
import { utcDate } from "../../format/times";
import { Empty } from "../../parts/Empty";
import { Num, Table } from "../../parts/Table";

/** What was earned by the trades that each version decided. */
export function ByVersion({ rows }: { rows: VersionPerformance[] }) {
  if (rows.length === 0) return <Empty title="No trade has been closed yet." />;
  return (
    <Table
      label="Trades by version"
      columns={[
        "decided with",
        { name: "trades", figure: true },
        { name: "win rate (95 %)", figure: true },
        { name: "net, summed", figure: true },
        { name: "costs", figure: true },
      ]}
    >
      {rows.map((row) => (
        <tr key={row.version}>
          <th scope="row">
            {versionName(row.version)}
            <p className="muted small number">
              {utcDate(row.first)} to {utcDate(row.last)}
            </p>
          </th>
          <Num>{row.trades}</Num>
          <Num wide>
            {percent(row.win_rate, 0)}
            {row.trades > 0 && (
              <p className="muted small">
                {percent(row.low, 0)} to {percent(row.high, 0)}
              </p>
            )}
          </Num>
          <Num tone={row.net_return < 0 ? "bad" : "good"}>{signedPercent(row.net_return, 2)}</Num>
          <Num>{percent(row.costs, 2)}</Num>
        </tr>
      ))}
    </Table>
  );
}
