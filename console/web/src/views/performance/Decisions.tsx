import { SegmentedControl } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";

import { decisionsQuery } from "../../api/queries";
import type { DecisionRow } from "../../api/types";
import { versionName } from "../../format/names";
import { fixed, percent } from "../../format/numbers";
import { utc } from "../../format/times";
import { Empty } from "../../parts/Empty";
import { More } from "../../parts/More";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { Num, Table, Words } from "../../parts/Table";
import { Tag } from "../../parts/Tag";
import styles from "./Decisions.module.css";

const SHOWN = { all: "All", enter: "Entries", hold: "Positions held" } as const;

/** Decisions with the figures that they were judged by, the newest first. */
export function Decisions({ symbol }: { symbol: string | null }) {
  const [action, setAction] = useState<keyof typeof SHOWN>("all");
  const decisions = useInfiniteQuery(decisionsQuery(symbol, action === "all" ? null : action));
  return (
    <Panel
      title="Decisions"
      flush
      aside={
        <SegmentedControl
          size="xs"
          aria-label="Which decisions"
          value={action}
          onChange={setAction}
          data={Object.entries(SHOWN).map(([value, label]) => ({ value: value as keyof typeof SHOWN, label }))}
        />
      }
    >
      <Read query={decisions} lines={8}>
        {({ pages }) => {
          const rows = pages.flatMap((page) => page.items);
          if (rows.length === 0) {
            const title = action === "all" ? "Nothing was decided yet." : "No such decision was made.";
            return <Empty title={title} missing={pages[0]?.missing ?? []} />;
          }
          return (
            <>
              <Rows rows={rows} />
              <More query={decisions} />
            </>
          );
        }}
      </Read>
    </Panel>
  );
}

function Rows({ rows }: { rows: DecisionRow[] }) {
  return (
    <Table
      label="Decisions"
      columns={[
        "bar (UTC)",
        "symbol",
        "action",
        { name: "size", figure: true },
        { name: "stop", figure: true },
        { name: "target", figure: true },
        { name: "confidence", figure: true },
        "decided with",
        "reasons",
      ]}
    >
      {rows.map((row) => (
        <tr key={`${row.symbol} ${row.ts}`}>
          <td>
            <time dateTime={row.ts} className="number">
              {utc(row.ts)}
            </time>
          </td>
          <th scope="row" className="number">
            {row.symbol}
          </th>
          <td className={styles.action}>
            <Action of={row} />
          </td>
          <Num>{row.size ? percent(row.size, 0) : "–"}</Num>
          <Num>{row.stop ? percent(row.stop, 1) : "–"}</Num>
          <Num>{row.target ? percent(row.target, 1) : "–"}</Num>
          <Num>{row.action === "enter" ? fixed(row.confidence) : "–"}</Num>
          <td className={styles.version}>
            {versionName(row.version)}
            {row.overridden.length > 0 && <p className="muted small" title={row.overridden.join(", ")}>{row.overridden.length} held</p>}
            {row.arm !== null && <p className="muted small">test: {row.arm}</p>}
          </td>
          <Words className={styles.reasons}>
            {row.reasons.join("; ")}
            {row.waits.length > 0 && <p className="muted small">waits: {row.waits.join(", ")}</p>}
          </Words>
        </tr>
      ))}
    </Table>
  );
}

function Action({ of }: { of: DecisionRow }) {
  if (of.action === "none") return <span className="muted">none</span>;
  const side = of.side > 0 ? "long" : of.side < 0 ? "short" : "";
  return (
    <>
      <Tag tone={of.action === "enter" ? "accent" : "plain"}>
        {of.action} {side}
      </Tag>
      {of.kind !== null && <p className="muted small">{of.kind.toLowerCase()}</p>}
    </>
  );
}
