// The token: fetched once, and anew when the server does not take it any more.
//
// Invariant: one refresh at a time.

export interface Tokens {
  /** The last that was fetched. */
  current: string | undefined;
  get(): Promise<string | undefined>;
  /** Fetch a fresh one. Rejects when the application's function does. */
  refresh(): Promise<string | undefined>;
  /** What a JWT says, its times left out; null: it says nothing that can be compared. */
  claims(): Promise<string | null>;
}

export function openTokens(source: string | (() => string | Promise<string>) | undefined): Tokens {
  let fetching: Promise<string | undefined> | undefined;
  const tokens: Tokens = {
    current: undefined,
    get: async () => tokens.current ?? tokens.refresh(),
    refresh: () =>
      (fetching ??= (async () => (tokens.current = await (typeof source === "function" ? source() : source)))().finally(
        () => (fetching = undefined),
      )),
    async claims() {
      try {
        const [, claims] = (await tokens.get())!.split(".");
        const said: object = JSON.parse(atob(claims!.replace(/-/g, "+").replace(/_/g, "/")));
        const times: Record<string, number> = { exp: 0, iat: 0, nbf: 0, jti: 0 };
        return JSON.stringify({ ...said, ...times });
      } catch {
        return null;
      }
    },
  };
  return tokens;
}
