#!/usr/bin/env bash
# Measures what drawbridge costs beside nginx doing the same work, and how fast a kick is known everywhere. `benches/run.sh --help` tells the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(nginx libnginx-mod-http-lua lua-nginx-redis lua-cjson redis-server wrk openssl python3 util-linux)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [[ $status == "install ok installed" ]] || missing+=("$package")
done
if ((${#missing[@]})); then
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}" >&2
        echo "install them with: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 2
    fi
    echo "installing: ${missing[*]}" >&2
    # RUNLEVEL=1 keeps Debian's scripts from starting the system's nginx and redis.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; } >&2
fi

# nginx and redis-server live in sbin on Debian, which is not on every user's path.
export PATH="$PATH:/usr/sbin:/sbin"
export PYTHONDONTWRITEBYTECODE=1
exec python3 benches/measure.py "$@"
