// Writes the dashboards as JSON: node dashboards/make/make.mjs [FOLDER]
//
// FOLDER is dashboards/ unless another is named. Nothing but node is needed; what comes out is checked against
// Grafana's own types by dashboards/check.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { delivery } from "./delivery.mjs";
import { overview } from "./overview.mjs";
import { queue } from "./queue.mjs";

const folder = process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), "..");
mkdirSync(folder, { recursive: true });
for (const [name, board] of Object.entries({ overview, delivery, queue })) {
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(board, null, 2)}\n`);
}
