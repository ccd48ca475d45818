import { defineConfig } from "vitest/config";

// Five seconds, the default, are too few for thousands of random stories on a busy machine; so is one for a condition.
export default defineConfig({ test: { include: ["test/**/*.test.ts"], testTimeout: 30_000, expect: { poll: { timeout: 20_000 } } } });
