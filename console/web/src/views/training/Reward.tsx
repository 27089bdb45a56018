import { useMemo } from "react";

import type { EpisodeRow } from "../../api/types";
import { Chart } from "../../charts/Chart";
import type { Series } from "../../charts/series";
import { significant } from "../../format/numbers";
import { Empty } from "../../parts/Empty";

const write = (value: number) => significant(value, 3);

/** Mean and best score of each episode's candidates, and the best so far. */
export function Reward({ episodes, running }: { episodes: EpisodeRow[]; running: boolean }) {
  const [x, series] = useMemo(() => {
    const lines: Series[] = [
      { name: "best so far", values: episodes.map((row) => row.best_so_far), colour: "--series-1", width: 2.25, stepped: true },
      { name: "best", values: episodes.map((row) => row.best_score), colour: "--series-3", points: true },
      { name: "mean", values: episodes.map((row) => row.mean_score), colour: "--series-2", points: true },
    ];
    return [episodes.map((row) => row.episode), lines] as const;
  }, [episodes]);
  if (episodes.length === 0) {
    return <Empty title={running ? "The first episode has not ended yet." : "It ended before its first episode."} />;
  }
  return <Chart label="Scores by episode" x={x} series={series} write={write} height={230} />;
}
