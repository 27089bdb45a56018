import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";

import { experimentQuery } from "../../api/queries";
import type { Experiment } from "../../api/types";
import { stopExperiment } from "../../api/wishes";
import { ChangeDialog } from "../../changes/ChangeDialog";
import { ReasonDialog } from "../../changes/ReasonDialog";
import { scopeName, short, versionName } from "../../format/names";
import { ChangesTable } from "../../parts/ChangesTable";
import { Facts } from "../../parts/Facts";
import { Moment } from "../../parts/Moment";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { Observed } from "./Observed";
import { Result } from "./Result";

/** One experiment: what is compared, what was seen, what came of it. */
export function Detail({ id }: { id: string }) {
  const experiment = useQuery(experimentQuery(id));
  return <Read query={experiment}>{(data) => <Shown of={data} />}</Read>;
}

function Shown({ of }: { of: Experiment }) {
  const [asked, setAsked] = useState<"stop" | "apply" | null>(null);
  const { session } = of;
  const name = `${of.kind === "ab" ? "A/B test" : "Shadow"} for ${scopeName(of.scope)}`;
  return (
    <Panel
      title={name}
      aside={
        <>
          {of.state === "running" && (
            <Button size="xs" color="red" onClick={() => setAsked("stop")}>
              Stop
            </Button>
          )}
          {session !== null && (
            <Button size="xs" variant={of.result?.verdict === "promote" ? "filled" : "default"} onClick={() => setAsked("apply")}>
              Apply the candidate
            </Button>
          )}
        </>
      }
    >
      <div className="columns">
        <Facts
          of={[
            ["Judged by", of.metric],
            ["Compared with", versionName(of.baseline)],
            ["Begun", <Moment key="begun" at={of.started_at} />],
            ["Ends", <Moment key="ends" at={of.ends_at} hint={of.state === "running"} />],
            ["Registered by", of.actor],
            ["Why", of.reason],
            ["Session", session === null ? "–" : <Link key="session" href={`/training/${session}`}>{short(session)}</Link>],
          ]}
        />
        <Result of={of} />
      </div>
      <h3>Live and candidate</h3>
      <ChangesTable changes={of.changes} names={["live", "candidate"]} />
      <h3>Seen so far</h3>
      <Observed of={of} />
      {asked === "stop" && (
        <ReasonDialog
          title={`Stop the ${name}`}
          verb="Stop the experiment"
          post={async (wish) => `It is ${(await stopExperiment(of.id, wish)).state}, without a result.`}
          onClose={() => setAsked(null)}
        >
          <p>It ends without a result and cannot be taken up again. What is in force stays in force.</p>
        </ReasonDialog>
      )}
      {asked === "apply" && session !== null && (
        <ChangeDialog
          title={`Apply the candidate for ${scopeName(of.scope)}`}
          verb="Apply"
          change={(reason) => ({ action: "apply", change: { session, reason } })}
          onClose={() => setAsked(null)}
        >
          <p>
            The candidate comes into force as a new version, and goes back by itself if it does worse.
            {of.state === "running" && " The experiment has not come to its end: what it shows so far was not to be judged yet."}
          </p>
        </ChangeDialog>
      )}
    </Panel>
  );
}
