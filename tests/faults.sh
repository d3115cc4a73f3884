#!/usr/bin/env bash
# The tests of the tests: builds with faults planted (`src/planted.rs`), lets each live in turn, and expects the tests to fail.
# Every step is first run without a fault, where it must pass.
#
#   tests/faults.sh [FAULT...]
#
# Prints for each fault which step of the ladder caught it and how soon. Fails if one was not caught, or if a build that could
# serve somebody takes the feature.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What proptest finds in a build with faults is no regression of ours.
export PROPTEST_DISABLE_FAILURE_PERSISTENCE=true

# fault, step of the ladder, test program, names of the tests; the simulation has seeds, and runs its short form
table='
AnswerBeforeSync   durability-story  it   shop::durability::
AnswerBeforeSync   crash-states      it   crash_states::a_crash_loses_nothing_on_files
SkipDeviceSync     crash-states      it   crash_states::a_crash_loses_nothing_on_
ForgetKeys         restart-story     it   shop::keys::
ForgetKeys         crash-states      it   crash_states::a_crash_loses_nothing_on_files
OffByOneStock      model             it   model::
OffByOneStock      linearizable      it   linear::a_shop_in_this_process_is_linearizable
ExpireEarly        expiry-story      it   shop::expiry::
ExpireEarly        linearizable      it   linear::a_shop_in_this_process_is_linearizable
ConfirmAfterExpiry model             it   model::
ConfirmAfterExpiry linearizable      it   linear::a_shop_in_this_process_is_linearizable
NonAtomicCheckout  saga-tables       it   saga::
ReorderedAnswers   durability-story  it   shop::durability::
ReplayReadsClock   restart           it   recovery::restart::
UnboundedQueue     limits            lib  actor::admission::
SilentCut          disk-damage       it   recovery::damage::
SilentCut          stops             it   stops::damage_in
AnswerBeforeSync   simulation        sim  sim
ForgetKeys         simulation        sim  sim
OffByOneStock      simulation        sim  sim
ExpireEarly        simulation        sim  sim
ConfirmAfterExpiry simulation        sim  sim
ReorderedAnswers   simulation        sim  sim
ReplayReadsClock   simulation        sim  sim
TornList           simulation        sim  sim
'
wanted=" $* "

if cargo check --locked --quiet --features planted-faults --config 'profile.dev.package.holdfast.debug-assertions=false' \
  >/dev/null 2>"${TMPDIR:-/tmp}/holdfast-faults.$$"; then
  echo "a build without debug assertions took the feature" >&2
  exit 1
fi
grep -q 'nobody is to be served' "${TMPDIR:-/tmp}/holdfast-faults.$$" || { cat "${TMPDIR:-/tmp}/holdfast-faults.$$" >&2; exit 1; }
rm "${TMPDIR:-/tmp}/holdfast-faults.$$"
echo "a build without debug assertions refuses the feature"

built=$(cargo test --locked --features planted-faults --lib --test it --test sim --no-run 2>&1)
program() { sed -n "s#.*Executable $1 (\(.*\))#\1#p" <<<"$built"; }
lib=$(program 'unittests src/lib.rs')
it=$(program 'tests/it/main.rs')
sim=$(program 'tests/sim/main.rs')
[ -x "$lib" ] && [ -x "$it" ] && [ -x "$sim" ] || { echo "$built" >&2; exit 1; }

run() { # fault program names; the output goes to a file
  local command=("$it" "$3" --nocapture)
  [ "$2" = lib ] && command[0]=$lib
  [ "$2" = sim ] && command=("$sim")
  if [ -n "$1" ]; then export HOLDFAST_PLANTED_FAULT=$1; else unset HOLDFAST_PLANTED_FAULT; fi
  # A fault may keep somebody waiting for ever: that it never ends is a way of being caught.
  timeout 100 "${command[@]}" >"$output" 2>&1
}
output=$(mktemp)
trap 'rm -f "$output"' EXIT

missed=0
passed=' '
while read -r fault step program names; do
  [ -n "$fault" ] || continue
  [ "$wanted" = '  ' ] || [[ $wanted == *" $fault "* ]] || continue
  if [[ $passed != *" $names "* ]]; then
    run '' "$program" "$names" || { cat "$output" >&2; echo "$names fails without a fault" >&2; exit 1; }
    grep -q 'test result: ok. [1-9]\|^violations: 0' "$output" || { echo "$names: no such test" >&2; exit 1; }
    passed+="$names "
  fi
  begin=$SECONDS
  if run "$fault" "$program" "$names"; then status=0; else status=$?; fi
  if [ "$status" -eq 0 ]; then
    printf '%-19s %-17s MISSED by %s\n' "$fault" "$step" "$names"
    missed=1
  else
    first=$(sed -n "/^thread '[^']*::[^']*'.* panicked/{s/^thread '\([^']*\)'.*/\1/p;q}
      /^seed [0-9]*: .* broken/{s/^\(seed [0-9]*: [A-Z_]*\) .*/\1/p;q}" "$output")
    printf '%-19s %-17s caught after %3d s by %s%s\n' "$fault" "$step" "$((SECONDS - begin))" "${first:-$names}" "$([ "$status" -ne 124 ] || echo ", which never ended")"
  fi
done <<<"$table"
[ "$missed" -eq 0 ] || { echo "not every planted fault was caught" >&2; exit 1; }
echo "every planted fault was caught"
