import { useMemo } from "react";

import type { Point } from "../../api/types";
import { Chart } from "../../charts/Chart";
import type { Series } from "../../charts/series";
import { percent } from "../../format/numbers";

const write = (value: number) => percent(value, 1);

/** How far the account lies below its high. */
export function DrawdownChart({ points }: { points: Point[] }) {
  const [x, series] = useMemo((): [number[], Series[]] => {
    const line: Series = { name: "drawdown", values: points.map((one) => -one.drawdown), colour: "--series-2", area: true };
    return [points.map((one) => Date.parse(one.ts) / 1000), [line]];
  }, [points]);
  return <Chart label="Fall of the account from its high" x={x} series={series} time height={230} write={write} high={0} />;
}
