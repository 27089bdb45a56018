import { connection } from "../live/connection";
import { useStore } from "../live/store";
import styles from "./Connection.module.css";

const NAMES = { connecting: "connecting", live: "live", lost: "retrying", "signed out": "signed out" };

/** Whether what is shown is pushed as it happens. */
export function ConnectionDot() {
  const { state } = useStore(connection);
  return (
    <span className={styles.dot} data-state={state} title="Connection to the console">
      {NAMES[state]}
    </span>
  );
}
