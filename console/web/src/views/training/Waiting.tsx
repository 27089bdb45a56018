import type { Run } from "../../api/types";
import { StopTraining } from "../../changes/StopTraining";
import { capitalized, inWords, scopeName, short } from "../../format/names";
import { Note } from "../../parts/Note";
import { RunLink } from "../../parts/RunLink";

/** Runs that no process has taken up yet. */
export function Waiting({ runs }: { runs: Run[] }) {
  return runs.map((run) => (
    <Note key={run.run_id}>
      <div className="row">
        <span>
          {capitalized(inWords(run.scenario ?? "a training"))} for {scopeName(run.scope)} is {run.state}; its session begins once a process has taken it up.
        </span>
        <RunLink url={run.run_url} id={run.run_id} />
        <StopTraining of={{ run_id: run.run_id }} name={`run ${short(run.run_id)}`} />
      </div>
    </Note>
  ));
}
