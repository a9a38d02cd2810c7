// Checks dashboards against Grafana's own types: node dashboards/check/check.mjs FILE.json …
//
// Each file becomes a literal of the type in schema.ts, and the compiler says what is wrong with it, with the file's
// name and its line there. Ends with 1 if anything is. dashboards/check/install.sh installs what it needs.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const installed = join(here, "../../target/grafana");

// Below the installed packages, where their names are found.
const folder = mkdtempSync(join(installed, "check-"));
try {
  copyFileSync(join(here, "schema.ts"), join(folder, "schema.ts"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }\n');
  const made = process.argv.slice(2).map((file) => {
    const name = `${basename(file, ".json")}.ts`;
    const json = readFileSync(file, "utf8").trim();
    // On one line with its opening brace, so that lines are those of the JSON.
    const text = `import type { Dashboard } from "./schema.js"; export const it: Dashboard = ${json};\n`;
    writeFileSync(join(folder, name), text);
    return name;
  });
  if (made.length === 0) throw new Error("no file is named");
  const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--skipLibCheck", "--pretty", "false"];
  const compiler = join(installed, "node_modules/.bin/tsc");
  const { status, stdout, stderr, error } = spawnSync(compiler, [...options, ...made], { cwd: folder, encoding: "utf8" });
  if (error) throw error;
  process.stdout.write(stdout.replaceAll(/^(\S+)\.ts\(/gm, "$1.json("));
  process.stderr.write(stderr);
  process.exitCode = status === 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
