#!/usr/bin/env bash
# Installs what loadtest/tests/sdk.rs drives the local Slack with, into target/slack-sdks: Slack's own
# SDKs for Python and Node; and emulate, another local Slack, for tests/delivery/emulate.rs. Each is pinned. What is there already is
# left alone; what cannot be had (no Python, no Node, no registry) is said, and its test is skipped.
# Ends with 1 if something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

python_pins='slack-sdk==3.43.0'
node_pins='@slack/web-api@7.13.0 emulate@0.11.2'
folder=target/slack-sdks
missing=0
mkdir -p "$folder"

# ready NAME PINS: whether these are there; the file is written when the installation is complete.
ready() {
  [ "$(cat "$folder/$1-ready" 2>/dev/null)" = "$2" ]
}

say_missing() {
  echo "$1: the test of the local Slack with $2 is skipped"
  missing=1
}

if ! ready python "$python_pins"; then
  rm -f "$folder/python-ready"
  if ! command -v python3 >/dev/null; then
    say_missing 'python3 is not installed' slack-sdk
  elif python3 -m venv --clear "$folder/venv" &&
    "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      --timeout 15 --retries 1 "$python_pins"; then
    printf '%s' "$python_pins" >"$folder/python-ready"
  else
    say_missing "$python_pins cannot be installed, see above" slack-sdk
  fi
fi

if ! ready node "$node_pins"; then
  rm -f "$folder/node-ready"
  if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    say_missing 'node or npm is not installed' @slack/web-api
  # shellcheck disable=SC2086 # The pins are words.
  elif npm install --silent --no-audit --no-fund --save-exact --fetch-timeout=15000 \
    --fetch-retries=1 --prefix "$folder" $node_pins; then
    printf '%s' "$node_pins" >"$folder/node-ready"
  else
    say_missing "$node_pins cannot be installed, see above" @slack/web-api
  fi
fi

exit "$missing"
