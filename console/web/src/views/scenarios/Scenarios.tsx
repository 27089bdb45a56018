import { useQuery } from "@tanstack/react-query";

import { scenariosQuery, statusQuery } from "../../api/queries";
import { StopTraining } from "../../changes/StopTraining";
import { fixed, signed } from "../../format/numbers";
import { MissingNote } from "../../parts/MissingNote";
import { Note } from "../../parts/Note";
import { Read } from "../../parts/Read";
import { View } from "../../parts/View";
import { Card } from "./Card";
import styles from "./Scenarios.module.css";

/** The five scenarios, and which one suits now. */
export default function Scenarios() {
  const scenarios = useQuery(scenariosQuery);
  const sessions = useQuery(statusQuery).data?.sessions ?? [];
  return (
    <View title="Scenarios" about="Each searches some parameters for one goal. Nothing comes into force unless the gate lets it pass.">
      <Read query={scenarios} lines={8}>
        {({ items, recommendation, market, missing }) => (
          <>
            <MissingNote missing={missing} />
            <Note>
              {market === null ? (
                <p>The market is not known yet: there are too few whole days. Each scenario searches as far as it would by itself.</p>
              ) : (
                <p>
                  The market is <strong>{market.mode}</strong>: trend of 30 days <span className="number">{signed(market.trend, 1)} sd</span>,
                  volatility at percentile <span className="number">{fixed(market.volatility_percentile, 0)}</span>. The worse it forgives
                  mistakes, the nearer a search stays to what is in force.
                </p>
              )}
            </Note>
            {sessions.map((session) => (
              <Note key={session.id} tone="warn">
                <div className="row">
                  <span>
                    {session.title} runs for {session.scope}; a second training of the same scope is refused until it has ended.
                  </span>
                  {session.stop === null && <StopTraining of={{ session: session.id }} name={session.title} />}
                </div>
              </Note>
            ))}
            <ul className={styles.cards}>
              {items.map((card) => (
                <li key={card.name}>
                  <Card card={card} recommendation={card.recommended ? recommendation : null} />
                </li>
              ))}
            </ul>
          </>
        )}
      </Read>
    </View>
  );
}
