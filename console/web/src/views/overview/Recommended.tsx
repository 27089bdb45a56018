import { Link } from "wouter";

import type { Recommendation, ScenarioCard } from "../../api/types";
import { fixed, percent } from "../../format/numbers";
import { StartButton } from "../../changes/StartButton";
import { Facts } from "../../parts/Facts";
import styles from "./Recommended.module.css";

interface Props {
  recommendation: Recommendation;
  scenarios: ScenarioCard[];
}

/** The scenario that suits now, the figures that it was judged by, and the reasons. */
export function Recommended({ recommendation, scenarios }: Props) {
  const { title, reasons, figures } = recommendation;
  const scenario = scenarios.find((one) => one.name === recommendation.scenario);
  return (
    <>
      <div className={styles.head}>
        <strong className={styles.title}>{title}</strong>
        <div className="row">
          <Link href="/scenarios">All scenarios</Link>
          {scenario !== undefined && <StartButton scenario={scenario} />}
        </div>
      </div>
      {scenario !== undefined && <p className="muted">{scenario.purpose}</p>}
      <ol className={styles.reasons}>
        {reasons.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ol>
      <Facts
        of={[
          ["Confidence of entries", `${fixed(figures.confidence)} (mean of the newest week)`],
          ["Drawdown of the account", percent(figures.drawdown)],
          ["Volatility", figures.volatility_percentile === null ? "–" : `percentile ${fixed(figures.volatility_percentile, 0)}`],
          ["Live history", `${fixed(figures.history_days, 0)} days`],
        ]}
      />
    </>
  );
}
