import { type ReactNode, useEffect, useRef } from "react";

import styles from "./View.module.css";

interface Props {
  title: string;
  about?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

let opened = false;

/** A view: its heading, which is given the focus when one comes from another view, and what can be done. */
export function View({ title, about, actions, children }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Engine`;
    if (opened) heading.current?.focus();
    opened = true;
  }, [title]);
  return (
    <div className="stack">
      <div className={styles.head}>
        <div>
          <h1 ref={heading} tabIndex={-1}>
            {title}
          </h1>
          {about !== undefined && <p className="muted">{about}</p>}
        </div>
        {actions !== undefined && <div className="row">{actions}</div>}
      </div>
      {children}
    </div>
  );
}
