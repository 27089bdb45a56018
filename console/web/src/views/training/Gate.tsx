import type { Evidence, Results } from "../../api/types";
import { counted, inWords } from "../../format/names";
import { fixed, percent, pValue, significant, signed, signedPercent, signedSignificantPercent } from "../../format/numbers";
import { utcDate } from "../../format/times";
import { ChangesTable } from "../../parts/ChangesTable";
import { Empty } from "../../parts/Empty";
import { Facts } from "../../parts/Facts";
import { Interval } from "../../parts/Interval";
import { Num, Table } from "../../parts/Table";
import { Tag } from "../../parts/Tag";
import styles from "./Training.module.css";

/** What the gate found on the window that the search never saw. */
export function Gate({ results }: { results: Results }) {
  const { evidence, session, attempt } = results;
  if (evidence === null) {
    return <Empty title={session.running ? "The gate judges once the search is over." : "It ended before the gate had judged."} />;
  }
  return (
    <div className="stack">
      <div>
        <Tag tone={evidence.promoted ? "good" : "plain"}>{evidence.promoted ? "promoted" : "not promoted"}</Tag>
        <ul className={styles.reasons}>
          {evidence.reasons.map((reason) => (
            <li key={reason}>{reason}</li>
          ))}
        </ul>
      </div>
      <div className="columns">
        <div className="tight">
          <h3>Improvement of {statistic(evidence)}</h3>
          <Interval
            label="Improvement"
            value={evidence.improvement}
            low={evidence.low}
            high={evidence.high}
            write={evidence.statistic === "mean" ? signedSignificantPercent : (value) => signed(value, 3)}
          />
          <p className="muted small">Estimate and interval; the dashed line is no difference.</p>
        </div>
        <Facts
          of={[
            ["p-value", `${pValue(evidence.p_value)} at a level of ${significant(evidence.alpha, 2)}`],
            ["Probability of an improvement", percent(evidence.probability_of_improvement)],
            ["In force, judged", `${figure(evidence, evidence.baseline)}, ${figure(evidence, evidence.value)}`],
            ["Evidence", `${counted(evidence.periods, "period")}, ${counted(evidence.trades, "trade")}`],
            ["Searched, tested", `${counted(evidence.searched, "set")}, ${counted(evidence.tested, "set")}`],
            ["Attempt on the scope", attempt ?? "–"],
            ["Window searched", window(evidence.search)],
            ["Window judged", window(evidence.evidence)],
          ]}
        />
      </div>
      {evidence.changes.length > 0 && (
        <div className="tight">
          <h3>{evidence.promoted ? "Promoted" : "Came nearest"}</h3>
          <ChangesTable changes={evidence.changes} names={["in force", "judged"]} />
        </div>
      )}
      {evidence.guardrails.length > 0 && <Guardrails evidence={evidence} />}
    </div>
  );
}

function Guardrails({ evidence }: { evidence: Evidence }) {
  return (
    <div className="tight">
      <h3>What must not get worse</h3>
      <Table
        label="Guardrails"
        columns={["figure", { name: "in force", figure: true }, { name: "judged", figure: true }, { name: "limit", figure: true }, "kept"]}
      >
        {evidence.guardrails.map(({ name, baseline, candidate, limit, passed }) => (
          <tr key={name}>
            <th scope="row">{inWords(name)}</th>
            <Num>{significant(baseline)}</Num>
            <Num>{significant(candidate)}</Num>
            <Num>{significant(limit)}</Num>
            <td>{passed ? <Tag tone="good">yes</Tag> : <Tag tone="bad">no</Tag>}</td>
          </tr>
        ))}
      </Table>
    </div>
  );
}

function statistic(evidence: Evidence): string {
  return evidence.statistic === "mean" ? "the mean net return per day" : `the ${evidence.statistic} ratio`;
}

function figure(evidence: Evidence, value: number | null): string {
  return evidence.statistic === "mean" ? signedPercent(value, 3) : fixed(value, 3);
}

function window(of: Evidence["search"]): string {
  return of === null ? "–" : `${utcDate(of.start)} to ${utcDate(of.end)}`;
}
