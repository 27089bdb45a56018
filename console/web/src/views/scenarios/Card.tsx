import { Link } from "wouter";

import type { Recommendation, ScenarioCard } from "../../api/types";
import { StartButton } from "../../changes/StartButton";
import { percent } from "../../format/numbers";
import { Facts } from "../../parts/Facts";
import { Panel } from "../../parts/Panel";
import { Tag } from "../../parts/Tag";
import { VerdictTag } from "../../parts/VerdictTag";
import { Effort } from "./Effort";
import styles from "./Scenarios.module.css";

interface Props {
  card: ScenarioCard;
  /** Why it is recommended, where it is. */
  recommendation: Recommendation | null;
}

/** One scenario: what it is for, what it may change, how long it takes, how far it looks. */
export function Card({ card, recommendation }: Props) {
  return (
    <Panel title={card.title} marked={card.recommended} aside={card.recommended ? <Tag tone="accent">recommended now</Tag> : undefined}>
      <p>{card.purpose}</p>
      {recommendation !== null && (
        <ul className={styles.reasons} aria-label="Why it is recommended">
          {recommendation.reasons.map((reason) => (
            <li key={reason}>{reason}</li>
          ))}
        </ul>
      )}
      <Facts
        of={[
          ["Duration", `at most ${card.minutes} min, ${card.episodes} episodes`],
          ["Goal", card.looks_for],
          ["Aggressiveness", <Effort key="effort" own={card.aggressiveness} now={card.in_market} />],
          ["Reach", `${percent(card.reach, 0)} of each range`],
          [
            "Parameters",
            <span key="targets" className={styles.targets}>
              {card.targets.map((name) => (
                <Tag key={name}>{name}</Tag>
              ))}
            </span>,
          ],
        ]}
      />
      <div className={styles.foot}>
        {card.last_session === null ? (
          <span className="muted small">never run</span>
        ) : (
          <span className="row small">
            <Link href={`/training/${card.last_session}`}>newest session</Link>
            <VerdictTag verdict={card.last_verdict ?? "running"} />
          </span>
        )}
        <StartButton scenario={card} quiet={!card.recommended} />
      </div>
    </Panel>
  );
}
