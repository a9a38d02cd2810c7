#!/usr/bin/env bash
# Installs Grafana's own types and a TypeScript compiler, pinned, into target/grafana, for tests/dashboards: the
# dashboards are checked against them (dashboards/check/check.mjs). What is there already is left alone; what cannot be
# had (no Node, no registry) is said, and that test is skipped. Ends with 1 if something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

pins='@grafana/grafana-foundation-sdk@0.0.21 typescript@7.0.2'
folder=target/grafana
mkdir -p "$folder"
if [ "$(cat "$folder/ready" 2>/dev/null)" = "$pins" ]; then exit 0; fi

rm -f "$folder/ready"
skip() {
  echo "$1: the test of the dashboards against Grafana's types is skipped"
  exit 1
}
if ! command -v npm >/dev/null || ! command -v node >/dev/null; then skip 'node or npm is not installed'; fi
# shellcheck disable=SC2086 # The pins are words.
npm install --silent --no-audit --no-fund --save-exact --fetch-timeout=15000 --fetch-retries=1 \
  --prefix "$folder" $pins || skip "$pins cannot be installed, see above"
printf '%s' "$pins" >"$folder/ready"
