import { Skeleton } from "@mantine/core";
import { lazy, Suspense } from "react";

import { utc } from "../format/times";
import { Num, Table } from "../parts/Table";
import styles from "./Chart.module.css";
import type { LineChartProps } from "./series";

const LineChart = lazy(() => import("./LineChart"));
const MOST_ROWS = 200;

/** A drawing of lines, and behind a button the values that it is drawn from. */
export function Chart(props: LineChartProps) {
  return (
    <figure className={styles.figure}>
      <Suspense fallback={<Skeleton height={props.height ?? 220} role="status" aria-label="Reading" />}>
        <LineChart {...props} />
      </Suspense>
      <details className={styles.values}>
        <summary>Values</summary>
        <Values {...props} />
      </details>
    </figure>
  );
}

function Values({ label, x, series, time = false, write }: LineChartProps) {
  const first = Math.max(0, x.length - MOST_ROWS);
  return (
    <div className={styles.table} role="group" aria-label={`${label}, values`} tabIndex={0}>
      <Table label={label} stacks={false} columns={[time ? "time (UTC)" : "episode", ...series.map(({ name }) => ({ name, figure: true }))]}>
        {x.slice(first).map((at, row) => (
          <tr key={at}>
            <th scope="row" className="number">
              {time ? utc(new Date(at * 1000).toISOString()) : at}
            </th>
            {series.map(({ name, values }) => {
              const value = values[first + row];
              return <Num key={name}>{value === null || value === undefined ? "–" : write(value)}</Num>;
            })}
          </tr>
        ))}
      </Table>
    </div>
  );
}
