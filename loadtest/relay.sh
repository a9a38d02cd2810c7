# shellcheck shell=bash
# A relay and a local Slack for the load scenarios: the release binaries, started on free loopback ports
# with a folder of their own, and ended. To be sourced, after tools.sh; Linux only (/proc).
#
#   relay_build               builds the release binaries
#   slack_start               sets SLACK, the local Slack's base URL
#   slack_inject FAULT        queues a fault (JSON, see loadtest/src/slack/fault.rs)
#   relay_config [YAML]       prints the configuration that most scenarios use, with YAML added
#   relay_start CONFIG        sets RELAY_PID, WEBHOOK, ADMIN and DATA_DIR
#   relay_drain SECONDS       waits until everything received is routed; prints how long it took
#   relay_metric REGEX        prints the sum of the metric's series that match
#   relay_ledger FILE         writes the ledger; fails if it does not balance
#   relay_memory_peak, relay_bytes_written, relay_bytes_on_disk
#   relay_stop                SIGTERM; fails if the relay does not end with 0
#   load_begin, load_end      make and remove RUN_DIR; load_end ends every process that was started
#
# Nothing is inherited from the environment, so that no token and no address in it is ever used.

LOAD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LOAD_TARGET=${CARGO_TARGET_DIR:-target}
# cargo takes a relative path from where it is started.
case $LOAD_TARGET in /*) ;; *) LOAD_TARGET=$LOAD_ROOT/$LOAD_TARGET ;; esac
# What was started and not yet waited for: process IDs as keys.
declare -A LOAD_PIDS=()

load_fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  return 1
}

relay_build() {
  (cd "$LOAD_ROOT" && cargo build --quiet --release --locked -p auditrelay -p auditrelay-loadtest \
    --bin auditrelay --bin local-slack) || load_fail 'the release binaries cannot be built, see above'
}

# In target/ and not in /tmp, which is memory on many machines: there a sync costs nothing.
load_begin() {
  mkdir -p "$LOAD_TARGET"
  RUN_DIR=$(mktemp -d "$LOAD_TARGET/loadtest-run.XXXXXX")
  DATA_DIR=$RUN_DIR/data
}

# load_end [keep]: with "keep" the logs stay, for whoever looks for the reason of a failure.
load_end() {
  local pid
  for pid in "${!LOAD_PIDS[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  LOAD_PIDS=()
  if [ -z "${RUN_DIR:-}" ]; then return; fi
  if [ "${1:-}" = keep ]; then
    rm -rf "$DATA_DIR"
  else
    rm -rf "$RUN_DIR"
  fi
  RUN_DIR=
}

# load_wait_for PID SECONDS COMMAND…: until COMMAND succeeds; fails when the process ends before.
load_wait_for() {
  local pid=$1 tries=$(($2 * 20)) try
  shift 2
  for ((try = 0; try < tries; try += 1)); do
    if "$@"; then return; fi
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

# load_run SECONDS COMMAND…: runs COMMAND for at most so long. In the background, since bash reacts to
# Ctrl-C only between two commands.
load_run() {
  local end=$((SECONDS + $1)) pid code=0
  shift
  "$@" &
  pid=$!
  LOAD_PIDS[$pid]=1
  while kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$end" ]; do sleep 0.2; done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" || code=$?
  unset "LOAD_PIDS[$pid]"
  return "$code"
}

http() {
  # No proxy stands between two processes of one machine.
  "$CURL" --silent --show-error --fail --noproxy '*' --max-time 10 "$@"
}

slack_start() {
  env -i "$LOAD_TARGET/release/local-slack" --quiet --listen 127.0.0.1:0 \
    >"$RUN_DIR/slack.log" 2>&1 &
  local pid=$!
  LOAD_PIDS[$pid]=1
  load_wait_for "$pid" 15 grep -qs '^listening on ' "$RUN_DIR/slack.log" ||
    load_fail "the local Slack does not start: $(tail -n 1 "$RUN_DIR/slack.log")" || return 1
  SLACK=$(sed -n 's|^listening on \(http://[^/]*\)/.*|\1|p' "$RUN_DIR/slack.log")
}

slack_inject() {
  http --output /dev/null --data "$1" "$SLACK/inject"
}

# Half of the templates' events are wanted, in three channels; the rest is filtered.
relay_config() {
  cat <<YAML
slack:
  api_url: $SLACK/api/
  token: xoxb-test
channels:
  security: { slack_channel: C0SECURITY }
  changes: { slack_channel: C0CHANGES }
  platform: { webhook_url: "${PLATFORM_WEBHOOK:-$SLACK/services/T000/B000/platform}" }
default_channel: platform
routes:
  - name: shells
    channel: security
    severity: critical
    resources: [{ resources: [pods/exec, pods/attach, pods/portforward, nodes/proxy] }]
  - name: rbac
    channel: security
    severity: warning
    verbs: [create, update, patch, delete]
    resources: [{ group: rbac.authorization.k8s.io }]
  - name: secrets
    channel: security
    severity: warning
    resources: [{ resources: [secrets] }]
  - name: people
    channel: platform
    userGroups: [platform-engineering]
  - name: changes
    channel: changes
    verbs: [create, update, patch, delete]
    namespaces: [payments]
${1:-}
YAML
}

relay_start() {
  local log=$RUN_DIR/relay.log
  printf '%s\n' "$1" >"$RUN_DIR/relay.yaml"
  env -i "$LOAD_TARGET/release/auditrelay" serve --config "$RUN_DIR/relay.yaml" \
    --data-dir "$DATA_DIR" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
    >"$RUN_DIR/relay.out" 2>"$log" &
  RELAY_PID=$!
  LOAD_PIDS[$RELAY_PID]=1
  load_wait_for "$RELAY_PID" 15 grep -qs '"message":"ready"' "$log" ||
    load_fail "the relay does not start: $(tail -n 1 "$log")" || return 1
  # shellcheck disable=SC2034 # For who sources this.
  WEBHOOK=$(relay_said webhook)
  ADMIN=$(relay_said admin)
  http --output /dev/null "$ADMIN/readyz"
}

# relay_said FIELD: a field of the log line that says it is ready.
relay_said() {
  grep -m 1 '"message":"ready"' "$RUN_DIR/relay.log" | "$JQ" --raw-output ".$1"
}

relay_is_alive() {
  kill -0 "$RELAY_PID" 2>/dev/null
}

relay_has_routed_all() {
  http "$ADMIN/ledger" | "$JQ" --exit-status '.waiting == 0' >/dev/null
}

relay_drain() {
  local begun=$EPOCHREALTIME
  load_wait_for "$RELAY_PID" "$1" relay_has_routed_all || return 1
  "$JQ" --null-input "$EPOCHREALTIME - $begun"
}

relay_metric() {
  http "$ADMIN/metrics" | awk -v pattern="$1" '$1 ~ "^auditrelay_" pattern "$" { sum += $2 }
    END { printf "%.0f\n", sum }'
}

# The most memory it ever had, in bytes.
relay_memory_peak() {
  awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/$RELAY_PID/status"
}

# Bytes it made the disk write.
relay_bytes_written() {
  awk '/^write_bytes:/ { print $2 }' "/proc/$RELAY_PID/io"
}

relay_bytes_on_disk() {
  du --summarize --bytes "$DATA_DIR" | cut -f 1
}

# Of a running relay its counters; of one that was stopped also a count of every record on disk.
relay_ledger() {
  env -i timeout 120 "$LOAD_TARGET/release/auditrelay" ledger --json --data-dir "$DATA_DIR" \
    >"$1" 2>>"$RUN_DIR/ledger.log"
}

relay_stop() {
  local code=0
  kill -TERM "$RELAY_PID"
  # Its own limit is ingest.shutdown_seconds.
  if ! load_wait_for "$RELAY_PID" 20 relay_has_ended; then
    kill -KILL "$RELAY_PID" 2>/dev/null || true
  fi
  wait "$RELAY_PID" || code=$?
  unset "LOAD_PIDS[$RELAY_PID]"
  [ "$code" -eq 0 ]
}

relay_has_ended() {
  ! kill -0 "$RELAY_PID" 2>/dev/null
}
