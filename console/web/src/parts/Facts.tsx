import type { ReactNode } from "react";

import styles from "./Facts.module.css";

export type Fact = [name: string, value: ReactNode];

/** Names and what belongs to them, aligned. */
export function Facts({ of }: { of: Fact[] }) {
  return (
    <dl className={styles.facts}>
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
