import { Skeleton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";

import { targetsQuery } from "../../api/queries";
import type { EpisodeRow, Target } from "../../api/types";
import type { Series } from "../../charts/series";
import { decimalsOf, fixed, plain } from "../../format/numbers";
import { Num, Table } from "../../parts/Table";
import styles from "./Training.module.css";

const LineChart = lazy(() => import("../../charts/LineChart"));
const HEIGHT = 104;

interface Props {
  scenario: string;
  episodes: EpisodeRow[];
}

/** The best set so far after each episode, one small drawing for each parameter, over all of its range. */
export function ParameterCharts({ scenario, episodes }: Props) {
  const { data } = useQuery(targetsQuery);
  const searched = data?.scenarios.find((one) => one.scenario === scenario)?.targets;
  const targets = data?.parameters.filter(({ name }) => searched?.includes(name) ?? true) ?? [];
  return (
    <>
      <div className={styles.small}>
        {targets.map((target) => (
          <ParameterChart key={target.name} target={target} episodes={episodes} />
        ))}
      </div>
      <details>
        <summary className="muted">Values</summary>
        <Table label="Best parameters by episode" stacks={false} columns={["episode", ...targets.map(({ name }) => ({ name, figure: true }))]}>
          {episodes.map((row) => (
            <tr key={row.number}>
              <th scope="row">{row.episode}</th>
              {targets.map(({ name, step }) => (
                <Num key={name}>{fixed(row.best[name], decimalsOf(step))}</Num>
              ))}
            </tr>
          ))}
        </Table>
      </details>
    </>
  );
}

function ParameterChart({ target, episodes }: { target: Target; episodes: EpisodeRow[] }) {
  const { name, low, high, unit, step } = target;
  const chart = useMemo(() => {
    const digits = decimalsOf(step);
    const line: Series = { name, values: episodes.map((row) => row.best[name] ?? null), colour: "--series-1", stepped: true, points: true };
    return {
      x: episodes.map((row) => row.episode),
      series: [line],
      marks: [target.default],
      write: (value: number) => fixed(value, digits),
    };
  }, [episodes, name, step, target.default]);
  const newest = episodes.at(-1)?.best[name];
  return (
    <div>
      <h3>
        {name} {newest !== undefined && chart.write(newest)} <span className="muted">{unit}</span>
      </h3>
      <p className="muted small number">
        {plain(low)} to {plain(high)}, default {plain(target.default)}
      </p>
      <Suspense fallback={<Skeleton height={HEIGHT} />}>
        <LineChart label={`Best ${name} by episode`} {...chart} height={HEIGHT} low={low} high={high} bare />
      </Suspense>
    </div>
  );
}
