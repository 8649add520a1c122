#!/bin/sh
# Prints the path of a uv to use. Fetches one into .uv/, pinned by hash, when there is none on the PATH.
set -eu
cd "$(dirname "$0")/.."

if command -v uv >/dev/null 2>&1; then
    command -v uv
    exit 0
fi
if [ ! -x .uv/bin/uv ]; then
    python=""
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "Seawall needs Python 3.11 or newer; there is none on the PATH." >&2
        exit 1
    fi
    echo "fetching uv into .uv/" >&2
    if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        # Debian splits ensurepip out of Python.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy python3-venv; } >&2 </dev/null
        else
            echo "Python's venv module is not complete; on Debian: apt install python3-venv" >&2
            exit 1
        fi
    fi
    rm -rf .uv
    "$python" -m venv .uv >&2
    .uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/uv.lock >&2 </dev/null
fi
echo .uv/bin/uv
