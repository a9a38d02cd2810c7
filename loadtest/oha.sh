#!/usr/bin/env bash
# Storms with oha against the real binary: a second client, written in Rust, that costs the machine far
# less than k6, so that more of it is left for the relay.
#
# usage: loadtest/oha.sh [--seconds N]
#   --seconds N   how long each storm lasts (10 s)
#
# Needs Linux and cargo; oha (built once, which takes minutes), jq and curl are found or installed, see
# loadtest/tools.sh. It sends to this machine only, and nothing runs on after it.
#
# oha cannot put an ID of its own into each body, so there are three storms, none like an API server's:
#   one-body      the same 400 events again and again: all but the first 400 are duplicates
#   some-bodies   each request draws one of 500 bodies of 100 events at random (-Z), so that new ones
#                 and duplicates mix; how many of each is chance
#   any-cluster   the same 400 events, each time to a path with a random name of a cluster
#                 (--rand-regex-url): the same event of another cluster is another event, so all are new
# After each the ledger must say the same and balance. Every answer must be 200 and come within 1 s
# (oha measures from the first byte sent to the last received); oha's own table is shown.
# Exits with 0 if all that held, 1 if not, 2 on wrong usage or if a tool is missing.
set -euo pipefail
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")"
source ./tools.sh
source ./relay.sh

CONNECTIONS=32
DRAIN_SECONDS=30 # and as long as the storm lasted: the router may lag behind

seconds=10
if [ $# -gt 0 ]; then
  [[ $# -eq 2 && $1 == --seconds && $2 =~ ^[1-9][0-9]{0,4}$ ]] || {
    load_fail 'usage: loadtest/oha.sh [--seconds N]' || exit 2
  }
  seconds=$2
fi

trap load_end EXIT
trap 'exit 130' INT TERM

# bodies COUNT EVENTS: so many event lists, one a line. The slots of the templates are described in
# loadtest/src/events.rs.
bodies() {
  awk -v count="$1" -v events="$2" -v now="$(date -u +%Y-%m-%dT%H:%M:%S)" '
    function hex(digits, text) {
      for (text = ""; length(text) < digits;) text = text sprintf("%x", int(rand() * 16))
      return text
    }
    function uuid() { return hex(8) "-" hex(4) "-4" hex(3) "-8" hex(3) "-" hex(12) }
    function value(slot) {
      if (slot == "id") return uuid()
      if (slot == "uuid") return objects[int(rand() * 256)]
      if (slot == "name") return hex(5)
      if (slot == "octet") return int(rand() * 256)
      if (slot == "number") return 100000000 + int(rand() * 900000000)
      return sprintf("%s.%06dZ", now, int(rand() * 1000000))
    }
    BEGIN { srand(); for (i = 0; i < 256; i++) objects[i] = uuid() }
    { template[NR - 1] = $0 }
    END {
      for (body = 0; body < count; body++) {
        printf "{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{},\"items\":["
        for (event = 0; event < events; event++) {
          parts = split(template[event % NR], part, "%")
          if (event > 0) printf ","
          for (i = 1; i <= parts; i++) printf "%s", i % 2 ? part[i] : value(part[i])
        }
        print "]}"
      }
    }' events/metadata.jsonl
}

# storm NAME EVENTS OHA_ARGUMENT…: a fresh relay, oha against it, and what both say afterwards.
storm() {
  local name=$1 events=$2 code=0
  shift 2
  # The last argument is the path below /webhook.
  local arguments=("${@:1:$#-1}") path=${*: -1}
  printf '\n==== %s ====\n' "$name"
  slack_start && relay_start "$(relay_config)" || return 1
  # -w: what is under way at the end is waited for, or the relay received more than oha counts.
  load_run $((seconds + 60)) env -i \
    "$OHA" --no-tui --no-color -z "${seconds}s" -w -u ms -c "$CONNECTIONS" \
    -m POST -T application/json "${arguments[@]}" "$WEBHOOK/$path" \
    >"$RUN_DIR/oha.txt" 2>&1 || code=$?
  cat "$RUN_DIR/oha.txt"
  [ "$code" -eq 0 ] || load_fail "oha ended with $code" || return 1
  relay_is_alive || load_fail "the relay has ended: $(tail -n 1 "$RUN_DIR/relay.log")" || return 1
  relay_drain $((DRAIN_SECONDS + seconds)) >/dev/null || load_fail 'not everything is routed' || return 1
  printf '\nmemory peak %s MB\n' $(($(relay_memory_peak) / 1048576))
  relay_stop || load_fail 'the relay did not end with 0 after SIGTERM' || return 1
  relay_ledger "$RUN_DIR/ledger.json" || load_fail 'the ledger does not balance' || return 1
  judge "$name" "$events"
}

# judge NAME EVENTS: holds what oha counted against the ledger.
judge() {
  local name=$1 events=$2 accepted others slowest received new
  accepted=$(sed -n 's/^ *\[200\] \([0-9]*\) responses$/\1/p' "$RUN_DIR/oha.txt")
  others=$(sed -n '/^Status code distribution/,$ { /^ *\[/ { /\[200\]/ !p } }' "$RUN_DIR/oha.txt")
  slowest=$(sed -n 's/^ *Slowest:[[:space:]]*\([0-9]*\).*/\1/p' "$RUN_DIR/oha.txt")
  received=$("$JQ" .received "$RUN_DIR/ledger.json")
  new=$("$JQ" '.received - .duplicates' "$RUN_DIR/ledger.json")
  printf 'ledger: received %s, of which new %s; acknowledged to oha %s\n' \
    "$received" "$new" $((${accepted:-0} * events))
  [ -n "$accepted" ] || load_fail 'nothing was accepted' || return 1
  [ -z "$others" ] || load_fail "not all answers were 200: $others" || return 1
  [ "$slowest" -lt 1000 ] || load_fail "an answer took $slowest ms" || return 1
  [ "$received" -eq $((accepted * events)) ] || load_fail 'not what was acknowledged' || return 1
  case $name in
    one-body) [ "$new" -eq "$events" ] ;;
    some-bodies) [ $((new % events)) -eq 0 ] && [ "$new" -le $((BODIES * events)) ] ;;
    any-cluster) [ "$new" -eq "$received" ] ;;
  esac || load_fail "$new events counted as new" || return 1
  printf 'pass\n'
}

BODIES=500

need_oha && need_jq && need_curl || exit 2
relay_build || exit 2

failed=0
for name in one-body some-bodies any-cluster; do
  load_begin
  case $name in
    one-body)
      bodies 1 400 >"$RUN_DIR/body.json"
      wanted=("$name" 400 -D "$RUN_DIR/body.json" 'load?timeout=30s') ;;
    some-bodies)
      bodies "$BODIES" 100 >"$RUN_DIR/bodies.jsonl"
      wanted=("$name" 100 -Z "$RUN_DIR/bodies.jsonl" 'load?timeout=30s') ;;
    any-cluster)
      bodies 1 400 >"$RUN_DIR/body.json"
      wanted=("$name" 400 -D "$RUN_DIR/body.json" --rand-regex-url '[a-z]{16}[?]timeout=30s') ;;
  esac
  if storm "${wanted[@]}"; then
    load_end
  else
    failed=1
    printf 'FAIL: %s; logs: %s\n' "$name" "$RUN_DIR"
    load_end keep
  fi
done
exit "$failed"
