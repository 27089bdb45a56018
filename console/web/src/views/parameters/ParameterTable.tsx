import { Button } from "@mantine/core";
import { Link } from "wouter";

import type { InForceValue, Parameters } from "../../api/types";
import { scopeName, versionName } from "../../format/names";
import { decimalsOf, fixed, signed } from "../../format/numbers";
import { BoundsBar } from "../../parts/BoundsBar";
import { Moment } from "../../parts/Moment";
import { Num, Table } from "../../parts/Table";
import { Tag } from "../../parts/Tag";
import styles from "./ParameterTable.module.css";

interface Props {
  of: Parameters;
  onHold: (name: string) => void;
  onLift: (name: string) => void;
}

/** Each parameter with its value between its bounds, where it comes from and who holds it. */
export function ParameterTable({ of, onHold, onLift }: Props) {
  return (
    <div className={styles.table}>
      <Table
        label="Parameters in force"
        stacks={false}
        columns={[
          "parameter",
          { name: "value", figure: true },
          "unit",
          "between its bounds",
          { name: "default", figure: true },
          { name: "difference", figure: true },
          "source",
          "by hand",
        ]}
      >
        {of.items.map((one) => (
          <Row key={one.name} of={one} scope={of.scope} onHold={onHold} onLift={onLift} />
        ))}
      </Table>
    </div>
  );
}

interface RowProps extends Omit<Props, "of"> {
  of: InForceValue;
  scope: string;
}

function Row({ of, scope, onHold, onLift }: RowProps) {
  const { name, meaning, rests, value, unit, low, high, step, difference, held } = of;
  const digits = decimalsOf(step);
  return (
    <tr>
      <th scope="row" className={styles.name}>
        {name}
        <p className={styles.meaning}>
          {meaning}
          {rests && " Waits for an open position."}
        </p>
      </th>
      <Num>
        <strong className={styles.value}>{fixed(value, digits)}</strong>
      </Num>
      <td className="muted">{unit}</td>
      <td>
        <BoundsBar low={low} high={high} value={value} fallback={of.default} />
      </td>
      <Num>{fixed(of.default, digits)}</Num>
      <Num>{difference === 0 ? <span className="muted">0</span> : signed(difference, digits)}</Num>
      <td>
        <Source of={of} />
      </td>
      <td className={styles.held}>
        {held !== null && (
          <p className="small">
            {held.actor}: {held.reason}
            <br />
            {held.until === null ? "until it is lifted" : <>until <Moment at={held.until} /></>}
            {held.scope !== scope && `, for ${scopeName(held.scope)}`}
          </p>
        )}
        <span className="row">
          <Button size="compact-xs" variant="default" onClick={() => onHold(name)} aria-label={`Hold ${name}`}>
            Hold
          </Button>
          {held?.scope === scope && (
            <Button size="compact-xs" variant="default" onClick={() => onLift(name)} aria-label={`Lift ${name}`}>
              Lift
            </Button>
          )}
        </span>
      </td>
    </tr>
  );
}

function Source({ of }: { of: InForceValue }) {
  if (of.source === "override") return <Tag tone="warn">held, {scopeName(of.comes_from)}</Tag>;
  if (of.source === "default") return <span className="muted">default</span>;
  return (
    <>
      <Link href="/history">{versionName(of.version)}</Link> <span className="muted small">{scopeName(of.comes_from)}</span>
    </>
  );
}
