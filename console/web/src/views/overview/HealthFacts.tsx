import type { Health } from "../../api/types";
import { counted } from "../../format/names";
import { duration } from "../../format/times";
import { Moment } from "../../parts/Moment";
import { Tag } from "../../parts/Tag";
import styles from "./HealthFacts.module.css";

/**
 * Whether data, models, orchestrator and history are as they should be, and what to do where not.
 *
 * While a step writes to the warehouse, nothing is known of what is in it.
 */
export function HealthFacts({ health, readable }: { health: Health; readable: boolean }) {
  const { data, models, dagster, chain } = health;
  return (
    <ul className={styles.list}>
      <li>
        <h3>Market data</h3>
        {!readable ? <Tag tone="warn">not known</Tag> : data.newest_bar === null ? <Tag tone="bad">none</Tag> : data.stale ? <Tag tone="warn">stale</Tag> : <Tag tone="good">as expected</Tag>}
        <p className="small">
          {!readable ? (
            "The warehouse cannot be read now."
          ) : data.newest_bar === null ? (
            "There are no candles yet: run the job ingest."
          ) : (
            <>
              Newest bar <Moment at={data.newest_bar} hint={data.age_s !== null} />, {counted(data.symbols, "symbol")}, bars of{" "}
              {duration(data.bar_s)}
              {data.age_s === null && "; the market is recorded or simulated and does not age"}
              {data.stale && "; run the job ingest, or turn its schedule on"}
            </>
          )}
        </p>
        {data.newest_decision !== null && (
          <p className="small">
            Newest decision <Moment at={data.newest_decision} hint={data.age_s !== null} />
          </p>
        )}
      </li>
      <li>
        <h3>Models</h3>
        {!readable ? <Tag tone="warn">not known</Tag> : models.count === 0 ? <Tag tone="warn">none</Tag> : <Tag tone="good">{counted(models.count, "model")}</Tag>}
        <p className="small">
          {!readable
            ? "The warehouse cannot be read now."
            : models.count === 0
            ? "No model was trained yet: run the job nightly_retraining."
            : models.newest_window_end !== null && (
                <>
                  Trained up to <Moment at={models.newest_window_end} hint={false} />
                </>
              )}
        </p>
        {models.champion !== null && (
          <p className="small">
            Champion <strong>{models.champion}</strong>
            {models.champion_reason !== null && <span className="muted">: {models.champion_reason}</span>}
          </p>
        )}
      </li>
      <li>
        <h3>Dagster</h3>
        {dagster.reachable === null ? <Tag>starting</Tag> : dagster.reachable ? <Tag tone="good">reachable</Tag> : <Tag tone="bad">not reachable</Tag>}
        <p className="small">
          {dagster.reachable ? (
            <a href={dagster.url} target="_blank" rel="noreferrer">
              {dagster.url} <span aria-hidden="true">↗</span>
            </a>
          ) : dagster.reachable === null ? (
            `${dagster.url} has not answered yet; it takes longer to start than the console.`
          ) : (
            (dagster.detail ?? "Start it with: make ui")
          )}
        </p>
      </li>
      <li>
        <h3>Audit trail</h3>
        {chain.intact === null ? <Tag>not checked</Tag> : chain.intact ? <Tag tone="good">intact</Tag> : <Tag tone="bad">broken</Tag>}
        <p className="small">
          {counted(chain.rows, "row")}
          {chain.checked_at !== null && (
            <>
              , checked <Moment at={chain.checked_at} />
            </>
          )}
        </p>
      </li>
    </ul>
  );
}
