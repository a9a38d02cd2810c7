#!/usr/bin/env bash
# What single steps cost: the micro benchmarks of all packages, then instructions and allocations per
# event on the way from a body to the queue. Prints a table for each.
#
# usage: loadtest/micro.sh [FILTER]
#   FILTER   only benchmarks whose name contains it, and no instructions
#
# Needs cargo and a C compiler, and valgrind (Debian: apt-get install valgrind) for the instructions;
# without it that table says that it was skipped. Takes about five minutes from cold, most of it
# compiling, and one after that. Times are those of this machine while nothing else runs on it: the
# median tells more than the mean. Instructions are the same anywhere.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "$#" -gt 1 ] || [ "${1:-}" = --help ]; then
  sed -n '2,13s/^# \{0,1\}//p' "loadtest/${BASH_SOURCE[0]##*/}"
  exit 2
fi

# '*' are all bench targets and, other than with --benches, not the libraries' own empty ones.
cargo bench --workspace --locked --bench '*' -- "$@"

if [ "$#" -eq 0 ]; then
  printf '\n==== instructions ====\n'
  cargo test --package auditrelay --test instructions --locked -- --nocapture
fi
