#!/usr/bin/env bash
# The console in a real Chromium, over WebDriver: what a person does there, from the first look to the last key.
# Usage: console.sh [FOLDER]; with FOLDER it leaves screenshots there.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v chromedriver >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium chromium-driver fonts-noto-cjk >/dev/null; }
program=${MOCKSERVER:-target/release/mockserver}
[[ -x $program ]] || cargo build --release --locked
exec timeout 90 python3 tests/external/console.py "$program" "${1:-$(mktemp -d)}"
