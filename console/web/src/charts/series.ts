/** A line: its values stand in the order of the x values. */
export interface Series {
  name: string;
  values: (number | null)[];
  /** Custom property of the stylesheet. */
  colour: `--${string}`;
  width?: number;
  dash?: number[];
  area?: boolean;
  stepped?: boolean;
  points?: boolean;
}

/** What is drawn. Arrays and functions must be the same ones while nothing has changed. */
export interface LineChartProps {
  /** What it shows, for those who do not see it. */
  label: string;
  /** Seconds of the epoch where it is time; episodes else. */
  x: number[];
  series: Series[];
  time?: boolean;
  height?: number;
  write: (value: number) => string;
  low?: number | undefined;
  high?: number | undefined;
  /** Values at which a dashed line lies. */
  marks?: number[];
  /** Without a legend. */
  bare?: boolean;
}
