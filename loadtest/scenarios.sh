#!/usr/bin/env bash
# The k6 scenarios (loadtest/k6) against the real binary, a fresh relay and local Slack for each.
#
# usage: loadtest/scenarios.sh [--seconds N] [--json FILE] [NAME…]
#   --seconds N   how long each scenario posts new batches (10 s); SOAK_SECONDS in the environment
#                 is the same for the soak (30 s)
#   --json FILE   append each result to FILE as a line of JSON
#   NAME…         steady storm overload large-bodies retry-storm many-clusters slow-slack dead-slack
#                 soak; without any, all of them in this order
#
# Needs Linux and cargo; k6, jq and curl are found or installed, see loadtest/tools.sh. It sends to this
# machine only, and nothing runs on after it.
#
# A scenario passes if k6's thresholds hold (loadtest/k6/lib/scenario.js says what is measured: no answer
# takes longer than 1 s, no batch is lost) and if afterwards the relay
#   - has routed everything, within 30 s and as long as the load lasted;
#   - has a ledger that balances, also in a count of all records once it has ended;
#   - has received exactly the events that k6 saw acknowledged, and called exactly the repetitions
#     duplicates (at least those, if an answer was 5xx: such a batch may be stored all the same);
#   - buried and quarantined nothing, took no two events for reuse of an audit ID, used less than 1 GiB;
#   - ends with 0 when it is told to.
# In the table, "drain s" is how long routing went on after the last answer, and wr/recv the bytes that the
# relay made the disk write, until that was done, per byte of bodies that it received.
# Exits with 0 if all passed, 1 if one did not, 2 on wrong usage or if a tool is missing.
#
# The programs of jq have variables of their own, with the same mark as the shell's.
# shellcheck disable=SC2016
set -euo pipefail
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")"
source ./tools.sh
source ./relay.sh

ALL=(steady storm overload large-bodies retry-storm many-clusters slow-slack dead-slack soak)
DRAIN_SECONDS=30 # and as long as the load lasted: in a storm the router may lag behind
MEMORY_BYTES_MAX=$((1024 * 1024 * 1024))
ROW='%-14s %8s %9s %8s %8s %8s %6s %8s %7s %8s  %s\n'

usage() {
  sed -n 's/^# \{0,1\}//; 4,9p' "${BASH_SOURCE[0]##*/}" >&2
  exit 2
}

is_count() {
  [[ $1 =~ ^[1-9][0-9]{0,5}$ ]]
}

seconds=10 json_file='' names=()
invoked_from=$OLDPWD
while [ $# -gt 0 ]; do
  case $1 in
    --seconds | --json)
      [ $# -ge 2 ] || usage
      if [ "$1" = --seconds ]; then seconds=$2; else json_file=$2; fi
      shift 2 ;;
    -*) usage ;;
    *)
      names+=("$1")
      shift ;;
  esac
