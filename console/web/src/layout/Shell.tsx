import type { ReactNode } from "react";

import { signIn } from "../api/token";
import { useStore } from "../live/store";
import { useLive } from "../live/useLive";
import { Connection } from "./Connection";
import { Navigation } from "./Navigation";
import styles from "./Shell.module.css";
import { SignIn } from "./SignIn";
import { TopBar } from "./TopBar";

/** What surrounds every view: navigation, the bar on top, and the state of the connection. Nobody signed out sees a view. */
export function Shell({ children }: { children: ReactNode }) {
  useLive();
  const { needed } = useStore(signIn);
  return (
    <div className={styles.shell}>
      <a className={styles.skip} href="#main">
        Skip to the content
      </a>
      <header className={styles.top}>
        <TopBar signedOut={needed} />
      </header>
      <Navigation />
      <main id="main" className={styles.main} tabIndex={-1}>
        <Connection />
        {!needed && children}
      </main>
      <SignIn />
    </div>
  );
}
