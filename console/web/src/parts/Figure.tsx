import type { ReactNode } from "react";

import styles from "./Figure.module.css";

interface Props {
  name: string;
  value: ReactNode;
  unit?: string;
  below?: ReactNode;
}

/** One figure with its name, as it stands in a row of them. */
export function Figure({ name, value, unit, below }: Props) {
  return (
    <div className={styles.figure}>
      <dt className={styles.name}>{name}</dt>
      <dd>
        <span className={styles.value}>{value}</span>
        {unit !== undefined && <span className={styles.unit}> {unit}</span>}
        {below !== undefined && <div className={styles.below}>{below}</div>}
      </dd>
    </div>
  );
}

export function Figures({ children }: { children: ReactNode }) {
  return <dl className={styles.figures}>{children}</dl>;
}
