import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { targetsQuery } from "../../api/queries";
import type { EpisodeRow, Target } from "../../api/types";
import { Chart } from "../../charts/Chart";
import type { Series } from "../../charts/series";
import { decimalsOf, fixed, plain } from "../../format/numbers";
import styles from "./Training.module.css";

/** The best set so far after each episode, one small drawing for each parameter, over all of its range. */
export function ParameterCharts({ episodes }: { episodes: EpisodeRow[] }) {
  const targets = useQuery(targetsQuery).data?.parameters ?? [];
  const searched = targets.filter(({ name }) => episodes.some((row) => name in row.best));
  return (
    <div className={styles.small}>
      {searched.map((target) => (
        <ParameterChart key={target.name} target={target} episodes={episodes} />
      ))}
    </div>
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
  return (
    <div>
      <h3>
        {name} <span className="muted">{unit}</span>
      </h3>
      <p className="muted small number">
        {plain(low)} to {plain(high)}, default {plain(target.default)}
      </p>
      <Chart label={`Best ${name} by episode`} {...chart} height={110} low={low} high={high} />
    </div>
  );
}
