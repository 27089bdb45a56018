import { Link } from "wouter";

import { problemOf } from "../api/problem";
import { scopeName, short } from "../format/names";
import { significant } from "../format/numbers";
import { Moment } from "./Moment";
import styles from "./Note.module.css";

/** What went wrong, and what the API named: the bound, the holder, the session. */
export function ProblemNote({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { title, message, members, passing } = problemOf(error);
  const { parameter, low, high, holder, session, scope, until, errors, holds, run_url } = members;
  return (
    <div className={`${styles.note ?? ""} inset`} data-tone="bad" role="alert">
      <strong>{title}</strong>
      <p>{message}</p>
      <ul className={styles.facts}>
        {low !== undefined && high !== undefined && (
          <li>
            {parameter ?? "the value"} may lie between {significant(low)} and {significant(high)}
          </li>
        )}
        {holder !== undefined && (
          <li>
            held by {holder}
            {scope !== undefined && ` for ${scopeName(scope)}`}
            {until !== undefined && (
              <>
                {" "}
                until <Moment at={until} />
              </>
            )}
          </li>
        )}
        {session !== undefined && (
          <li>
            <Link href={`/training/${session}`}>Look at session {short(session)}</Link>
          </li>
        )}
        {run_url !== undefined && (
          <li>
            <a href={run_url} target="_blank" rel="noreferrer">
              Look at the run in Dagster
            </a>
          </li>
        )}
        {holds?.map((one) => (
          <li key={one.parameter}>
            {one.parameter} is held at {significant(one.value)} by {one.by}
          </li>
        ))}
        {errors !== undefined && errors.length > 1 && errors.map((one) => <li key={one.at}>{`${one.at}: ${one.message}`}</li>)}
      </ul>
      {onRetry !== undefined && passing && (
        <button className={styles.retry} onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}
