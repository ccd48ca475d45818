// Build the package (dist/) and the single file that the server hands out (../src/tidings/web/tidings.js).
//
// node build.mjs [FILE]: the single file elsewhere, and no package.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";
import { internalNames } from "./internal_names.mjs";

const folder = fileURLToPath(new URL(".", import.meta.url));
const [elsewhere] = process.argv.slice(2);
const common = {
  absWorkingDir: folder,
  entryPoints: ["src/index.ts"],
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
};
if (!elsewhere) await build({ ...common, outfile: "dist/index.js" });

// The single file is as small as can be: esbuild joins and simplifies, terser makes it short. tests/sdk runs this very file.
const joined = await build({
  ...common,
  write: false,
  minifySyntax: true,
  // Fields without a value need no code.
  tsconfigRaw: { compilerOptions: { useDefineForClassFields: false, verbatimModuleSyntax: true } },
});
const { code } = await minify(joined.outputFiles[0].text, {
  ecma: 2020,
  module: true,
  compress: { ecma: 2020, passes: 4, unsafe: true, unsafe_arrows: true, pure_getters: true, inline: 0, unsafe_comps: true, unsafe_math: true, conditionals: false, booleans_as_integers: true },
  mangle: { properties: { builtins: true, regex: new RegExp(`^(${internalNames(folder).join("|")})$`) } },
  format: { preamble: "// Tidings" },
});
const file = elsewhere ?? fileURLToPath(new URL("../src/tidings/web/tidings.js", import.meta.url));
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, code + "\n");
