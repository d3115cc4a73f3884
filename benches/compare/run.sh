#!/usr/bin/env bash
# Holdfast beside Redis, PostgreSQL and the floors, in one run: benches/compare/run.sh --holdfast PROGRAM [--rounds N --seconds S
# --connections C --out FILE ...]. Looks for what it needs, says what is missing and installs nothing; then builds the comparison and
# runs it. README.md beside this file says what is compared and how fair it is; --help lists every option.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

only=redis,postgres,floors
holdfast=
help=
dir=${TMPDIR:-/tmp}
arguments=("$@")
for ((at = 0; at < ${#arguments[@]}; at++)); do
  case ${arguments[at]} in
    --holdfast) holdfast=${arguments[at + 1]:-} ;;
    --holdfast=*) holdfast=${arguments[at]#*=} ;;
    --only) only=${arguments[at + 1]:-} ;;
    --only=*) only=${arguments[at]#*=} ;;
    --dir) dir=${arguments[at + 1]:-} ;;
    --dir=*) dir=${arguments[at]#*=} ;;
    -h | --help) help=1 ;;
  esac
done

missing=()
lacks() { missing+=("$1"); }
program() { command -v "$1" >/dev/null || lacks "$1 (Debian: apt-get install $2)"; }

command -v cargo >/dev/null || lacks "cargo (https://rustup.rs)"
program cc gcc
if [ -z "$help" ]; then
  program taskset util-linux
  program setpriv util-linux
  [ "$(nproc)" -ge 2 ] || lacks "a second processor core: client and servers have their own"
  if [ -z "$holdfast" ]; then
    lacks "--holdfast PROGRAM, for instance target/release/holdfast after cargo build --release"
  elif [ ! -x "$holdfast" ]; then
    lacks "$holdfast: not a program (cargo build --release makes target/release/holdfast)"
  fi
fi
found=()
versions=
if [ -z "$help" ] && [[ $only == *redis* ]]; then
  program redis-server redis-server
  if command -v redis-server >/dev/null; then
    found+=(--redis "$(command -v redis-server)")
    versions+=", Redis $(redis-server --version | sed -n 's/.* v=\([^ ]*\) .*/\1/p')"
  fi
fi
if [ -z "$help" ] && [[ $only == *postgres* ]]; then
  # Debian keeps the server's programs out of the path; the newest version is taken.
  postgres=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -1)
  [ -n "$postgres" ] || postgres=$(readlink -f "$(command -v postgres || true)" || true)
  if [ -z "$postgres" ] || [ ! -x "$(dirname "$postgres")/initdb" ]; then
    lacks "postgres and initdb (Debian: apt-get install postgresql; the cluster that the package starts is not used: pg_ctlcluster 15 main stop)"
  else
    found+=(--postgres-bin "$(dirname "$postgres")")
    versions+=", PostgreSQL $("$postgres" --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')"
  fi
  if [ "$(id -u)" -eq 0 ]; then
    # PostgreSQL refuses to be root.
    user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    if id "$user" >/dev/null 2>&1; then
      found+=(--postgres-user "$(id -u "$user"):$(id -g "$user")")
    else
      lacks "a user for PostgreSQL, which refuses to run as root: useradd --system postgres"
    fi
  fi
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "The comparison cannot run here. Missing:" >&2
  printf '  %s\n' "${missing[@]}" >&2
  echo "Nothing was installed. (--only redis, --only postgres or --only floors need less.)" >&2
  exit 2
fi

# The folder's own configuration puts the build into target/compare of the tree. SIGTERM ends the build as Ctrl-C does.
cd "$here"
builder=
trap 'kill "$builder" 2>/dev/null || true; exit 143' TERM
cargo build --release --locked --quiet </dev/null &
builder=$!
wait "$builder"
trap - TERM
cd - >/dev/null
compare=${CARGO_TARGET_DIR:-$here/../../target/compare}/release/compare
[ -z "$help" ] || exec "$compare" run --help

told="$(date -u '+%F %H:%M UTC'): $(nproc) cores, $(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo), Linux $(uname -r | cut -d- -f1),"
told+=" $(df --output=fstype "$dir" | tail -1) on $(df --output=source "$dir" | tail -1), $("$holdfast" --version)$versions."
exec "$compare" run "${found[@]}" --told "$told" "$@"
