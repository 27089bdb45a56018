import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { performanceQuery } from "../../api/queries";
import { Empty } from "../../parts/Empty";
import { Read } from "../../parts/Read";
import { EquityChart } from "../performance/EquityChart";

/** The equity of the live algorithm over all symbols. */
export function Account() {
  const performance = useQuery(performanceQuery("all"));
  return (
    <Read query={performance} lines={6}>
      {({ equity, missing }) =>
        equity.length === 0 ? (
          <Empty title="The live algorithm has no account yet." missing={missing} />
        ) : (
          <>
            <EquityChart points={equity} height={170} />
            <Link href="/performance">Decisions and performance by symbol</Link>
          </>
        )
      }
    </Read>
  );
}
