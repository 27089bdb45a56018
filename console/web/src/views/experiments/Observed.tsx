import { useMemo } from "react";

import type { Experiment } from "../../api/types";
import { Chart } from "../../charts/Chart";
import type { Series } from "../../charts/series";
import { counted } from "../../format/names";
import { signedPercent } from "../../format/numbers";
import { Empty } from "../../parts/Empty";
import { shadowDays, summed } from "./days";

const write = (value: number) => signedPercent(value, 2);
const ZERO = [0];

/** The days of a shadow, summed up on both sides. An A/B test is seen in its decisions. */
export function Observed({ of }: { of: Experiment }) {
  const days = useMemo(() => shadowDays(of.observations), [of.observations]);
  const [x, series] = useMemo(() => {
    const lines: Series[] = [
      { name: "live", values: summed(days.map((one) => one.live)), colour: "--series-1" },
      { name: "candidate", values: summed(days.map((one) => one.shadow)), colour: "--series-2" },
    ];
    return [days.map((one) => Date.parse(one.day) / 1000), lines] as const;
  }, [days]);
  if (of.kind === "ab") {
    return <p className="muted">The two arms decide in turn; the table of decisions says which one did, and the result is drawn from their trades at the end.</p>;
  }
  if (days.length === 0) return <Empty title="No whole day was seen yet.">The job live_loop sees one with each day that ends.</Empty>;
  return (
    <>
      <p className="muted small">
        {counted(days.length, "day")}, net returns summed. Looking does not judge: the verdict falls at the end alone.
      </p>
      <Chart label="Net returns of live and candidate, summed" x={x} series={series} time write={write} marks={ZERO} />
    </>
  );
}
