import { useState } from "react";
import { Link, useLocation } from "wouter";

import { Icon } from "../parts/Icon";
import styles from "./Navigation.module.css";
import { VIEWS } from "./views";

/** Links to the views: a column at the side, or behind a button where there is little room. */
export function Navigation() {
  const [location] = useLocation();
  const [open, setOpen] = useState(false);
  const here = VIEWS.find(({ path }) => (path === "/" ? location === "/" : location.startsWith(path)));
  return (
    <nav className={styles.side} aria-label="Views">
      <button className={styles.toggle} aria-expanded={open} aria-controls="views" onClick={() => setOpen(!open)}>
        <Icon path={open ? "M6 6l12 12M18 6L6 18" : "M4 7h16M4 12h16M4 17h16"} />
        {here?.name ?? "Views"}
      </button>
      <ul id="views" className={styles.list} data-open={open}>
        {VIEWS.map(({ path, name, icon }) => (
          <li key={path}>
            <Link
              href={path}
              className={styles.link}
              aria-current={here?.path === path ? "page" : undefined}
              onClick={() => setOpen(false)}
            >
              <Icon path={icon} />
              {name}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
