import type { ReactNode } from "react";

import type { Missing } from "../api/types";
import styles from "./Empty.module.css";

/** Nothing to show: why, and what makes it. */
export function Empty({ title, missing = [], children }: { title: string; missing?: Missing[]; children?: ReactNode }) {
  return (
    <div className={`${styles.empty ?? ""} inset`}>
      <p className={styles.title}>{title}</p>
      {missing.map(({ what, hint }) => (
        <p key={what}>
          Not available: <code>{what}</code>; {hint}
        </p>
      ))}
      {children}
    </div>
  );
}
