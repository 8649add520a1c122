#!/bin/sh
# Makes sure that there is a Chromium for the browser tests, and certutil to make it trust a development CA (device-bound
# sessions need https that the browser trusts): installs Debian's when root, else says what to do in one line.
set -eu
missing=""
found=""
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        found="$name"
    fi
done
[ -n "$found" ] || missing="chromium"
command -v certutil >/dev/null 2>&1 || missing="$missing libnss3-tools"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && grep -qs '^ID=debian' /etc/os-release; then
    echo "installing for the browser tests: $missing"
    # shellcheck disable=SC2086
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing; } \
        >/dev/null </dev/null
else
    echo "Missing: $missing. Those browser tests will be skipped (Debian: apt install chromium libnss3-tools;" \
        "macOS: brew install --cask chromium; brew install nss)."
fi
