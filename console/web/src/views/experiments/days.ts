import type { Experiment } from "../../api/types";

interface Day {
  day: string;
  live: number;
  shadow: number;
}

/** The days among what was seen, in their order; the design of the experiment is none. */
export function shadowDays(observations: Experiment["observations"]): Day[] {
  const days: Day[] = [];
  for (const { key, content } of observations) {
    const { live, shadow } = content as { live?: unknown; shadow?: unknown };
    if (typeof live === "number" && typeof shadow === "number") days.push({ day: key, live, shadow });
  }
  return days.sort((one, other) => one.day.localeCompare(other.day));
}

/** Running sums. */
export function summed(values: number[]): number[] {
  let sum = 0;
  return values.map((value) => (sum += value));
}
