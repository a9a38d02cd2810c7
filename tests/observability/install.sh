#!/usr/bin/env bash
# Installs what tests/metrics holds a scrape against, into target/observability: the strict parser of OpenMetrics
# of Python's prometheus_client, pinned. What is there already is left alone; what cannot be had (no Python, no
# registry) is said, and its test is skipped. Ends with 1 if it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

pin='prometheus-client==0.25.0'
folder=target/observability
mkdir -p "$folder"
if [ "$(cat "$folder/ready" 2>/dev/null)" = "$pin" ]; then exit 0; fi

rm -f "$folder/ready"
skip() {
  echo "$1: the test with the parser of prometheus_client is skipped"
  exit 1
}
command -v python3 >/dev/null || skip 'python3 is not installed'
python3 -m venv --clear "$folder/venv" || skip 'python3 makes no virtual environment'
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --timeout 15 --retries 1 "$pin" ||
  skip "$pin cannot be installed, see above"
printf '%s' "$pin" >"$folder/ready"
