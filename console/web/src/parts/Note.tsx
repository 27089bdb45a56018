import type { ReactNode } from "react";

import styles from "./Note.module.css";

/** Something to be read before one goes on. */
export function Note({ tone = "plain", children }: { tone?: "plain" | "warn" | "good" | "bad"; children: ReactNode }) {
  return (
    <div className={styles.note} data-tone={tone}>
      {children}
    </div>
  );
}
