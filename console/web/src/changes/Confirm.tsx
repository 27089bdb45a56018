import { Button } from "@mantine/core";

import type { ConfirmationGiven } from "../api/types";
import { inWords } from "../format/names";
import { written } from "../format/states";
import { ChangesTable } from "../parts/ChangesTable";
import { Note } from "../parts/Note";
import { ProblemNote } from "../parts/ProblemNote";
import { useNow } from "../parts/useNow";
import styles from "./Confirm.module.css";

interface Props {
  given: ConfirmationGiven;
  verb: string;
  danger: boolean;
  making: boolean;
  error: Error | null;
  onBack: () => void;
  onAgain: () => void;
  onConfirm: () => void;
}

/** What a change would do, and the seconds in which it can be confirmed. */
export function Confirm({ given, verb, danger, making, error, onBack, onAgain, onConfirm }: Props) {
  const left = Math.max(0, Math.ceil((Date.parse(given.expires_at) - useNow(500)) / 1000));
  const over = left === 0 || error !== null;
  return (
    <div className="stack">
      <div className={styles.states}>
        <State name="Now" of={given.before} />
        <State name="Then" of={given.after} />
      </div>
      {given.changes.length > 0 ? (
        <ChangesTable changes={given.changes} />
      ) : (
        <p className="muted">No value that the live algorithm decides with changes.</p>
      )}
      {given.warnings.length > 0 && (
        <Note tone="warn">
          {given.warnings.map((warning) => (
            <p key={warning}>{warning}</p>
          ))}
        </Note>
      )}
      {error !== null && <ProblemNote error={error} />}
      <div className="row">
        {over ? (
          <Button onClick={onAgain} data-autofocus>
            Look at it again
          </Button>
        ) : (
          <Button color={danger ? "red" : "blue"} loading={making} onClick={onConfirm} data-autofocus>
            {verb}
          </Button>
        )}
        <Button variant="default" disabled={making} onClick={onBack}>
          Back
        </Button>
        <Countdown left={left} />
      </div>
    </div>
  );
}

function Countdown({ left }: { left: number }) {
  return (
    <div className={styles.countdown} role="timer" data-short={left <= 10}>
      <progress max={60} value={left} aria-hidden="true" />
      <span className="number">{left === 0 ? "the confirmation has expired" : `${left} s to confirm`}</span>
    </div>
  );
}

function State({ name, of }: { name: string; of: Record<string, unknown> }) {
  return (
    <section className={styles.state}>
      <h3>{name}</h3>
      <dl>
        {Object.entries(of).map(([key, value]) => (
          <div key={key}>
            <dt className="muted">{inWords(key)}</dt>
            <dd>{written(value)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
