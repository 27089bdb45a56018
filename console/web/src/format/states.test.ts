import { describe, expect, it } from "vitest";

import { written } from "./states";

describe("states", () => {
  it("are said in words", () => {
    const said = [null, 4, "global", "5ed72d93d4cb326082798aeb358e6ecb", "2026-11-22T05:26:41Z", []].map(written);
    expect(said).toEqual(["none", "4", "global", "5ed72d93d4cb…", "2026-11-22 05:26 UTC", "none"]);
  });

  it("name what is held, at which value and by whom", () => {
    const held = [{ parameter: "costCapBps", value: 14, actor: "ann", scope: "global", until: null }];
    expect(written(held)).toBe("costCapBps 14 by ann");
    expect(written({ tpBreakout: 3.6 })).toBe("tpBreakout 3.6");
  });
});
