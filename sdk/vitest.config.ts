import { defineConfig } from "vitest/config";

// Five seconds, the default, are too few for thousands of random stories on a busy machine.
export default defineConfig({ test: { include: ["test/**/*.test.ts"], testTimeout: 30_000 } });
