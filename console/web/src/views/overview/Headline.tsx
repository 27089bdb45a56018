import { Link } from "wouter";

import type { Scenarios, Status } from "../../api/types";
import { capitalized, counted, versionName } from "../../format/names";
import { fixed, signed } from "../../format/numbers";
import { Figure, Figures } from "../../parts/Figure";

interface Props {
  status: Status;
  market: Scenarios["market"];
  readable: boolean;
}

/** The figures that one looks at first. */
export function Headline({ status, market, readable }: Props) {
  const { sessions, runs, experiments, overridden } = status;
  const [session] = sessions;
  const waiting = runs.filter((run) => run.session === null).length;
  return (
    <Figures>
      <Figure
        name="In force"
        value={<Link href="/parameters">{capitalized(versionName(status.version))}</Link>}
        below={overridden.length === 0 ? "no value is held" : `${counted(overridden.length, "value")} held by hand`}
      />
      <Figure
        name="Training"
        value={session === undefined ? "Idle" : session.title}
        below={
          session === undefined
            ? waiting === 0
              ? "nothing is queued"
              : `${counted(waiting, "run")} about to begin`
            : `episode ${session.last_episode?.episode ?? 0} of ${session.episodes}, ${session.status}`
        }
      />
      <Figure
        name="Experiments"
        value={experiments.length}
        below={experiments.length === 0 ? "none runs" : experiments.map((one) => (one.kind === "ab" ? "A/B test" : one.kind)).join(", ")}
      />
      <Figure
        name="Market"
        value={market === null ? "not known" : capitalized(market.mode)}
        below={
          market === null
            ? "too few whole days"
            : `trend ${signed(market.trend, 1)} sd, volatility percentile ${fixed(market.volatility_percentile, 0)}`
        }
      />
      <Figure
        name="Symbols"
        value={readable ? status.health.data.symbols : "–"}
        below={!readable ? "the warehouse cannot be read now" : status.health.data.stale ? "data is stale" : "data as expected"}
      />
    </Figures>
  );
}
