import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { symbolsQuery } from "../api/queries";
import { scopeName } from "../format/names";

const REGIMES = ["TREND", "RANGE", "PANIC"];

interface Props {
  value: string;
  onChange: (scope: string) => void;
  /** What no scope is called, where that can be chosen. */
  all?: string;
  label?: string;
}

/** Whose parameters: all that there are by default, or those of a symbol or a regime. */
export function ScopeSelect({ value, onChange, all, label = "Scope" }: Props) {
  const symbols = useQuery(symbolsQuery).data?.items ?? [];
  const scopes = ["global", ...symbols.map((one) => `symbol:${one.symbol}`), ...REGIMES.map((name) => `regime:${name}`)];
  const known = value === "" || scopes.includes(value) ? scopes : [...scopes, value];
  return (
    <NativeSelect
      label={label}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      data={[...(all === undefined ? [] : [{ value: "", label: all }]), ...known.map((scope) => ({ value: scope, label: scopeName(scope) }))]}
    />
  );
}
