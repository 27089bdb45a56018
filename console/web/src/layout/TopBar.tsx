import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { meQuery, statusQuery } from "../api/queries";
import { forgetToken, token } from "../api/token";
import { versionName } from "../format/names";
import { Icon } from "../parts/Icon";
import { ConnectionDot } from "./ConnectionDot";
import { SchemeToggle } from "./SchemeToggle";
import styles from "./TopBar.module.css";

/** Name of the system, what is in force, who is signed in. */
export function TopBar({ signedOut }: { signedOut: boolean }) {
  const me = useQuery({ ...meQuery, enabled: !signedOut }).data;
  const status = useQuery({ ...statusQuery, enabled: !signedOut }).data;
  return (
    <div className={styles.bar}>
      <Link href="/" className={styles.brand}>
        <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
          <rect width="32" height="32" rx="7" fill="#1d4f8f" />
          <path d="M6 22l6-7 5 4 9-11" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" strokeLinejoin="round" />
        </svg>
        Engine
        <span className={styles.part}>training console</span>
      </Link>
      <div className={styles.facts}>
        {status !== undefined && !signedOut && (
          <Link href="/parameters" className={styles.fact}>
            in force: <strong>{versionName(status.version)}</strong>
          </Link>
        )}
        {me !== undefined && !signedOut && <span className={styles.fact}>{me.source} market</span>}
      </div>
      <ConnectionDot />
      {me !== undefined && !signedOut && (
        <span className={styles.who}>
          <span className={styles.name}>{me.name}</span>
          <span className={styles.role}>{me.role}</span>
        </span>
      )}
      {token() !== null && (
        <button className={styles.icon} onClick={forgetToken} aria-label="Sign out" title="Sign out">
          <Icon path="M14 4h5v16h-5M4 12h10M10 8l4 4-4 4" />
        </button>
      )}
      <SchemeToggle />
    </div>
  );
}
