import { NativeSelect, NumberInput, TextInput } from "@mantine/core";
import { useState } from "react";

import type { InForceValue } from "../api/types";
import type { Change } from "../api/wishes";
import { scopeName } from "../format/names";
import { decimalsOf, fixed, plain } from "../format/numbers";
import { BoundsBar } from "../parts/BoundsBar";
import { ChangeDialog } from "./ChangeDialog";
import styles from "./HoldDialog.module.css";

interface Props {
  scope: string;
  parameters: InForceValue[];
  /** The parameter that is to be held first. */
  first: string;
  onClose: () => void;
}

/** Hold one value or several, whatever training finds. */
export function HoldDialog({ scope, parameters, first, onClose }: Props) {
  const [values, setValues] = useState<Record<string, number | null>>({ [first]: valueOf(parameters, first) });
  const [until, setUntil] = useState("");
  const chosen = parameters.filter((one) => one.name in values);
  const others = parameters.filter((one) => !(one.name in values));

  function change(reason: string): Change | null {
    const held: Record<string, number> = {};
    for (const { name, low, high } of chosen) {
      const value = values[name];
      if (value === null || value === undefined || value < low || value > high) return null;
      held[name] = value;
    }
    // The field gives a local-looking time that is meant, and said to be, in UTC.
    const rest = { scope, until: until === "" ? null : `${until}:00Z`, reason };
    const [only] = chosen;
    if (chosen.length === 1 && only !== undefined) {
      const name = only.name as "costCapBps";
      return { action: "update-parameter", change: { ...rest, name, value: held[name] ?? only.value } };
    }
    return { action: "override", change: { ...rest, values: held } };
  }

  return (
    <ChangeDialog title={`Hold values for ${scopeName(scope)}`} verb="Hold" change={change} onClose={onClose}>
      {chosen.map((one) => (
        <Value key={one.name} of={one} value={values[one.name] ?? null} onChange={(value) => setValues({ ...values, [one.name]: value })} />
      ))}
      {others.length > 0 && (
        <NativeSelect
          label="Hold another one as well"
          value=""
          onChange={(event) => {
            const name = event.currentTarget.value;
            if (name !== "") setValues({ ...values, [name]: valueOf(parameters, name) });
          }}
          data={[{ value: "", label: "none" }, ...others.map((one) => one.name)]}
        />
      )}
      <TextInput
        type="datetime-local"
        label="Until (UTC)"
        description="Empty: until somebody lifts it."
        value={until}
        onChange={(event) => setUntil(event.currentTarget.value)}
      />
    </ChangeDialog>
  );
}

function valueOf(parameters: InForceValue[], name: string): number | null {
  return parameters.find((one) => one.name === name)?.value ?? null;
}

function Value({ of, value, onChange }: { of: InForceValue; value: number | null; onChange: (value: number | null) => void }) {
  const { name, low, high, step, unit, meaning, rests } = of;
  const outside = value === null || value < low || value > high;
  return (
    <div className={styles.value}>
      <NumberInput
        label={`${name} (${unit})`}
        description={meaning}
        value={value ?? ""}
        onChange={(next) => onChange(typeof next === "number" ? next : null)}
        min={low}
        max={high}
        clampBehavior="none"
        step={step}
        decimalScale={6}
        error={outside && `Must lie between ${plain(low)} and ${plain(high)} ${unit}.`}
        required
      />
      <BoundsBar low={low} high={high} value={value ?? of.value} fallback={of.default} />
      <p className="muted small">
        now {fixed(of.value, decimalsOf(step))}, default {fixed(of.default, decimalsOf(step))}
        {rests && "; while a position is open that rests on it, the change waits until it is closed"}
      </p>
    </div>
  );
}
