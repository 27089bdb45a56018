import styles from "./Effort.module.css";

const LEVELS = ["low", "medium", "high"];

/** How aggressively it searches: as many strokes as its level has, and what the market leaves of it. */
export function Effort({ own, now }: { own: string; now: string }) {
  const level = LEVELS.indexOf(now);
  return (
    <span className={styles.effort}>
      <span className={styles.strokes} aria-hidden="true">
        {LEVELS.map((name, at) => (
          <span key={name} data-on={at <= level} />
        ))}
      </span>
      {own === now ? own : `${now} in this market (${own} by itself)`}
    </span>
  );
}
