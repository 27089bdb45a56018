import { useQuery } from "@tanstack/react-query";

import { resultsQuery } from "../../api/queries";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { Gate } from "./Gate";
import { Log } from "./Log";
import { ParameterCharts } from "./ParameterCharts";
import { Reward } from "./Reward";
import { SessionHead } from "./SessionHead";

/** One session: how far it is, what it found, what the gate said and what followed. */
export function Session({ id }: { id: string }) {
  const results = useQuery(resultsQuery(id));
  return (
    <Read query={results} lines={10}>
      {(data) => (
        <div className="stack">
          <SessionHead results={data} />
          <Panel title="Reward by episode" aside="scores of the candidates by the scenario's goal; more is better">
            <Reward episodes={data.episodes} running={data.session.running} />
          </Panel>
          <Panel title="Gate" aside="judged on a window that the search never saw">
            <Gate results={data} />
          </Panel>
          {data.episodes.length > 0 && (
            <Panel title="Best parameters by episode" aside="dashed: the default">
              <ParameterCharts scenario={data.session.scenario} episodes={data.episodes} />
            </Panel>
          )}
          <Panel title="Log" flush>
            <Log results={data} />
          </Panel>
        </div>
      )}
    </Read>
  );
}
