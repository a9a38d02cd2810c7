#!/usr/bin/env bash
# The relay beside the limits of this machine (loadtest/src/limits), and what it must reach.
#
# usage: loadtest/limits.sh [--quick] [ARGUMENT…]
#   --quick      one round of 3 s, a sustained storm of 10 s, a backlog of a million events
#   ARGUMENT…    of `limits run`, for instance --report docs/load, --json, --suite steady
#
# Without arguments: the comparison and all suites of checks, about 12 minutes.
# Needs Linux and cargo; nats-server is found or installed, see loadtest/tools.sh. It sends to this
# machine only. Exits with 0 if every bound holds, 1 if one does not, 2 if something could not be built.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/tools.sh
source loadtest/tools.sh

arguments=()
if [ "${1:-}" = --quick ]; then
  shift
  arguments+=(--rounds 1 --seconds 3 --sustained-seconds 10 --backlog-events 1000000)
fi
if [ $# -eq 0 ]; then arguments+=(--suite all); fi

cargo build --release --locked -p auditrelay -p auditrelay-loadtest --bin auditrelay --bin limits || exit 2
# Without it everything else is measured all the same, and the report says what is missing.
if need_nats_server; then arguments+=(--nats-server "$NATS_SERVER"); fi
exec target/release/limits run "${arguments[@]}" "$@"
