import type { EpisodeRow, SessionRow } from "../api/types";
import { significant } from "../format/numbers";
import styles from "./SessionProgress.module.css";
import { VerdictTag } from "./VerdictTag";

interface Props {
  session: SessionRow;
  episode: EpisodeRow | null;
}

/** How far a session has come. */
export function SessionProgress({ session, episode }: Props) {
  const of = episode?.episodes ?? session.episodes;
  const done = episode?.episode ?? 0;
  return (
    <div className={styles.progress}>
      <progress max={of} value={done} aria-label={`Episodes of ${session.title}`} />
      <div className={styles.said}>
        <VerdictTag verdict={session.verdict ?? session.status} />
        <span className="number">
          episode {done} of {of}
        </span>
        {episode !== null && <span className="number muted">best so far {significant(episode.best_so_far)}</span>}
        {episode !== null && <span className="number muted">{episode.searched.toLocaleString("en")} sets searched</span>}
        {session.stop !== null && <span className="bad">asked to stop by {session.stop.actor}</span>}
        {session.running && !session.alive && <span className="bad">its process gives no sign of life</span>}
      </div>
    </div>
  );
}
