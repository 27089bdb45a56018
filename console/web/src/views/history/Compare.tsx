import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { targetsQuery } from "../../api/queries";
import type { Target, ValueChange, VersionRow } from "../../api/types";
import { scopeName, versionName } from "../../format/names";
import { ChangesTable } from "../../parts/ChangesTable";
import { Panel } from "../../parts/Panel";
import styles from "./History.module.css";

/** Two versions side by side; only what differs is shown. */
export function Compare({ rows }: { rows: VersionRow[] }) {
  const targets = useQuery(targetsQuery).data?.parameters ?? [];
  const [one, setOne] = useState(String(rows[0]?.replaces ?? 0));
  const [other, setOther] = useState(String(rows[0]?.version ?? 0));
  const choices = [
    ...rows.map((row) => ({ value: String(row.version), label: `version ${row.version}, ${scopeName(row.scope)}` })),
    { value: "0", label: "defaults" },
  ];
  const changes = differences(targets, valuesOf(rows, targets, Number(one)), valuesOf(rows, targets, Number(other)));
  return (
    <Panel title="Compare" flush>
      <div className={styles.pick}>
        <NativeSelect label="This version" value={one} onChange={(event) => setOne(event.currentTarget.value)} data={choices} />
        <NativeSelect label="with this one" value={other} onChange={(event) => setOther(event.currentTarget.value)} data={choices} />
      </div>
      {changes.length === 0 ? (
        <p className={styles.same}>They hold the same values.</p>
      ) : (
        <ChangesTable changes={changes} names={[versionName(Number(one)), versionName(Number(other))]} />
      )}
    </Panel>
  );
}

function valuesOf(rows: VersionRow[], targets: Target[], version: number): Record<string, number> {
  const row = rows.find((each) => each.version === version);
  return row?.parameters ?? Object.fromEntries(targets.map((target) => [target.name, target.default]));
}

function differences(targets: Target[], one: Record<string, number>, other: Record<string, number>): ValueChange[] {
  return targets
    .map(({ name, unit, default: fallback }) => ({
      parameter: name,
      before: one[name] ?? fallback,
      after: other[name] ?? fallback,
      unit,
    }))
    .filter(({ before, after }) => before !== after);
}
