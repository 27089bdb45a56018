import type { components } from "./schema";

type Schemas = components["schemas"];

export type Bin = Schemas["Bin"];
export type Calibration = Schemas["Calibration"];
export type ConfirmationGiven = Schemas["ConfirmationGiven"];
export type DecisionRow = Schemas["DecisionRow"];
export type EpisodeRow = Schemas["EpisodeRow"];
export type Estimate = Schemas["Estimate"];
export type EventData = Schemas["EventData"];
export type Evidence = Schemas["Evidence"];
export type Experiment = Schemas["Experiment"];
export type ExperimentRow = Schemas["ExperimentRow"];
export type Guardrail = Schemas["Guardrail"];
export type Health = Schemas["Health"];
export type Held = Schemas["Held"];
export type HistoryRow = Schemas["HistoryRow"];
export type InForceValue = Schemas["InForceValue"];
export type Me = Schemas["Me"];
export type Missing = Schemas["Missing"];
export type Parameters = Schemas["Parameters"];
export type Performance = Schemas["Performance"];
export type Point = Schemas["Point"];
export type Recommendation = Schemas["Recommendation"];
export type Results = Schemas["Results"];
export type Run = Schemas["Run"];
export type RunningSession = Schemas["RunningSession"];
export type ScenarioCard = Schemas["ScenarioCard"];
export type Scenarios = Schemas["Scenarios"];
export type SessionRow = Schemas["SessionRow"];
export type StartScenario = Schemas["StartScenario"];
export type Status = Schemas["Status"];
export type Target = Schemas["Target"];
export type ValueChange = Schemas["ValueChange"];
export type Verification = Schemas["Verification"];
export type VersionPerformance = Schemas["VersionPerformance"];
/** The client reads pairs of numbers as lists of them. */
export type VersionRow = Omit<Schemas["VersionRow"], "changes"> & { changes: Record<string, number[]> };

/** The body that each change is posted with. */
export interface ChangeBodies {
  apply: Schemas["ApplySession"];
  lift: Schemas["Lift"];
  override: Schemas["Override"];
  reset: Schemas["Reset"];
  rollback: Schemas["Rollback"];
  "update-parameter": Schemas["UpdateParameter"];
}
