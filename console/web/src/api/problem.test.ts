import { describe, expect, it } from "vitest";

import { Problem, problemOf } from "./problem";

describe("Problem", () => {
  it("keeps what the API named", () => {
    const problem = new Problem(409, { type: "urn:engine:problem:busy", title: "Another session runs", detail: "global is held", holder: "ann" });
    expect([problem.kind, problem.title, problem.message, problem.members.holder]).toEqual(["busy", "Another session runs", "global is held", "ann"]);
    expect(problem.passing).toBe(false);
  });

  it("can pass where the console was not reached or not able", () => {
    expect(problemOf(new TypeError("Failed to fetch")).kind).toBe("console-unreachable");
    expect([0, 429, 503].every((status) => new Problem(status, {}).passing)).toBe(true);
  });

  it("says something where the answer said nothing", () => {
    expect(new Problem(500, {}).message).toBe("the console answered 500");
  });
});
