const MINUS = "\u2212";
const NONE = "\u2013";
/** Stays on the line of its number. */
const PERCENT = "\u00a0%";

type Maybe = number | null | undefined;

/** A number with a true minus sign and groups of thousands; a dash where there is none. */
export function fixed(value: Maybe, digits = 2): string {
  if (value === null || value === undefined) return NONE;
  const text = Math.abs(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const zero = Number(text.replaceAll(",", "")) === 0;
  return value < 0 && !zero ? `${MINUS}${text}` : text;
}

/** The same, with a plus sign before what is above zero. */
export function signed(value: Maybe, digits = 2): string {
  const text = fixed(value, digits);
  return value !== null && value !== undefined && value > 0 && Number(text.replaceAll(",", "")) !== 0 ? `+${text}` : text;
}

/** A fraction as a percentage. */
export function percent(value: Maybe, digits = 1): string {
  return value === null || value === undefined ? NONE : `${fixed(value * 100, digits)}${PERCENT}`;
}

export function signedPercent(value: Maybe, digits = 1): string {
  return value === null || value === undefined ? NONE : `${signed(value * 100, digits)}${PERCENT}`;
}

/** So many significant digits, without an exponent where that is readable. */
export function significant(value: Maybe, digits = 3): string {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  const decimals = digits - 1 - Math.floor(Math.log10(Math.abs(value)));
  return decimals > 7 ? value.toExponential(digits - 1).replaceAll("-", MINUS) : fixed(value, Math.max(decimals, 0));
}

/** A fraction as a percentage with its sign and so many significant digits. */
export function signedSignificantPercent(value: Maybe, digits = 2): string {
  if (value === null || value === undefined) return NONE;
  return `${value > 0 ? "+" : value < 0 ? MINUS : ""}${significant(Math.abs(value) * 100, digits)}${PERCENT}`;
}

/** A number as short as it can be written. */
export function plain(value: number): string {
  return value.toLocaleString("en", { maximumFractionDigits: 6 }).replace("-", MINUS);
}

/** A p-value; below a thousandth only that is said. */
export function pValue(value: Maybe): string {
  if (value === null || value === undefined) return NONE;
  return value < 0.001 ? "< 0.001" : value.toFixed(3);
}

/** How many decimals a grid of this step needs. */
export function decimalsOf(step: number): number {
  for (let digits = 0; digits < 6; digits++) {
    const scaled = step * 10 ** digits;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-9) return digits;
  }
  return 6;
}
