#!/usr/bin/env bash
# Changes the domain in small ways, one at a time, and expects a test to fail each time (cargo-mutants).
#
#   tests/mutants.sh [K/N] [ARGUMENT OF cargo mutants...]
#
# K/N takes every Nth mutant from the Kth on; all of them without. The domain is pure: it is put into a package of its own
# with the tests that need nothing else, so that a mutant is built and judged in seconds instead of minutes. The report is
# in target/mutants/mutants.out; the exit code is 2 when a mutant survived.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
shard=()
if [[ ${1:-} =~ ^[0-9]+/[0-9]+$ ]]; then shard=(--shard "$1" --sharding round-robin); shift; fi
command -v cargo-mutants >/dev/null || { echo "cargo install --locked cargo-mutants" >&2; exit 1; }

package=target/mutants
modules='bulk_model cart model saga scenario world'
rm -rf "$package/src" "$package/tests"
mkdir -p "$package/src" "$package/tests/it"
cp -r src/domain src/planted.rs "$package/src"
cp -r tests/scenario tests/proptest-regressions "$package/tests"
printf '#[macro_use]\npub mod planted;\npub mod domain;\n' >"$package/src/lib.rs"
for module in $modules; do
  cp -r tests/it/"$module"* "$package/tests/it/"
  echo "mod $module;" >>"$package/tests/it/main.rs"
done
version() { sed -n "s/^$1 = \(.*\)/\1/p" Cargo.toml; }
cat >"$package/Cargo.toml" <<MANIFEST
[package]
name = "holdfast"
version = "0.1.0"
edition = "2024"
publish = false
[features]
planted-faults = []
[dependencies]
thiserror = $(version thiserror)
[dev-dependencies]
fastrand = $(version fastrand)
proptest = $(version proptest)
[profile.dev]
debug = false
[profile.dev.package."*"]
opt-level = 1
[workspace]
MANIFEST
cp Cargo.lock "$package"

# Cases are drawn anew for each mutant, and what fails with one is no regression of ours.
export PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
cd "$package"
# What only speaks to people is not worth a mutant.
exec cargo mutants --file 'src/domain/**' --cap-lints true --gitignore false \
  --exclude-re 'impl (fmt::)?(Display|Debug)|-> fmt::Result|fn fmt' --minimum-test-timeout 60 \
  --cargo-test-arg=--lib --cargo-test-arg=--test --cargo-test-arg=it "${shard[@]}" "$@"
