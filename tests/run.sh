#!/usr/bin/env bash
# The test command: formatting, lints, documentation, and every unit, integration and end-to-end test.
#
# Needs cargo (rustup brings the toolchain that rust-toolchain.toml pins) and a C compiler. Everything
# else is used where it is present: cargo-nextest runs the tests, cargo-deny checks licences, strace
# watches the order of system calls, valgrind counts instructions, prometheus scrapes the relay and promtool tries its
# rules (all three installed where apt-get may), python3 and node run Slack's own SDKs against the local Slack and hold
# metrics and dashboards against the parser of OpenMetrics and Grafana's types, Go's HTTP client posts to the webhook, and
# nats-server is the queue of several relays (all installed below target/ from their registries).
# Each step ends after its limit in seconds, so the whole command ends too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

heading() {
  printf '\n==== %s ====\n' "$*"
}

fail() {
  printf 'tests/run.sh: %s\n' "$*" >&2
  exit 1
}

# step LIMIT_SECONDS COMMAND…: runs a command for at most so long.
step() {
  local limit_seconds=$1 code=0
  shift
  # On a terminal Ctrl-C must reach the command; elsewhere its children must end with it.
  local foreground=()
  if [ -t 0 ]; then foreground=(--foreground); fi
  timeout "${foreground[@]}" --kill-after=20 "$limit_seconds" "$@" || code=$?
  if [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
    fail "'$*' was ended after its limit of $limit_seconds s"
  fi
  return "$code"
}

# ring and zstd build C code, and rustc links through cc.
need_c_compiler() {
  if command -v cc >/dev/null; then return; fi
  if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    heading 'installing a C compiler'
    step 300 apt-get update
    step 600 env DEBIAN_FRONTEND=noninteractive \
      apt-get install --yes --no-install-recommends gcc libc6-dev
  fi
  command -v cc >/dev/null ||
    fail 'there is no C compiler (cc); install one, on Debian: apt-get install gcc libc6-dev'
}

# want PROGRAM TEST: a test needs a program; without it that test says that it was skipped.
want() {
  local program=$1 test=$2
  if command -v "$program" >/dev/null; then return; fi
  if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    heading "installing $program"
    { step 300 apt-get update &&
      step 300 env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "$program"; } || true
  fi
  command -v "$program" >/dev/null || echo "$program is not installed: $test is skipped"
}

heading 'tools'
command -v cargo >/dev/null || fail 'there is no cargo; install Rust from https://rustup.rs'
need_c_compiler
want curl "the test of the line of curl that init gives"
want strace 'the tests of the order of system calls'
want valgrind 'the test of instructions per event'
want prometheus 'the tests of rules and dashboards with a real Prometheus'
step 600 cargo --version || fail 'the toolchain that rust-toolchain.toml names is not to be had'
cargo fmt --version || fail 'there is no rustfmt; try: rustup component add rustfmt'
cargo clippy --version || fail 'there is no clippy; try: rustup component add clippy'

heading 'formatting'
step 120 cargo fmt --all --check

heading 'lints'
step 1200 cargo clippy --workspace --all-targets --locked -- -D warnings

heading 'documentation'
step 600 env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

heading 'build'
step 1200 cargo build --workspace --bins --locked

heading 'licences, bans and sources of dependencies'
if cargo deny --version 2>/dev/null; then
  step 300 cargo deny --locked check licenses bans sources
else
  echo 'skipped: cargo-deny is not installed (cargo install cargo-deny --locked)'
fi

heading "Slack's own SDKs, for the test of the local Slack"
# In a shell of its own: what cannot be installed in time is skipped, not failed.
(step 300 bash loadtest/tests/sdk/install.sh) || echo 'not all of them are there: see above'

heading "Go's HTTP client, which the API server has, for tests/front_door"
(step 300 bash tests/go_client/install.sh) || echo 'it is not there: see above'

heading 'the parser of OpenMetrics, for tests/metrics'
(step 300 bash tests/observability/install.sh) || echo 'it is not there: see above'

heading 'nats-server, for the tests with a real one'
(step 300 bash tests/nats/install.sh) || echo 'it is not there: see above'

heading "Grafana's types, for tests/dashboards"
(step 300 bash dashboards/check/install.sh) || echo 'they are not there: see above'

heading 'examples in the documentation'
step 600 cargo test --workspace --doc --locked

heading 'tests'
# Snapshots are compared and never written; `cargo insta review` is for that.
export INSTA_UPDATE=no
if cargo nextest --version 2>/dev/null; then
  profile=default
  if [ -n "${CI:-}" ]; then profile=ci; fi
  step 2700 cargo nextest run --workspace --locked --profile "$profile"
else
  echo 'cargo-nextest is not installed: cargo test runs them, without a limit for each test'
  step 2700 cargo test --workspace --lib --bins --tests --locked --no-fail-fast
fi

heading 'everything passed'
