#!/usr/bin/env bash
# Looks for bytes that break what src/fuzzing holds to: cargo fuzz, a minute with each target.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
    cat <<'HELP'
usage: bash tests/fuzz.sh [TARGET]...

Runs these targets, or all of tests/fuzz/targets, each for FUZZ_SECONDS (default 60), beginning with tests/fuzz/seeds.
Bytes that break something are written to target/fuzz/found; put them into tests/fuzz/seeds, which `cargo test` tries.
HELP
    exit 0
fi

cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz

# What libFuzzer needs of the compiler is called unstable, but is in every compiler.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in tests/fuzz/targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi
for target in "${targets[@]}"; do
    printf '\n-- %s\n' "$target"
    mkdir -p "$CARGO_TARGET_DIR/corpus/$target" "$CARGO_TARGET_DIR/found/$target"
    if [ "$target" = gateway_toml ]; then
        # The shipped file, as it is and with everything switched on; src/fuzzing/tests.rs tries these, too.
        cp gateway.toml "$CARGO_TARGET_DIR/corpus/$target/shipped"
        sed 's/^#: //' gateway.toml >"$CARGO_TARGET_DIR/corpus/$target/everything"
    fi
    # Nothing here is unsafe, so there is nothing for a sanitizer to find.
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" \
        "$CARGO_TARGET_DIR/corpus/$target" "tests/fuzz/seeds/$target" -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -artifact_prefix="$CARGO_TARGET_DIR/found/$target/" -print_final_stats=1 -verbosity=0
done
