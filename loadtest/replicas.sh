#!/usr/bin/env bash
# One relay on a disk, and one, two and three of them on NATS JetStream, with one server and with three: events that are
# acknowledged and routed in a second, and their ratios to the disk's (loadtest/src/replicas).
#
# usage: loadtest/replicas.sh [ARGUMENT…]
#   ARGUMENT…    of `replicas`, for instance --rounds 3, --seconds 5, --json, --only '2 relays'
#
# Without arguments about two minutes after the build. Needs Linux and cargo; nats-server is found or installed, see
# loadtest/tools.sh. It sends to this machine only, and writes below target/.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/tools.sh
source loadtest/tools.sh

need_nats_server || exit 2
cargo build --release --locked -p auditrelay -p auditrelay-loadtest --bin auditrelay --bin replicas || exit 2
# Servers on the same disk as the relay.
mkdir -p target/loadtest/tmp
TMPDIR=$PWD/target/loadtest/tmp AUDITRELAY_NATS_SERVER=$NATS_SERVER exec target/release/replicas "$@"
