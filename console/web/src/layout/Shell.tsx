import type { ReactNode } from "react";

import { useLive } from "../live/useLive";
import { Connection } from "./Connection";
import { Navigation } from "./Navigation";
import styles from "./Shell.module.css";
import { SignIn } from "./SignIn";
import { TopBar } from "./TopBar";

/** What surrounds every view: navigation, the bar on top, and the state of the connection. */
export function Shell({ children }: { children: ReactNode }) {
  useLive();
  return (
    <div className={styles.shell}>
      <a className={styles.skip} href="#main">
        Skip to the content
      </a>
      <header className={styles.top}>
        <TopBar />
      </header>
      <Navigation />
      <main id="main" className={styles.main} tabIndex={-1}>
        <Connection />
        {children}
      </main>
      <SignIn />
    </div>
  );
}
