import { createStore } from "../live/store";

const KEY = "engine.token";

/** Whether the console asked for a token that it has not got. */
export const signIn = createStore<{ needed: boolean; refused: boolean }>({ needed: false, refused: false });

/** The token of this tab; it is gone when the tab is closed. */
export function token(): string | null {
  return sessionStorage.getItem(KEY);
}

export function keepToken(value: string): void {
  sessionStorage.setItem(KEY, value);
  signIn.set({ needed: false, refused: false });
}

/** Forget a token that was refused, and ask for another. */
export function askForToken(): void {
  const refused = token() !== null;
  sessionStorage.removeItem(KEY);
  if (!signIn.get().needed) signIn.set({ needed: true, refused });
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
  signIn.set({ needed: true, refused: false });
}

export function authorization(): Record<string, string> {
  const value = token();
  return value === null ? {} : { Authorization: `Bearer ${value}` };
}
