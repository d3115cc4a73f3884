#!/usr/bin/env bash
# Holds a running server to its OpenAPI document: examples, bounds, random requests good and bad, ways along the links.
#
#   tests/schemathesis.sh [BINARY (target/debug/holdfast)] [ARGUMENT OF st run...]
#
# Needs Python 3.10 or later and pip: schemathesis goes into target/schemathesis. `tests/schemathesis/hooks.py` says what
# an OpenAPI document cannot. At the end the server is told to drain, and the laws are verified over what it leaves.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=$(realpath "${1:-target/debug/holdfast}")
shift || true

tools=$PWD/target/schemathesis
if [ ! -x "$tools/bin/st" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check 'schemathesis==4.32.5'
fi

work=$(mktemp -d)
server=
finish() { if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; fi; rm -rf "$work"; }
trap finish EXIT
"$binary" serve --demo --data-dir "$work/data" --listen 127.0.0.1:0 --ops-listen 127.0.0.1:0 >"$work/out" 2>"$work/err" &
server=$!
until grep -q '^listening' "$work/out"; do
  kill -0 "$server" 2>/dev/null || { cat "$work/err" >&2; exit 1; }
  sleep 0.1
done
api=$(sed -n 's/^listening api=\(http:\/\/[^ ]*\).*/\1/p' "$work/out")

# A directory of its own: what it has learnt of an earlier server is of no use here.
cp tests/schemathesis/hooks.py tests/schemathesis/schemathesis.toml "$work"
failed=0
(cd "$work" && "$tools/bin/st" run "$api/openapi.json" --no-color --continue-on-failure --seed 1 --max-examples 50 "$@") || failed=$?

curl -sSf -X POST "$api/api/admin/drain" -o /dev/null
wait "$server" || { echo "the server ended with $?" >&2; tail -20 "$work/err" >&2; failed=1; }
server=
"$binary" verify --data-dir "$work/data" || failed=$?
exit "$failed"
