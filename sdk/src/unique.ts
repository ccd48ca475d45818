// Names that nobody else has. `crypto.randomUUID` is only there for pages that came by https.

export const unique = (): string => crypto.getRandomValues(new Uint32Array(3)).join("-");
