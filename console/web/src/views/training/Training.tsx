import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { sessionsQuery, statusQuery } from "../../api/queries";
import { Empty } from "../../parts/Empty";
import { Read } from "../../parts/Read";
import { View } from "../../parts/View";
import { Session } from "./Session";
import { Sessions } from "./Sessions";
import styles from "./Training.module.css";
import { Waiting } from "./Waiting";

/** A session as it goes, and all others to choose from; by default the one that runs, or else the newest. */
export default function Training({ session }: { session: string | null }) {
  const sessions = useInfiniteQuery(sessionsQuery);
  const status = useQuery(statusQuery).data;
  return (
    <View title="Training" about="Episodes arrive as they end; what the gate found stands below them.">
      <Waiting runs={status?.runs.filter((run) => run.session === null) ?? []} />
      <Read query={sessions} lines={8}>
        {({ pages }) => {
          const rows = pages.flatMap((page) => page.items);
          const shown = session ?? status?.sessions[0]?.id ?? rows[0]?.id ?? null;
          if (shown === null) {
            return (
              <Empty title="No training was run yet.">
                <Link href="/scenarios">Choose a scenario to start with</Link>
              </Empty>
            );
          }
          return (
            <div className={styles.split}>
              <Sessions rows={rows} shown={shown} query={sessions} />
              <Session id={shown} key={shown} />
            </div>
          );
        }}
      </Read>
    </View>
  );
}
