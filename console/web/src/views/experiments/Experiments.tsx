import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { experimentsQuery } from "../../api/queries";
import type { ExperimentRow } from "../../api/types";
import { scopeName, versionName } from "../../format/names";
import { signedSignificantPercent } from "../../format/numbers";
import { Empty } from "../../parts/Empty";
import { Moment } from "../../parts/Moment";
import { More } from "../../parts/More";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { Num, Table } from "../../parts/Table";
import { VerdictTag } from "../../parts/VerdictTag";
import { View } from "../../parts/View";
import { Detail } from "./Detail";

/** Shadow runs and A/B tests: what was promoted, compared with what is in force on live bars. */
export default function Experiments({ id }: { id: string | null }) {
  const experiments = useInfiniteQuery(experimentsQuery);
  return (
    <View title="Experiments" about="A shadow decides beside the live algorithm; an A/B test lets both decide in turn. Neither applies anything by itself.">
      <Read query={experiments} lines={8}>
        {({ pages }) => {
          const rows = pages.flatMap((page) => page.items);
          const shown = id ?? rows[0]?.id ?? null;
          if (shown === null) {
            return (
              <Empty title="There was no experiment yet.">
                <p>Start a scenario and choose shadow or A/B test as what follows a promotion.</p>
                <Link href="/scenarios">Choose a scenario</Link>
              </Empty>
            );
          }
          return (
            <>
              <Panel title="All experiments" flush>
                <Rows rows={rows} shown={shown} />
                <More query={experiments} />
              </Panel>
              <Detail id={shown} key={shown} />
            </>
          );
        }}
      </Read>
    </View>
  );
}

function Rows({ rows, shown }: { rows: ExperimentRow[]; shown: string }) {
  return (
    <Table label="Experiments" columns={["experiment", "state", "begun (UTC)", "ends", "compared with", { name: "effect", figure: true }, "verdict"]}>
      {rows.map((row) => (
        <tr key={row.id}>
          <th scope="row">
            <Link href={`/experiments/${row.id}`} aria-current={row.id === shown}>
              {row.kind === "ab" ? "A/B test" : "Shadow"} for {scopeName(row.scope)}
            </Link>
          </th>
          <td>
            <VerdictTag verdict={row.state} />
          </td>
          <td>
            <Moment at={row.started_at} hint={false} />
          </td>
          <td>
            <Moment at={row.ends_at} hint={row.state === "running"} />
          </td>
          <td>{versionName(row.baseline)}</td>
          <Num>{signedSignificantPercent(row.result?.effect)}</Num>
          <td>{row.result !== null && <VerdictTag verdict={row.result.verdict} />}</td>
        </tr>
      ))}
    </Table>
  );
}
