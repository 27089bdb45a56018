import { describe, expect, it } from "vitest";

import { decimalsOf, fixed, percent, plain, pValue, signed, signedPercent, signedSignificantPercent, significant } from "./numbers";

describe("numbers", () => {
  it("have a true minus sign and groups of thousands", () => {
    expect(fixed(-1234.5, 1)).toBe("−1,234.5");
  });

  it("have no minus sign where they are rounded to zero", () => {
    expect(fixed(-0.001)).toBe("0.00");
    expect(signed(0.001)).toBe("0.00");
  });

  it("have a plus sign where that is asked for", () => {
    expect([signed(1.5), signed(-1.5), signed(0)]).toEqual(["+1.50", "−1.50", "0.00"]);
    expect(signedPercent(0.0123, 2)).toBe("+1.23\u00a0%");
  });

  it("are a dash where there is none", () => {
    expect([fixed(null), signed(undefined), percent(null), pValue(null), significant(null)]).toEqual(Array(5).fill("–"));
  });

  it("have as many significant digits as asked for", () => {
    expect([significant(0.0012345), significant(12345.6), significant(0), significant(1e-9)]).toEqual([
      "0.00123",
      "12,346",
      "0",
      "1.00e−9",
    ]);
  });

  it("are small percentages that can still be told from zero", () => {
    expect([-1.41e-6, 0, 0.0004].map((value) => signedSignificantPercent(value))).toEqual(["−0.00014\u00a0%", "0\u00a0%", "+0.040\u00a0%"]);
  });

  it("are p-values", () => {
    expect([pValue(0.0004), pValue(0.032)]).toEqual(["< 0.001", "0.032"]);
  });

  it("are as short as they can be", () => {
    expect([plain(8), plain(0.05), plain(-1.5)]).toEqual(["8", "0.05", "−1.5"]);
  });

  it("have the decimals of their grid", () => {
    expect([1, 0.5, 0.1, 0.05, 0.01].map(decimalsOf)).toEqual([0, 1, 1, 2, 2]);
  });
});
