import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { verifyQuery } from "../../api/queries";
import { Moment } from "../../parts/Moment";
import { Note } from "../../parts/Note";
import { ProblemNote } from "../../parts/ProblemNote";

/** Walks along the audit trail and says whether each row is as it was written. */
export function Verify() {
  const verify = useQuery(verifyQuery);
  const { data } = verify;
  return (
    <Note tone={data === undefined ? "plain" : data.intact ? "good" : "bad"}>
      <div className="row" aria-live="polite">
        <Button size="xs" variant="default" loading={verify.isFetching} onClick={() => void verify.refetch()}>
          Verify the trail
        </Button>
        {data === undefined ? (
          <span className="muted">Recomputes every hash from the first row on.</span>
        ) : (
          <span>
            <strong>{data.intact ? "Intact" : `Broken at row ${data.broken_row ?? "–"}`}</strong>: {data.reason}, <span className="muted">checked</span>{" "}
            <Moment at={data.checked_at} seconds />
          </span>
        )}
      </div>
      {data !== undefined && (
        <p className="small">
          Head <code>{data.head}</code>: noted elsewhere, it shows later whether rows were cut off.
        </p>
      )}
      {verify.error !== null && <ProblemNote error={verify.error} />}
    </Note>
  );
}
