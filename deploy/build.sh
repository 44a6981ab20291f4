#!/usr/bin/env bash
# Builds the drawbridge that is shipped. `deploy/build.sh --help` tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
    cat <<'HELP'
usage: bash deploy/build.sh [OUTPUT]

Builds drawbridge twice: once to watch it at work under the load of benches/run.sh, and once more for the way it was seen to
work (profile-guided optimization, https://doc.rust-lang.org/rustc/profile-guided-optimization.html). It does the same as
`cargo build --release`, with about a tenth less of its own CPU per request. Takes about a quarter of an hour on two cores.

  OUTPUT    where the program is put (target/shipped/drawbridge)

Needs, besides what `cargo build` needs: what benches/run.sh measures with (it installs that on Debian), and an llvm-profdata that
reads what this rustc writes: `rustup component add llvm-tools`, or LLVM 19 or later of your system.
HELP
    exit 0
fi

fail() { printf 'deploy/build.sh: %s\n' "$*" >&2; exit 1; }

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")/shipped"
output="${1:-$target/drawbridge}"
profiles="$target/profiles"
host=$(rustc -vV | sed -n 's/^host: //p')

# Newest first: a reader of profiles reads what is older, and nothing that is newer.
readers() {
    printf '%s\n' "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"
    compgen -c llvm-profdata | grep -E '^llvm-profdata(-[0-9]+)?$' | sort -t- -k3 -rn -u
}

# With a target named, the flags do not reach what runs while building.
build() {
    RUSTFLAGS="${RUSTFLAGS:-} $1" CARGO_TARGET_DIR="$2" cargo build --release --locked --bin drawbridge --target "$host"
}

rm -rf "$profiles"
mkdir -p "$profiles"
build "-Cprofile-generate=$profiles" "$target/watched"
load=drawbridge-auth,drawbridge-strict,drawbridge-public,drawbridge-fresh,drawbridge-local
LLVM_PROFILE_FILE="$profiles/%p.profraw" bash benches/run.sh --part cpu --rounds 1 --only "$load" \
    --bin "$target/watched/$host/release/drawbridge"

profile=
for reader in $(readers); do
    if command -v "$reader" >/dev/null && "$reader" merge -o "$profiles/merged.profdata" "$profiles"/*.profraw; then
        profile="$profiles/merged.profdata"
        break
    fi
done
[ -n "$profile" ] || fail "no llvm-profdata here reads these profiles; try: rustup component add llvm-tools"
# cargo builds anew what was built with other flags, and does not look into the file.
named="$profiles/$(cksum "$profile" | cut -d' ' -f1).profdata"
mv "$profile" "$named"

build "-Cprofile-use=$named" "$target/guided"
install -D -m 0755 "$target/guided/$host/release/drawbridge" "$output"
printf 'built %s\n' "$output"
