import type { ReactNode } from "react";

import styles from "./Tag.module.css";

export type Tone = "plain" | "accent" | "good" | "bad" | "warn";

/** A short mark; its words alone say what it means. */
export function Tag({ tone = "plain", children }: { tone?: Tone; children: ReactNode }) {
  return (
    <span className={styles.tag} data-tone={tone}>
      {children}
    </span>
  );
}
