import { answered, api } from "./client";
import type { ChangeBodies, ConfirmationGiven, StartScenario } from "./types";

const ROOT = "/api/rl-training";

/** A body that is posted, under a key by which the API knows it again. */
export interface Wish<Body> {
  body: Body;
  key: string;
}

function keyed(key: string) {
  return { header: { "Idempotency-Key": key } };
}

export function startScenario(scenario: string, { body, key }: Wish<StartScenario>) {
  return answered(
    api.POST(`${ROOT}/scenarios/{id}/start`, {
      params: { path: { id: scenario as "quick_tune" }, ...keyed(key) },
      body,
    }),
  );
}

export function stopTraining(of: { session?: string; run_id?: string }, { body, key }: Wish<{ reason: string }>) {
  return answered(api.POST(`${ROOT}/stop`, { params: keyed(key), body: { ...of, ...body } }));
}

export function stopExperiment(id: string, { body, key }: Wish<{ reason: string }>) {
  return answered(api.POST(`${ROOT}/experiments/{id}/stop`, { params: { path: { id }, ...keyed(key) }, body }));
}

export type Action = keyof ChangeBodies;
/** A change that is shown before it is made: its action and the body that will be posted. */
export type Change = { [Name in Action]: { action: Name; change: ChangeBodies[Name] } }[Action];

export function preview({ body, key }: Wish<Change>): Promise<ConfirmationGiven> {
  return answered(api.POST(`${ROOT}/confirmations`, { params: keyed(key), body }));
}

/** Make a change that was shown. */
export function make({ action, change }: Change, confirmation: string, key: string) {
  const params = { header: { "Idempotency-Key": key, Confirmation: confirmation } };
  switch (action) {
    case "apply":
      return answered(api.POST(`${ROOT}/apply`, { params, body: change }));
    case "lift":
      return answered(api.POST(`${ROOT}/lift`, { params, body: change }));
    case "override":
      return answered(api.POST(`${ROOT}/override`, { params, body: change }));
    case "reset":
      return answered(api.POST(`${ROOT}/reset`, { params, body: change }));
    case "rollback":
      return answered(api.POST(`${ROOT}/rollback`, { params, body: change }));
    case "update-parameter":
      return answered(api.POST(`${ROOT}/update-parameter`, { params, body: change }));
  }
}
