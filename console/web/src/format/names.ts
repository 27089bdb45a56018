/** A symbol as it stands in an address: BTC/USDT is BTC-USDT. */
export function addressed(symbol: string): string {
  return symbol.replaceAll("/", "-");
}

/** A scope in words, such as "symbol BTC/USDT". */
export function scopeName(scope: string): string {
  return scope === "global" ? "global" : scope.replace(":", " ");
}

/** A word of a program in plain words: `version.apply` is "version apply". */
export function inWords(name: string): string {
  return name.replaceAll(/[._-]+/g, " ");
}

export function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The first digits of an id or hash, which tell it from others. */
export function short(id: string): string {
  return id.slice(0, 8);
}

export function versionName(version: number): string {
  return version === 0 ? "defaults" : `version ${version}`;
}

/** 1 session, 2 sessions. */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
