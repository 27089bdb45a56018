import { useId } from "react";

import styles from "./Interval.module.css";

interface Props {
  value: number | null;
  low: number | null;
  high: number | null;
  /** What it is and how it reads, for those who do not see it. */
  label: string;
  /** How a number is written. */
  write: (value: number) => string;
}

const WIDTH = 100;

/** An estimate with its interval, against zero. */
export function Interval({ value, low, high, label, write }: Props) {
  const title = useId();
  if (value === null || low === null || high === null) return null;
  const room = 0.08 * Math.max(high - low, Math.abs(high), Math.abs(low), 1e-12);
  const [start, end] = [Math.min(low, 0) - room, Math.max(high, 0) + room];
  const place = (of: number) => ((of - start) / (end - start)) * WIDTH;
  const tone = low > 0 ? "good" : high < 0 ? "bad" : "plain";
  return (
    <div className={styles.interval}>
      <svg viewBox={`0 0 ${WIDTH} 16`} preserveAspectRatio="none" role="img" aria-labelledby={title}>
        <title id={title}>{`${label}: ${write(value)}, interval ${write(low)} to ${write(high)}`}</title>
        <line className={styles.zero} x1={place(0)} x2={place(0)} y1="0" y2="16" />
        <line className={styles.span} data-tone={tone} x1={place(low)} x2={place(high)} y1="8" y2="8" />
        <line className={styles.value} data-tone={tone} x1={place(value)} x2={place(value)} y1="3" y2="13" />
      </svg>
      <div className={styles.scale} aria-hidden="true">
        <span>{write(low)}</span>
        <strong>{write(value)}</strong>
        <span>{write(high)}</span>
      </div>
    </div>
  );
}
