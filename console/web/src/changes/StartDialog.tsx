import { Button, MultiSelect, NativeSelect, NumberInput, SegmentedControl } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState, type SyntheticEvent } from "react";

import { newKey } from "../api/client";
import order from "../api/order.json";
import { symbolsQuery } from "../api/queries";
import type { ScenarioCard, StartScenario } from "../api/types";
import { startScenario, type Wish } from "../api/wishes";
import { scopeName } from "../format/names";
import { percent } from "../format/numbers";
import { Dialog } from "../parts/Dialog";
import { ProblemNote } from "../parts/ProblemNote";
import { ReasonField } from "../parts/ReasonField";
import { ScopeSelect } from "../parts/ScopeSelect";
import styles from "./StartDialog.module.css";
import { StartedNote } from "./StartedNote";
import { useChanged } from "./useChanged";

const MODES: Record<string, { name: string; about: string }> = {
  apply: { name: "Apply", about: "What the gate promotes comes into force at once, and goes back by itself if it does worse." },
  shadow: { name: "Shadow", about: "What the gate promotes runs beside the live algorithm for some days; then you decide." },
  ab: { name: "A/B test", about: "What the gate promotes decides on half of the live time, drawn at random; then you decide." },
};
const METHODS: Record<string, string> = {
  pgpe: "policy gradient",
  "cma-es": "CMA-ES",
  tpe: "TPE",
  random: "random search",
};

interface Props {
  scenario: ScenarioCard;
  onClose: () => void;
}

/** What a training is asked for: on which symbols, for whom, what follows, and its budget. */
export default function StartDialog({ scenario, onClose }: Props) {
  const symbols = useQuery(symbolsQuery).data?.items ?? [];
  const [asked, setAsked] = useState<StartScenario>({
    symbols: [],
    scope: null,
    mode: order.mode.default as StartScenario["mode"],
    method: order.method.default as StartScenario["method"],
    episodes: scenario.episodes,
    minutes: scenario.minutes,
    days: order.days.default,
    seed: null,
    reason: "",
  });
  const changed = useChanged();
  const start = useMutation({
    mutationFn: (wish: Wish<StartScenario>) => startScenario(scenario.name, wish),
    onSuccess: changed,
  });
  const put = (part: Partial<StartScenario>) => setAsked({ ...asked, ...part });
  const { symbols: on, scope, mode, episodes, minutes, days } = asked;
  const whose = scope ?? (on.length === 1 ? `symbol:${on[0] ?? ""}` : "global");
  const whole = [episodes, minutes, days].every((value) => typeof value === "number") && asked.reason.trim() !== "";

  function submit(event: SyntheticEvent) {
    event.preventDefault();
    start.mutate({ body: { ...asked, reason: asked.reason.trim() }, key: newKey() });
  }

  if (start.data !== undefined) {
    return (
      <Dialog title={scenario.title} opened onClose={onClose}>
        <StartedNote started={start.data} onClose={onClose} />
      </Dialog>
    );
  }
  return (
    <Dialog title={`Start ${scenario.title}`} opened onClose={onClose} size="xl">
      <form className="stack" onSubmit={submit}>
        <p className="muted">
          Searches {scenario.targets.join(", ")} for {scenario.looks_for}, up to {percent(scenario.reach, 0)} of each
          range away from what is in force.
        </p>
        <div className={styles.pair}>
          <MultiSelect
            label="Symbols"
            description={order.symbols.description}
            placeholder={on.length === 0 ? "all" : ""}
            data={symbols.map((one) => one.symbol)}
            value={on}
            onChange={(next) => put({ symbols: next })}
            searchable
            clearable
            comboboxProps={{ withinPortal: false }}
          />
          <ScopeSelect
            label="Scope: whose parameters"
            all={`by the symbols: ${scopeName(whose)}`}
            value={scope ?? ""}
            onChange={(next) => put({ scope: next === "" ? null : next })}
          />
        </div>
        <div>
          <span id="mode" className={styles.label}>
            What follows a promotion
          </span>
          <SegmentedControl
            aria-labelledby="mode"
            fullWidth
            value={mode}
            onChange={(next) => put({ mode: next as StartScenario["mode"] })}
            data={order.mode.enum.map((value) => ({ value, label: MODES[value]?.name ?? value }))}
          />
          <p className="muted small">{MODES[mode]?.about}</p>
        </div>
        <div className={styles.four}>
          <Amount label="Episodes" from={order.episodes.minimum} to={scenario.episodes} value={episodes} onChange={(next) => put({ episodes: next })} />
          <Amount label="Minutes" from={1} to={scenario.minutes} value={minutes} onChange={(next) => put({ minutes: next })} />
          <Amount
            label="Days watched"
            from={order.days.minimum}
            to={order.days.maximum}
            value={days}
            onChange={(next) => put({ days: next ?? order.days.default })}
          />
          <NativeSelect
            label="Search"
            value={asked.method}
            onChange={(event) => put({ method: event.currentTarget.value as StartScenario["method"] })}
            data={order.method.enum.map((value) => ({ value, label: METHODS[value] ?? value }))}
          />
        </div>
        <ReasonField value={asked.reason} onChange={(next) => put({ reason: next })} />
        {start.error !== null && <ProblemNote error={start.error} />}
        <div className="row">
          <Button type="submit" disabled={!whole} loading={start.isPending}>
            Start training
          </Button>
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

interface AmountProps {
  label: string;
  from: number;
  to: number;
  value: number | null | undefined;
  onChange: (value: number | null) => void;
}

function Amount({ label, from, to, value, onChange }: AmountProps) {
  return (
    <NumberInput
      label={label}
      description={`${from} to ${to}`}
      min={from}
      max={to}
      allowDecimal={false}
      value={value ?? ""}
      onChange={(next) => onChange(typeof next === "number" ? next : null)}
      required
    />
  );
}
