import type { Estimate } from "../../api/types";
import { capitalized, inWords } from "../../format/names";
import { fixed, percent, signedPercent } from "../../format/numbers";
import { Figure, Figures } from "../../parts/Figure";

const SHOWN = ["total_return", "sharpe", "max_drawdown", "trades", "win_rate", "costs"];
const UNITS: Record<string, string> = { total_return: "since the start", sharpe: "a year", max_drawdown: "from a high" };
const NAMES: Record<string, string> = { sharpe: "Sharpe ratio", max_drawdown: "Largest drawdown" };

/** The figures that matter, each with its interval. */
export function Estimates({ of }: { of: Estimate[] }) {
  const found = SHOWN.map((name) => of.find((one) => one.name === name)).filter((one) => one !== undefined);
  return (
    <Figures>
      {found.map((one) => (
        <Figure
          key={one.name}
          name={NAMES[one.name] ?? capitalized(inWords(one.name))}
          value={written(one, one.value)}
          below={one.low === null || one.high === null ? unit(one) : `${written(one, one.low)} to ${written(one, one.high)}, 95 %`}
        />
      ))}
    </Figures>
  );
}

function written(of: Estimate, value: number | null): string {
  if (of.name === "trades") return fixed(value, 0);
  if (of.name === "sharpe") return fixed(value, 2);
  return of.name === "total_return" ? signedPercent(value, 2) : percent(value, 1);
}

function unit(of: Estimate): string {
  return UNITS[of.name] ?? of.unit;
}
