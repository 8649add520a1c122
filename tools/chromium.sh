#!/bin/sh
# Makes sure that there is a Chromium for the browser tests: installs Debian's when root, else says what to do in one line.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && grep -qs '^ID=debian' /etc/os-release; then
    echo "installing Chromium"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium; } \
        >/dev/null </dev/null
else
    echo "No Chromium: browser tests will be skipped (Debian: apt install chromium; macOS: brew install --cask chromium)."
fi
