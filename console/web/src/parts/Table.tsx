import { type ReactNode, useRef } from "react";

import styles from "./Table.module.css";
import { useScrolls } from "./useScrolls";

interface Column {
  name: string;
  /** Figures stand at the right. */
  figure?: boolean;
}

interface Props {
  label: string;
  columns: (string | Column)[];
  /** Whether each row is a block of its own where there is little room: the name of its column stands before each cell. */
  stacks?: boolean;
  children: ReactNode;
}

/** A table. Where it does not stack and is wider than the screen, it scrolls inside its own frame, and says so. */
export function Table({ label, columns, stacks = true, children }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const scrolls = useScrolls(frame);
  const heads = columns.map((column) => (typeof column === "string" ? { name: column, figure: false } : column));
  const names = Object.fromEntries(heads.map(({ name }, at) => [`--column-${at + 1}`, JSON.stringify(name)]));
  return (
    <div className={styles.whole}>
      {scrolls && (
        <p className={styles.hint} aria-hidden="true">
          more columns: scroll sideways →
        </p>
      )}
      <div
        ref={frame}
        className={styles.frame}
        {...(scrolls && { role: "group", "aria-label": `${label}, scrolls sideways`, tabIndex: 0 })}
      >
        <table className={styles.table} data-stacks={stacks} aria-label={label} style={names}>
          <thead>
            <tr>
              {heads.map(({ name, figure }) => (
                <th key={name} scope="col" data-figure={figure}>
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>{children}</tbody>
        </table>
      </div>
    </div>
  );
}

interface NumProps {
  children: ReactNode;
  tone?: "good" | "bad" | undefined;
  /** Whether it is given the whole width of a block, as one with an interval needs it. */
  wide?: boolean;
}

/** A cell with a figure; a dash where there is none. */
export function Num({ children, tone, wide = false }: NumProps) {
  return (
    <td data-figure="true" data-none={children === "–"} data-wide={wide} className={tone}>
      {children}
    </td>
  );
}

/** A cell with a sentence or more, which is given the whole width of a block. */
export function Words({ children, className }: { children: ReactNode; className?: string | undefined }) {
  return (
    <td data-wide="true" className={className}>
      {children}
    </td>
  );
}
