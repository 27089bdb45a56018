import { type ReactNode, useId } from "react";

import styles from "./Panel.module.css";

interface Props {
  title: string;
  aside?: ReactNode;
  /** Tables reach to the edges of their panel. */
  flush?: boolean;
  marked?: boolean;
  children: ReactNode;
}

/** A part of a view with a heading of its own. */
export function Panel({ title, aside, flush = false, marked = false, children }: Props) {
  const heading = useId();
  return (
    <section className={styles.panel} aria-labelledby={heading} data-flush={flush} data-marked={marked}>
      <div className={styles.head}>
        <h2 id={heading}>{title}</h2>
        {aside !== undefined && <div className={styles.aside}>{aside}</div>}
      </div>
      <div className={styles.body}>{children}</div>
    </section>
  );
}
