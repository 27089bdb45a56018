import { useMemo } from "react";

import type { Point } from "../../api/types";
import { Chart } from "../../charts/Chart";
import type { Series } from "../../charts/series";
import { fixed } from "../../format/numbers";

const write = (value: number) => fixed(value, 3);
const START = [1];

/** The account over what it began with. */
export function EquityChart({ points, height }: { points: Point[]; height: number }) {
  const [x, series] = useMemo((): [number[], Series[]] => {
    const line: Series = { name: "equity", values: points.map((one) => one.equity), colour: "--series-1" };
    return [points.map((one) => Date.parse(one.ts) / 1000), [line]];
  }, [points]);
  return <Chart label="Equity over what the account began with" x={x} series={series} time height={height} write={write} marks={START} />;
}
