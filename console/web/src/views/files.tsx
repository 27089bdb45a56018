import { type ComponentType, lazy, useState } from "react";
import type { AroundNavHandler } from "wouter";

interface File<Props> {
  default: ComponentType<Props>;
}

/** A view whose code is in a file of its own; once that is there, the view is drawn without waiting for anything. */
function inOwnFile<Props extends object>(load: () => Promise<File<Props>>) {
  let here: ComponentType<Props> | null = null;
  const fetch = async () => {
    const file = await load();
    here = file.default;
    return file;
  };
  const Later = lazy(fetch);
  function View(props: Props) {
    // Chosen once: another component in its place would lose what has been typed into the view.
    const [Chosen] = useState<ComponentType<Props>>(() => here ?? Later);
    return <Chosen {...props} />;
  }
  return Object.assign(View, { fetch });
}

export const Scenarios = inOwnFile(() => import("./scenarios/Scenarios"));
export const Training = inOwnFile(() => import("./training/Training"));
export const Parameters = inOwnFile(() => import("./parameters/Parameters"));
export const Performance = inOwnFile(() => import("./performance/Performance"));
export const Experiments = inOwnFile(() => import("./experiments/Experiments"));
export const History = inOwnFile(() => import("./history/History"));

const FILES = {
  "/scenarios": Scenarios,
  "/training": Training,
  "/parameters": Parameters,
  "/performance": Performance,
  "/experiments": Experiments,
  "/history": History,
};

let newest = 0;

/** Stay on the view where one is until the file of the next is there; of several clicks the last one counts. */
export const onceFetched: AroundNavHandler = (navigate, to, options) => {
  const own = ++newest;
  const file = Object.entries(FILES).find(([path]) => to.startsWith(path))?.[1];
  const go = () => {
    if (own === newest) navigate(to, options);
  };
  // What cannot be fetched is asked for again by the view, which says so.
  void (file?.fetch() ?? Promise.resolve()).then(go, go);
};
