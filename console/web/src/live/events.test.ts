import { describe, expect, it } from "vitest";

import type { EpisodeRow, Results, Status } from "../api/types";
import { eventOf, type LiveEvent, touchedBy, withEpisode, withLastEpisode, withLine } from "./events";

function episode(number: number, session = "s"): EpisodeRow {
  return {
    session,
    number,
    episode: number,
    episodes: 10,
    at: `2026-11-22T02:44:${String(number).padStart(2, "0")}Z`,
    mean_score: null,
    best_score: 0.25,
    best_so_far: 0.5,
    searched: 32 * number,
    best: { costCapBps: 8 },
  };
}

const results = (rows: EpisodeRow[]) => ({ episodes: rows }) as Results;
const status = (row: number) => ({ row, sessions: [{ id: "s" }, { id: "t" }] }) as Status;
const statusEvent = (row: number): LiveEvent => ({ kind: "status", data: status(row) });

describe("eventOf", () => {
  it("reads what it knows and leaves out the rest", () => {
    expect(eventOf({ event: "reset", data: '{"why":"too much"}', id: "1" })).toEqual({ kind: "reset", data: { why: "too much" } });
    expect(eventOf({ event: "toString", data: "{}", id: null })).toBeNull();
  });
});

describe("withEpisode", () => {
  it("adds an episode in its place", () => {
    const found = withEpisode(results([episode(1), episode(3)]), episode(2));
    expect(found.episodes.map((row) => row.number)).toEqual([1, 2, 3]);
  });

  it("takes an episode that is told twice once, as it was told last", () => {
    const found = withEpisode(results([episode(1)]), { ...episode(1), searched: 99 });
    expect(found.episodes.map((row) => row.searched)).toEqual([99]);
  });
});

describe("withLastEpisode", () => {
  it("changes the session of the episode alone", () => {
    const found = withLastEpisode(status(1), episode(4, "t"));
    expect(found.sessions.map((one) => one.last_episode?.episode)).toEqual([undefined, 4]);
  });
});

describe("touchedBy", () => {
  it("makes the parameters old where they change", () => {
    const event = { kind: "parameters", data: {} } as LiveEvent;
    expect(touchedBy(event, undefined)).toEqual(expect.arrayContaining(["parameters", "versions", "status"]));
  });

  it("makes the history old where the store has a new row", () => {
    expect(touchedBy(statusEvent(5), status(4))).toEqual(["history"]);
    expect(touchedBy(statusEvent(5), status(5))).toEqual([]);
    expect(touchedBy(statusEvent(5), undefined)).toEqual([]);
  });

  it("makes all old after a reset", () => {
    expect(touchedBy({ kind: "reset", data: { why: "" } }, undefined)).toContain("decisions");
  });
});

describe("withLine", () => {
  it("writes an episode with its figures, and a dash of words where one is missing", () => {
    const [line] = withLine([], { kind: "episode", data: episode(3) });
    expect(line?.text).toBe("episode 3: mean none, best 0.250, best so far 0.500, 96 sets");
  });

  it("keeps what is not of a session out, and the newest lines in", () => {
    const log = withLine([], statusEvent(1));
    expect(log).toEqual([]);
    let long = log;
    for (let number = 1; number <= 450; number++) long = withLine(long, { kind: "episode", data: episode(number) });
    expect(long).toHaveLength(400);
    expect(long.at(-1)?.text).toMatch(/^episode 450/);
  });
});
