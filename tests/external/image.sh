#!/usr/bin/env bash
# Builds the image that the container and shop tests use, so that they find its layers.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

find_engine
build_image
echo "$engine built the image in $SECONDS s."
