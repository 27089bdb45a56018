import { useQuery } from "@tanstack/react-query";

import { scenariosQuery, statusQuery } from "../../api/queries";
import type { Status } from "../../api/types";
import { MissingNote } from "../../parts/MissingNote";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { View } from "../../parts/View";
import { Account } from "./Account";
import { HealthFacts } from "./HealthFacts";
import { Headline } from "./Headline";
import { Newest } from "./Newest";
import { Recommended } from "./Recommended";
import { Running } from "./Running";

/** While a step writes to the warehouse, the API says that the whole of it is missing. */
function readable(status: Status): boolean {
  return !status.missing.some(({ what }) => what === "the warehouse");
}

/** Where everything stands, on one page. */
export function Overview() {
  const status = useQuery(statusQuery);
  const scenarios = useQuery(scenariosQuery);
  return (
    <View title="Overview" about="What the system does to the live algorithm, and what it goes by.">
      <Read query={status} lines={3}>
        {(data) => (
          <>
            <MissingNote missing={data.missing} />
            <Headline status={data} market={scenarios.data?.market ?? null} readable={readable(data)} />
          </>
        )}
      </Read>
      <div className="columns">
        <div className="stack">
          <Panel title="What runs">
            <Read query={status}>{(data) => <Running status={data} />}</Read>
          </Panel>
          <Panel title="Live account" aside="all symbols, each with the same money at the start">
            <Account />
          </Panel>
        </div>
        <Panel title="Recommendation" marked>
          <Read query={scenarios}>
            {({ items, recommendation }) => <Recommended recommendation={recommendation} scenarios={items} />}
          </Read>
        </Panel>
      </div>
      <div className="columns">
        <Panel title="Health">
          <Read query={status}>{(data) => <HealthFacts health={data.health} readable={readable(data)} />}</Read>
        </Panel>
        <Newest />
      </div>
    </View>
  );
}
