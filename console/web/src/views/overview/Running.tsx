import { Link } from "wouter";

import type { Status } from "../../api/types";
import { capitalized, inWords, scopeName, short } from "../../format/names";
import { Empty } from "../../parts/Empty";
import { Moment } from "../../parts/Moment";
import { RunLink } from "../../parts/RunLink";
import { SessionProgress } from "../../parts/SessionProgress";
import { StopTraining } from "../../changes/StopTraining";
import { Tag } from "../../parts/Tag";
import styles from "./Running.module.css";

/** Sessions, runs that wait, experiments, and what is promoted but not in force yet. */
export function Running({ status }: { status: Status }) {
  const { sessions, experiments, pending } = status;
  const waiting = status.runs.filter((run) => !sessions.some((session) => session.id === run.session));
  if (sessions.length + waiting.length + experiments.length + pending.length === 0) {
    return (
      <Empty title="Nothing runs.">
        <Link href="/scenarios">Choose a scenario to train with</Link>
      </Empty>
    );
  }
  return (
    <ul className={styles.list}>
      {sessions.map((session) => (
        <li key={session.id}>
          <div className={styles.head}>
            <Link href={`/training/${session.id}`}>
              {session.title} for {scopeName(session.scope)}
            </Link>
            <span className="row">
              <RunLink url={session.run_url} id={session.run_id} />
              {session.stop === null && <StopTraining of={{ session: session.id }} name={session.title} />}
            </span>
          </div>
          <SessionProgress session={session} episode={session.last_episode} />
        </li>
      ))}
      {waiting.map((run) => (
        <li key={run.run_id}>
          <div className={styles.head}>
            <span>
              {capitalized(inWords(run.scenario ?? "training"))} for {scopeName(run.scope)} <Tag tone="accent">{run.state}</Tag>
            </span>
            <span className="row">
              <RunLink url={run.run_url} id={run.run_id} />
              <StopTraining of={{ run_id: run.run_id }} name={`run ${short(run.run_id)}`} />
            </span>
          </div>
          <p className="muted small">
            {run.actor ?? "somebody"} asked for it
            {run.created_at !== null && (
              <>
                {" at "}
                <Moment at={run.created_at} />
              </>
            )}
          </p>
        </li>
      ))}
      {experiments.map((one) => (
        <li key={one.id}>
          <Link href={`/experiments/${one.id}`}>
            {one.kind === "ab" ? "A/B test" : "Shadow"} for {scopeName(one.scope)}
          </Link>
          <p className="muted small">
            until <Moment at={one.ends_at} />
          </p>
        </li>
      ))}
      {pending.map((one) => (
        <li key={one.key}>
          Promoted for {scopeName(one.scope)}, not in force yet
          <p className="muted small">
            to be resolved until <Moment at={one.until} />
          </p>
        </li>
      ))}
    </ul>
  );
}
