import { describe, expect, it } from "vitest";

import { duration, relative, utc, utcDate, utcTick } from "./times";

const NOW = Date.parse("2026-11-22T12:00:00Z");

describe("times", () => {
  it("are in UTC whatever the zone they came in", () => {
    expect(utc("2026-11-22T02:44:27+03:00")).toBe("2026-11-21 23:44");
    expect(utc("2026-11-22T02:44:27Z", true)).toBe("2026-11-22 02:44:27");
    expect(utcDate("2026-11-22T23:59:59Z")).toBe("2026-11-22");
  });

  it("have durations of at most two units", () => {
    const seconds = [7, 60, 65, 600, 3600, 5430, 86_400, 100_000, 2_000_000];
    expect(seconds.map(duration)).toEqual(["7 s", "1 min", "1 min 5 s", "10 min", "1 h", "1 h 30 min", "1 d", "1 d 3 h", "23 d"]);
  });

  it("stand at axes as finely as their ticks are apart", () => {
    const seconds = NOW / 1000;
    expect([3600, 86_400, 31 * 86_400].map((apart) => utcTick(seconds, apart))).toEqual(["12:00", "11-22", "2026-11"]);
  });

  it("are said relative to now", () => {
    expect(relative("2026-11-22T11:59:58Z", NOW)).toBe("now");
    expect(relative("2026-11-22T11:30:00Z", NOW)).toBe("30 min ago");
    expect(relative("2026-11-25T12:00:00Z", NOW)).toBe("in 3 d");
  });
});
