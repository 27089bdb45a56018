import type { ReactNode } from "react";

import type { Missing } from "../api/types";
import styles from "./Empty.module.css";

/** Nothing to show: why, and what makes it. */
export function Empty({ title, missing = [], children }: { title: string; missing?: Missing[]; children?: ReactNode }) {
  return (
    <div className={styles.empty}>
      <p className={styles.title}>{title}</p>
      {missing.map(({ what, hint }) => (
        <p key={what}>
          <code>{what}</code> is missing: {hint}
        </p>
      ))}
      {children}
    </div>
  );
}
