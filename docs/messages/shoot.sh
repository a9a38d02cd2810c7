#!/usr/bin/env bash
# Pictures of typical messages, for docs/messages.md: `auditrelay render --format html`, photographed by a
# headless Chromium (Debian: apt-get install chromium fonts-liberation fonts-noto-color-emoji fonts-wqy-microhei).
#
#   bash docs/messages/shoot.sh [FOLDER]      FOLDER is docs/messages unless another is named.
#
# AUDITRELAY and CHROMIUM may name the programs. THEME=dark takes the dark page.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=${1:-docs/messages}
theme=${THEME:-light}
width_pixels=800
limit_seconds=60

fail() {
  printf 'docs/messages/shoot.sh: %s\n' "$*" >&2
  exit 1
}

chromium=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome; do
  if [ -z "$chromium" ] && command -v "$name" >/dev/null; then chromium=$name; fi
done
[ -n "$chromium" ] || fail 'there is no chromium; on Debian: apt-get install chromium fonts-liberation fonts-noto-color-emoji fonts-wqy-microhei'

auditrelay=${AUDITRELAY:-}
if [ -z "$auditrelay" ]; then
  cargo build --locked --quiet --bin auditrelay
  auditrelay=${CARGO_TARGET_DIR:-target}/debug/auditrelay
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

# browse ARGUMENT…: runs the browser on a profile that nothing was done with.
browse() {
  local profile
  profile=$(mktemp -d "$work/profile.XXXX")
  local dark=()
  if [ "$theme" = dark ]; then dark=(--blink-settings=preferredColorScheme=0); fi
  timeout "$limit_seconds" "$chromium" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
    --force-device-scale-factor=2 --user-data-dir="$profile" "${dark[@]}" "$@" 2>"$work/browser.log" ||
    { cat "$work/browser.log" >&2; fail "$chromium failed"; }
}

# height_of PAGE: how high it is at this width. The page runs no script, so a copy of it that may measures.
height_of() {
  sed -e '/Content-Security-Policy/d' \
    -e 's|</body>|<script>document.title = Math.ceil(document.documentElement.getBoundingClientRect().height)</script></body>|' \
    "$1" >"$work/measured.html"
  browse --window-size="$width_pixels,200" --dump-dom "file://$work/measured.html" |
    sed -n 's|.*<title>\([0-9]*\)</title>.*|\1|p'
}

# shoot NAME CONFIG CLUSTER CHANNEL FILE…
shoot() {
  local name=$1 config=$2 cluster=$3 channel=$4 height
  shift 4
  "$auditrelay" render --config "$config" --cluster "$cluster" --channel "$channel" \
    --format html "$@" >"$work/$name.html"
  height=$(height_of "$work/$name.html")
  [ -n "$height" ] || fail "the height of $name is not known"
  browse --window-size="$width_pixels,$height" --screenshot="$work/$name.png" "file://$work/$name.html"
  mv "$work/$name.png" "$folder/$name.png"
  echo "$folder/$name.png: $width_pixels x $height"
}

config=tests/messages/config.yaml
shoot exec "$config" prod security tests/messages/exec.json
shoot secret-read "$config" prod security tests/messages/secret-read.json
shoot rbac-change "$config" prod security tests/messages/rbac-change.json
shoot forbidden-burst "$config" prod security tests/messages/forbidden-burst.json
shoot storm "$config" prod everything src/demo/storm.json src/demo/incident.json
# What the README shows: a message of the demo.
shoot incident src/demo/config.yaml prod-eu security src/demo/incident.json
