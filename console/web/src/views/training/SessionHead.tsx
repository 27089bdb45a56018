import { Button } from "@mantine/core";
import { useState } from "react";
import { Link } from "wouter";

import type { Results } from "../../api/types";
import { ChangeDialog } from "../../changes/ChangeDialog";
import { StopTraining } from "../../changes/StopTraining";
import { capitalized, scopeName, short, versionName } from "../../format/names";
import { duration } from "../../format/times";
import { Facts } from "../../parts/Facts";
import { Moment } from "../../parts/Moment";
import { Panel } from "../../parts/Panel";
import { RunLink } from "../../parts/RunLink";
import { SessionProgress } from "../../parts/SessionProgress";

/** What was asked for, how far it is, how it ended; to stop it, or to apply what it promoted. */
export function SessionHead({ results }: { results: Results }) {
  const { session, episodes, can_apply, elapsed_s, expected } = results;
  const [applying, setApplying] = useState(false);
  return (
    <Panel
      title={`${session.title} for ${scopeName(session.scope)}`}
      aside={
        <>
          <RunLink url={session.run_url} id={session.run_id} />
          {session.running && session.stop === null && <StopTraining of={{ session: session.id }} name={session.title} />}
          {can_apply && (
            <Button size="xs" onClick={() => setApplying(true)}>
              Apply
            </Button>
          )}
        </>
      }
    >
      <div aria-live="polite">
        <SessionProgress session={session} episode={episodes.at(-1) ?? null} />
      </div>
      {session.why !== null && <p>{capitalized(session.why)}.</p>}
      <div className="columns">
        <Facts
          of={[
            ["Asked for by", session.actor],
            ["Reason", session.reason],
            ["Symbols", session.symbols.length === 0 ? "all that are stored" : session.symbols.join(", ")],
            ["Search", session.method ?? "–"],
            ["After a promotion", session.mode === "ab" ? "A/B test" : (session.mode ?? "–")],
          ]}
        />
        <Facts
          of={[
            ["Begun", <Moment key="begun" at={session.started_at} />],
            ["Ended", session.ended_at === null ? "it runs" : <Moment key="ended" at={session.ended_at} />],
            ["Took", elapsed_s === null ? "–" : duration(elapsed_s)],
            ["Measured against", expected === null ? "–" : versionName(expected)],
            ["Came of it", <Outcome key="outcome" results={results} />],
          ]}
        />
      </div>
      <p className="muted small">
        Session <code>{short(session.id)}</code>, held by {session.holder}
      </p>
      {applying && (
        <ChangeDialog
          title={`Apply what ${session.title} promoted`}
          verb="Apply"
          change={(reason) => ({ action: "apply", change: { session: session.id, reason } })}
          onClose={() => setApplying(false)}
        >
          <p>It comes into force for {scopeName(session.scope)} as a new version, and goes back by itself if it does worse.</p>
        </ChangeDialog>
      )}
    </Panel>
  );
}

function Outcome({ results }: { results: Results }) {
  const { version, experiment, running } = results.session;
  if (version !== null) return <Link href="/history">{versionName(version)}</Link>;
  if (experiment !== null) return <Link href={`/experiments/${experiment}`}>experiment {short(experiment)}</Link>;
  return running ? "open" : "nothing; what was in force still is";
}
