import { plain } from "../format/numbers";
import styles from "./BoundsBar.module.css";

interface Props {
  low: number;
  high: number;
  value: number;
  fallback: number;
}

/** Where a value and its default lie between the bounds. */
export function BoundsBar({ low, high, value, fallback }: Props) {
  const place = (of: number) => `${Math.min(Math.max((of - low) / (high - low), 0), 1) * 100}%`;
  const from = Math.min(value, fallback);
  const to = Math.max(value, fallback);
  const words = `${plain(value)} between ${plain(low)} and ${plain(high)}, default ${plain(fallback)}`;
  return (
    <div className={styles.bar}>
      <span className={styles.bound}>{plain(low)}</span>
      <div className={styles.track} role="img" aria-label={words} title={words}>
        <div className={styles.moved} style={{ left: place(from), right: `calc(100% - ${place(to)})` }} />
        <div className={styles.fallback} style={{ left: place(fallback) }} />
        <div className={styles.value} style={{ left: place(value) }} />
      </div>
      <span className={styles.bound}>{plain(high)}</span>
    </div>
  );
}
