import type { Experiment } from "../../api/types";
import { pValue, signedSignificantPercent } from "../../format/numbers";
import { Empty } from "../../parts/Empty";
import { Interval } from "../../parts/Interval";
import { Note } from "../../parts/Note";
import { VerdictTag } from "../../parts/VerdictTag";

/** What came of an experiment: candidate less live, with its interval. */
export function Result({ of }: { of: Experiment }) {
  const { result } = of;
  if (result === null) {
    return <Empty title={of.state === "running" ? "It is judged once, at its end." : "It was stopped without a result."} />;
  }
  return (
    <div className="tight">
      <h3>
        Candidate less live <VerdictTag verdict={result.verdict} />
      </h3>
      <Interval label="Effect" value={result.effect} low={result.low} high={result.high} write={signedSignificantPercent} />
      <p className="muted small">One-sided p-value {pValue(result.p_value)}</p>
      {result.sample_ratio_p !== null && result.sample_ratio_p < 0.001 && (
        <Note tone="bad">The shares of the two arms are not what was drawn (p {pValue(result.sample_ratio_p)}): the test is void.</Note>
      )}
      {result.reasons.map((reason) => (
        <p key={reason}>{reason}</p>
      ))}
    </div>
  );
}
