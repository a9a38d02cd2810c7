#!/usr/bin/env bash
# Pictures of the dashboards on a bad day, for docs/dashboards.md. A real relay has one (tests/dashboards/storm.rs), a
# real Prometheus scrapes it and answers every query of every panel, and docs/dashboards/draw.mjs draws the answers as
# Grafana would. Needs prometheus, node and chromium (Debian: apt-get install prometheus nodejs chromium fonts-liberation).
#
#   bash docs/dashboards/shoot.sh [FOLDER]      FOLDER is docs/dashboards unless another is named.
#
# STORM_SECONDS says how long the day is (default 330); the first quarter of it is calm. ANSWERS names a file of answers
# that is there already, or where they are kept. CHROMIUM may name the browser.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=${1:-docs/dashboards}
width_pixels=1280
limit_seconds=60

fail() {
  printf 'docs/dashboards/shoot.sh: %s\n' "$*" >&2
  exit 1
}

chromium=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome; do
  if [ -z "$chromium" ] && command -v "$name" >/dev/null; then chromium=$name; fi
done
[ -n "$chromium" ] || fail 'there is no chromium; on Debian: apt-get install chromium fonts-liberation'
command -v node >/dev/null || fail 'there is no node; on Debian: apt-get install nodejs'
command -v prometheus >/dev/null || fail 'there is no prometheus; on Debian: apt-get install prometheus'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

answers=${ANSWERS:-$work/answers.json}
if [ ! -e "$answers" ]; then
  AUDITRELAY_STORM_SECONDS=${STORM_SECONDS:-330} AUDITRELAY_DASHBOARD_ANSWERS=$answers \
    cargo test --locked --workspace --test dashboards every_query_of_every_panel -- --nocapture
fi

for name in overview delivery queue; do
  page=$work/$name.html
  node docs/dashboards/draw.mjs "$name" "$answers" >"$page"
  height=$(sed -n 's|^<body style="height:\([0-9]*\)px">$|\1|p' "$page")
  [ -n "$height" ] || fail "the height of $name is not known"
  timeout "$limit_seconds" "$chromium" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
    --force-device-scale-factor=1 --user-data-dir="$work/profile-$name" --window-size="$width_pixels,$height" \
    --screenshot="$work/$name.png" "file://$page" 2>"$work/browser.log" ||
    { cat "$work/browser.log" >&2; fail "$chromium failed"; }
  # A third of the size, and nothing that an eye sees, where pngquant is there.
  if command -v pngquant >/dev/null; then pngquant --force --strip --output "$work/$name.png" 192 "$work/$name.png"; fi
  mv "$work/$name.png" "$folder/$name.png"
  echo "$folder/$name.png: $width_pixels x $height"
done
