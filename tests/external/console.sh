#!/usr/bin/env bash
# The console in a real Chromium, over WebDriver: what a person does there, from the first look to the last key.
# Usage: console.sh [FOLDER]; with FOLDER it leaves screenshots there.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

pictures=$(realpath -m "${1:-$scratch/pictures}")
command -v python3 >/dev/null || not_run "there is no python3"
command -v chromedriver >/dev/null || install_packages chromium chromium-driver fonts-noto-cjk
command -v chromedriver >/dev/null || not_run "there is no Chromium; as root: apt-get install chromium chromium-driver"
make_venv
# Brings axe-core, which looks for what keeps people from using a page.
pip_install --no-deps axe-playwright-python
build_daemon
mkdir -p "$pictures"
axe=$(find "$scratch/venv" -name axe.min.js -print -quit)
timeout 110 python3 tests/external/console.py "$daemon" "$pictures" "$axe"
