import type { Calibration as Judged } from "../../api/types";
import { fixed, percent } from "../../format/numbers";
import { Empty } from "../../parts/Empty";
import { Num, Table } from "../../parts/Table";
import styles from "./Calibration.module.css";

const SIDE = 100;
const place = (share: number) => share * SIDE;

/** What share of the entries of each confidence gained, with its interval, against the diagonal. */
export function Calibration({ of }: { of: Judged }) {
  if (of.bins.length === 0) return <Empty title="No trade has been closed yet." />;
  return (
    <>
      <div className={styles.both}>
        <svg className={styles.drawing} viewBox="-14 -4 122 122" role="img" aria-label="Share of entries that gained by their confidence; the table beside it has the values">
          <rect x="0" y="0" width={SIDE} height={SIDE} className={styles.field} />
          <line x1="0" y1={SIDE} x2={SIDE} y2="0" className={styles.diagonal} />
          {[0, 0.5, 1].map((at) => (
            <g key={at} className={styles.tick}>
              <text x={place(at)} y={SIDE + 8} textAnchor="middle">{at}</text>
              <text x={-3} y={SIDE - place(at) + 2} textAnchor="end">{at}</text>
            </g>
          ))}
          <text x={SIDE / 2} y={SIDE + 16} textAnchor="middle" className={styles.tick}>confidence</text>
          {of.bins.map(({ confidence, gained, low, high }) => (
            <g key={confidence}>
              <line x1={place(confidence)} x2={place(confidence)} y1={SIDE - place(low)} y2={SIDE - place(high)} className={styles.interval} />
              <circle cx={place(confidence)} cy={SIDE - place(gained)} r="2.2" className={styles.bin} />
            </g>
          ))}
        </svg>
        <Table label="Bins of confidence" stacks={false} columns={[{ name: "confidence", figure: true }, { name: "gained (95 %)", figure: true }, { name: "trades", figure: true }]}>
          {of.bins.map(({ confidence, gained, low, high, trades }) => (
            <tr key={confidence}>
              <Num>{fixed(confidence)}</Num>
              <Num>
                {percent(gained, 0)}
                <span className="muted"> ({percent(low, 0)} to {percent(high, 0)})</span>
              </Num>
              <Num>{trades}</Num>
            </tr>
          ))}
        </Table>
      </div>
      <p className="muted small">
        {of.caveat} Mean distance from the diagonal: {fixed(of.error, 3)}.
      </p>
    </>
  );
}
