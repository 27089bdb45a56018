import { connection } from "../live/connection";
import { useStore } from "../live/store";
import { useNow } from "../parts/useNow";
import { duration } from "../format/times";
import styles from "./Connection.module.css";

/** Says that the connection is lost, and how old what is shown has become. */
export function Connection() {
  const { state, heardAt, why } = useStore(connection);
  const now = useNow(1_000);
  return (
    <div role="status">
      {state === "lost" && (
        <p className={styles.lost}>
          <strong>Connection lost, retrying.</strong> {why}.
          {heardAt !== null && ` What is shown is ${duration((now - heardAt) / 1000)} old.`}
        </p>
      )}
    </div>
  );
}