done
is_count "$seconds" || usage
is_count "${SOAK_SECONDS:-30}" || { load_fail 'SOAK_SECONDS is not a number of seconds' || exit 2; }
if [ ${#names[@]} -eq 0 ]; then names=("${ALL[@]}"); fi
for name in "${names[@]}"; do
  [[ " ${ALL[*]} " == *" $name "* ]] || { load_fail "there is no scenario '$name', only: ${ALL[*]}" || exit 2; }
done
# The caller's relative path is not ours.
if [[ -n $json_file && $json_file != /* ]]; then json_file=$invoked_from/$json_file; fi

trap load_end EXIT
trap 'exit 130' INT TERM

# prepare NAME: a running relay and Slack, as the scenario wants them.
prepare() {
  local more='' PLATFORM_WEBHOOK=''
  slack_start || return 1
  case $1 in
    overload)
      # Room for about four bodies at a time.
      more='ingest: { body_bytes_max: 1048576, bytes_in_flight_max: 2097152 }' ;;
    slow-slack)
      slack_inject '{"count": 4000000000, "effect": {"kind": "delay", "milliseconds": 3000}}' ;;
    dead-slack)
      slack_inject '{"count": 4000000000, "effect": {"kind": "http_status", "status": 503}}'
      # The port of tcpmux, where nothing listens.
      PLATFORM_WEBHOOK=http://127.0.0.1:1/services/T000/B000/platform ;;
  esac
  relay_start "$(relay_config "$more")"
}

# load_seconds NAME: how long it posts.
load_seconds() {
  if [ "$1" = soak ]; then printf '%s\n' "${SOAK_SECONDS:-30}"; else printf '%s\n' "$seconds"; fi
}

# load NAME: runs k6, which writes k6.json.
load() {
  local for_seconds
  for_seconds=$(load_seconds "$1")
  # Neither the user's settings for k6 nor its reports home; 99 is "a threshold was crossed", which
  # the result tells as well.
  local code=0
  load_run $((for_seconds + 60)) env -i HOME="$RUN_DIR" \
    "$K6" run --quiet --no-usage-report --address '' \
    --env WEBHOOK="$WEBHOOK" --env DURATION_SECONDS="$for_seconds" --env RESULT="$RUN_DIR/k6.json" \
    "k6/$1.js" >"$RUN_DIR/k6.log" 2>&1 || code=$?
  case $code in
    0 | 99) ;;
    *) load_fail "k6 ended with $code: $(tail -n 3 "$RUN_DIR/k6.log")" || return 1 ;;
  esac
}

# observe NAME: what is to be known of the relay once k6 is done, as JSON on standard output.
observe() {
  local drained stopped=true final=true
  relay_is_alive || load_fail "the relay has ended: $(tail -n 1 "$RUN_DIR/relay.log")" || return 1
  drained=$(relay_drain $((DRAIN_SECONDS + $(load_seconds "$1")))) || drained=null
  relay_ledger "$RUN_DIR/ledger.json" || true
  local peak written on_disk received_bytes reuse refused
  peak=$(relay_memory_peak)
  written=$(relay_bytes_written)
  on_disk=$(relay_bytes_on_disk)
  received_bytes=$(relay_metric 'ingest_received_bytes_total')
  reuse=$(relay_metric 'audit_id_reuse_total')
  refused=$(relay_metric 'ingest_requests_total[{]code="5.."[}]')
  relay_stop || stopped=false
  relay_ledger "$RUN_DIR/ledger-stopped.json" || final=false
  "$JQ" --null-input --slurpfile ledger "$RUN_DIR/ledger.json" \
    --argjson drain_seconds "$drained" --argjson memory_peak_bytes "$peak" \
    --argjson written_bytes "$written" --argjson bytes_on_disk "$on_disk" --argjson received_bytes "$received_bytes" \
    --argjson audit_id_reuse "$reuse" --argjson answered_5xx "$refused" \
    --argjson ended_with_0 "$stopped" --argjson records_balance "$final" \
    '$ARGS.named | .ledger = $ledger[0]
      | .written_per_received = (.written_bytes / ([.received_bytes, 1] | max))'
}

# judge NAME: joins both results and adds what is wrong, in words.
judge() {
  "$JQ" --null-input --compact-output --arg scenario "$1" --argjson memory_max "$MEMORY_BYTES_MAX" \
    --slurpfile k6 "$RUN_DIR/k6.json" --slurpfile relay "$RUN_DIR/relay.json" '
    def unless(holds; words): if holds then [] else [words] end;
    $k6[0] as $k | $relay[0] as $r | $r.ledger as $l
    | ([$l.channels[]] | {delivered: (map(.delivered) | add), dead: (map(.dead) | add)}) as $c
    | ($k.refused_5xx + $k.broken == 0) as $exact
    | ($l.received - $k.acked_events) as $more
    | ($l.duplicates - $k.repeated_events) as $more_duplicates
    | {scenario: $scenario} + $k + $r + {failures: (
        ($k.failed_thresholds | map("threshold " + .))
        + unless($r.drain_seconds; "not routed in time: \($l.waiting) events wait")
        + unless($l.balanced and $r.records_balance; "the ledger does not balance")
        + unless($more == 0 or ($more > 0 and ($exact | not));
            "received \($l.received), acknowledged \($k.acked_events)")
        + unless($more_duplicates == 0 or ($more_duplicates > 0 and ($exact | not));
            "duplicates \($l.duplicates), repeated \($k.repeated_events)")
        + unless($scenario != "retry-storm" or ($l.duplicates * 3 == $l.received * 2);
            "duplicates are not two thirds of what was received")
        + unless($l.quarantined == 0; "\($l.quarantined) events quarantined")
        + unless($c.dead == 0; "\($c.dead) events became dead letters")
        + unless($r.audit_id_reuse == 0; "\($r.audit_id_reuse) events taken for reuse of an audit ID")
        + unless($r.answered_5xx == 0; "\($r.answered_5xx) answers 5xx")
        + unless(if $scenario == "dead-slack" then $c.delivered == 0 else $c.delivered > 0 end;
            "\($c.delivered) events delivered")
        + unless($r.memory_peak_bytes < $memory_max; "more than 1 GiB of memory")
        + unless($r.ended_with_0; "it did not end with 0 after SIGTERM"))}'
}

# row RESULT: a line of the table, and below it what is wrong.
row() {
  local fields
  mapfile -t fields < <("$JQ" --raw-output '
    def short: if . >= 100 then round else (. * 10 | round) / 10 end;
    .scenario, .requests, (.events_per_second | round), (.answer_milliseconds | .p50, .p99, .max | short),
    .refused_429, (if .drain_seconds then .drain_seconds | short else "-" end),
    (.memory_peak_bytes / 1048576 | round), (.written_per_received * 1000 | round / 1000),
    (if .failures == [] then "pass" else "FAIL" end)' <<<"$1")
  # shellcheck disable=SC2059
  printf "$ROW" "${fields[@]}"
  "$JQ" --raw-output '.failures[] | "               \(.)"' <<<"$1"
}

# run NAME: one scenario; fails if it did not pass.
run() {
  local result
  if prepare "$1" && load "$1" && observe "$1" >"$RUN_DIR/relay.json" && result=$(judge "$1"); then
    row "$result"
  else
    # shellcheck disable=SC2059
    printf "$ROW" "$1" - - - - - - - - - 'FAIL: it could not be measured, see above'
    result=$("$JQ" --null-input --compact-output --arg scenario "$1" \
      '{scenario: $scenario, failures: ["it could not be measured"]}')
  fi
  if [ -n "$json_file" ]; then printf '%s\n' "$result" >>"$json_file"; fi
  "$JQ" --exit-status '.failures == []' <<<"$result" >/dev/null
}

need_k6 && need_jq && need_curl || exit 2
relay_build || exit 2

# shellcheck disable=SC2059
printf "\n$ROW" scenario requests events/s 'p50 ms' 'p99 ms' 'max ms' 429s 'drain s' \
  'RSS MB' 'wr/recv' verdict
failed=0
for name in "${names[@]}"; do
  load_begin
  if run "$name"; then
    load_end
  else
    failed=$((failed + 1))
    logs=$RUN_DIR
    load_end keep
    printf '               logs: %s\n' "$logs"
  fi
done
if [ "$failed" -gt 0 ]; then
  printf '\n%s of %s scenarios failed\n' "$failed" "${#names[@]}"
  exit 1
fi
printf '\nall %s scenarios passed\n' "${#names[@]}"
