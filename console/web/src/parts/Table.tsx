import type { ReactNode } from "react";

import styles from "./Table.module.css";

interface Column {
  name: string;
  /** Figures stand at the right. */
  figure?: boolean;
}

interface Props {
  label: string;
  columns: (string | Column)[];
  children: ReactNode;
}

/** A table that scrolls inside its own frame where it is wider than the screen. */
export function Table({ label, columns, children }: Props) {
  return (
    <div className={styles.frame} role="group" aria-label={`${label}, scrolls sideways`} tabIndex={0}>
      <table className={styles.table} aria-label={label}>
        <thead>
          <tr>
            {columns.map((column) => {
              const { name, figure } = typeof column === "string" ? { name: column, figure: false } : column;
              return (
                <th key={name} scope="col" data-figure={figure}>
                  {name}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

/** A cell with a figure. */
export function Num({ children, tone }: { children: ReactNode; tone?: "good" | "bad" | undefined }) {
  return (
    <td data-figure="true" className={tone}>
      {children}
    </td>
  );
}
