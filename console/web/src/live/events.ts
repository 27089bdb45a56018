import type { EpisodeRow, EventData, Results, Status } from "../api/types";
import type { StreamMessage } from "./parser";

/** An event of the stream: its kind and what goes with it. */
export type LiveEvent = { [Kind in keyof EventData]: { kind: Kind; data: EventData[Kind] } }[keyof EventData];

const KINDS: Record<keyof EventData, true> = {
  status: true,
  episode: true,
  session: true,
  parameters: true,
  decision: true,
  experiment: true,
  health: true,
  reset: true,
};

/** Read a message; a kind that this page does not know is left out. */
export function eventOf(message: StreamMessage): LiveEvent | null {
  if (!Object.hasOwn(KINDS, message.event)) return null;
  return { kind: message.event, data: JSON.parse(message.data) as unknown } as LiveEvent;
}

/** Put an episode into what is known of its session; the stream may tell it twice. */
export function withEpisode(results: Results, row: EpisodeRow): Results {
  const others = results.episodes.filter((one) => one.number !== row.number);
  return { ...results, episodes: [...others, row].sort((one, other) => one.number - other.number) };
}

/** Put an episode into the status of the session that it belongs to. */
export function withLastEpisode(status: Status, row: EpisodeRow): Status {
  const sessions = status.sessions.map((one) => (one.id === row.session ? { ...one, last_episode: row } : one));
  return { ...status, sessions };
}

const ALL = [
  "status", "scenarios", "symbols", "holds", "parameters", "results", "performance", "experiments", "sessions",
  "history", "versions", "decisions",
];

const TOUCHED: Partial<Record<keyof EventData, string[]>> = {
  session: ["status", "sessions", "results", "scenarios", "history"],
  parameters: ["status", "parameters", "versions", "holds", "history", "results", "symbols"],
  decision: ["decisions", "performance", "symbols", "scenarios"],
  experiment: ["status", "experiments", "history"],
  reset: ALL,
};

/** The queries whose answers an event has made old. */
export function touchedBy(event: LiveEvent, before: Status | undefined): string[] {
  // Whatever else was written, such as who asked for what, is a new row of the history.
  if (event.kind === "status" && before !== undefined && before.row !== event.data.row) return ["history"];
  return TOUCHED[event.kind] ?? [];
}

/** A line of the log that the training view shows. */
export interface LogLine {
  at: string;
  session: string;
  text: string;
}

const LONGEST_LOG = 400;

/** Put what an event says about a session into the log, the newest last. */
export function withLine(log: LogLine[], event: LiveEvent): LogLine[] {
  const line = lineOf(event);
  return line === null ? log : [...log, line].slice(-LONGEST_LOG);
}

function lineOf(event: LiveEvent): LogLine | null {
  if (event.kind === "session") {
    const { at, session, stage, verdict, reason } = event.data;
    return { at, session, text: [stage, verdict, reason].filter((part) => part !== null && part !== "").join(": ") };
  }
  if (event.kind === "episode") return episodeLine(event.data);
  return null;
}

export function episodeLine(row: EpisodeRow): LogLine {
  const score = (value: number | null) => (value === null ? "none" : value.toFixed(3));
  const text =
    `episode ${row.episode}: mean ${score(row.mean_score)}, ` +
    `best ${score(row.best_score)}, best so far ${score(row.best_so_far)}, ${row.searched} sets`;
  return { at: row.at, session: row.session, text };
}
