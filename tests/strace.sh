#!/usr/bin/env bash
# Proves ACK_DURABLE from outside: between each changing request on the socket and its answer, the log was written and then
# synced to the device. Runs the server under strace, sends one request at a time, and reads the trace.
#
#   tests/strace.sh [PATH-TO-HOLDFAST (target/debug/holdfast)]
#
# Prints an excerpt for each back end. Fails when an answer left before its sync; the check is itself checked on the same trace
# without its syncs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
holdfast=${1:-target/debug/holdfast}
command -v strace >/dev/null || { echo "strace is not installed (Debian: apt-get install strace)" >&2; exit 1; }
directory=$(mktemp -d)
tracer=
stop() {
  if [ -n "$tracer" ]; then kill "$tracer" 2>/dev/null || true; wait "$tracer" 2>/dev/null || true; fi
  rm -rf "$directory"
}
trap stop EXIT

# Reads a trace and judges the answer of every changing request. An answer counts from its call on; a sync counts when it has
# returned, and only for what was written before it was called.
# shellcheck disable=SC2016
judge='
function path_of(call) { return match(call, /<[^>]*>/) ? substr(call, RSTART + 1, RLENGTH - 2) : "" }
{
  thread = $1; call = $0; begins = 1; returns = 1
  if (call ~ /<unfinished \.\.\.>/) { begun[thread] = call; returns = 0 }
  if (call ~ /<\.\.\. [a-z0-9]+ resumed>/) { call = begun[thread]; begins = 0 }
}
returns && $0 ~ /(recvfrom|read)(\(| resumed>).*"(POST|PUT|PATCH|DELETE) \/api/ { waiting = 1; written = ""; synced = 0; requests++ }
waiting && call ~ /pwrite64\(.*\/journal\/[^>]*(\.log|\/db)>/ { written = path_of(call); synced = 0; writes++ }
call ~ /fdatasync\(/ && begins { covers[thread] = writes }
waiting && call ~ /fdatasync\(/ && returns && path_of(call) == written && covers[thread] == writes { synced = 1 }
waiting && begins && call ~ /(write|writev|sendto|sendmsg)\(.*"HTTP\/1\.1 2/ {
  if (!synced) { print "an answer before its sync: " $0; bad++ }
  waiting = 0; answers++
}
END {
  print requests + 0 " changing requests, " answers + 0 " answers, " bad + 0 " before their sync"
  exit !(requests == 12 && answers == requests && bad == 0)
}'

ask() { curl -sS -o /dev/null --fail -X "$1" "$api$2" -H 'content-type: application/json' -d "$3"; }

for backend in file sled; do
  trace=$directory/$backend.trace
  strace -f -ttt -y -s 32 -o "$trace" -e trace=read,recvfrom,write,writev,sendto,sendmsg,pwrite64,fdatasync,fsync \
    "$holdfast" serve --data-dir "$directory/$backend" --set "journal.backend=$backend" --set journal.segment_bytes=1MiB \
    --listen 127.0.0.1:0 --ops-listen 127.0.0.1:0 >"$directory/$backend.out" 2>"$directory/$backend.err" &
  tracer=$!
  until grep -q '^listening' "$directory/$backend.out"; do
    kill -0 "$tracer" 2>/dev/null || { cat "$directory/$backend.err" >&2; exit 1; }
    sleep 0.05
  done
  api=$(sed 's/.*api=\([^ ]*\).*/\1/' "$directory/$backend.out")
  ask POST /api/stock/variants '{"id":"1","name":"Soap","onHand":100}'
  for _ in 1 2 3 4 5 6 7 8 9 10; do ask POST /api/stock/reservations '{"variantId":"1","quantity":1}'; done
  ask POST /api/stock/variants/1/adjustments '{"delta":1,"reason":"found"}'
  # No bulk: its variants may write what follows from the decision while the answer, whose group is synced, is on its way.
  # The server is the tracer's only child.
  kill -TERM "$(cut -d' ' -f1 "/proc/$tracer/task/$tracer/children")"
  wait "$tracer"
  tracer=

  echo "== $backend: one reservation"
  awk '/"POST \/api\/stock\/reservat/ { seen++ } seen == 2 { print } seen == 2 && /"HTTP\/1.1 2/ { exit }' "$trace" |
    grep -E 'POST|HTTP|/journal/' | sed "s#$directory/##g" | head -20
  awk "$judge" "$trace"
  if grep -v 'fdatasync' "$trace" | awk "$judge" >/dev/null; then echo "the check missed a missing sync" >&2; exit 1; fi
done
echo "every answer followed the sync of its group"
