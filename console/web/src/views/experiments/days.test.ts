import { describe, expect, it } from "vitest";

import { shadowDays, summed } from "./days";

const seen = (key: string, content: Record<string, unknown>) => ({ number: 1, key, at: "2026-01-01T00:00:00Z", content });

describe("days of a shadow", () => {
  it("are in order, without the design", () => {
    const days = shadowDays([
      seen("design", { start: "2025-05-20" }),
      seen("2025-05-21", { live: 0.1, shadow: 0.2 }),
      seen("2025-05-20", { live: -0.1, shadow: 0 }),
    ]);
    expect(days.map((one) => one.day)).toEqual(["2025-05-20", "2025-05-21"]);
  });

  it("are summed up", () => {
    expect(summed([1, 2, -4])).toEqual([1, 3, -1]);
  });
});
