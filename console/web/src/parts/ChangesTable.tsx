import { useQuery } from "@tanstack/react-query";

import { targetsQuery } from "../api/queries";
import type { ValueChange } from "../api/types";
import { decimalsOf, fixed, signed } from "../format/numbers";
import { Num, Table } from "./Table";

interface Props {
  changes: ValueChange[];
  /** How the two values are called. */
  names?: [string, string];
}

/** Parameters with their values before and after. */
export function ChangesTable({ changes, names = ["before", "after"] }: Props) {
  const targets = useQuery(targetsQuery).data?.parameters ?? [];
  return (
    <Table
      label="Changes of parameters"
      columns={["parameter", ...names.map((name) => ({ name, figure: true })), { name: "change", figure: true }, "unit"]}
    >
      {changes.map(({ parameter, before, after, unit }) => {
        const digits = decimalsOf(targets.find((one) => one.name === parameter)?.step ?? 0.01);
        return (
          <tr key={parameter}>
            <th scope="row">{parameter}</th>
            <Num>{fixed(before, digits)}</Num>
            <Num>
              <strong>{fixed(after, digits)}</strong>
            </Num>
            <Num>{signed(after - before, digits)}</Num>
            <td className="muted">{unit}</td>
          </tr>
        );
      })}
    </Table>
  );
}
