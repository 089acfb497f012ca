#!/usr/bin/env bash
# Builds the daemon for arm64 and runs it in an emulator: nothing in it may depend on the architecture.
#
# A static program, linked by Rust's own linker, so that no other compiler is needed. Takes the target from
# rustup and the emulator from Debian's package qemu-user-static, which is unpacked and not installed. The
# image for arm64 itself is built where there is such a machine, by .github/workflows/ci.yml.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly TARGET=aarch64-unknown-linux-musl

tools() {
  timeout 120 rustup target add "$TARGET" >"$scratch/rustup.log" 2>&1 ||
    not_run "rustup cannot add $TARGET: $(tail -n 1 "$scratch/rustup.log")"
  emulator=$(command -v qemu-aarch64-static) && return
  unpack_package qemu-user-static
  emulator=$scratch/debian/usr/bin/qemu-aarch64-static
  [[ -x $emulator ]] ||
    not_run "Debian's package qemu-user-static cannot be had: $(tail -n 1 "$scratch/qemu-user-static.log")"
}

build() {
  CARGO_PROFILE_DEV_DEBUG=0 RUSTFLAGS="-C linker=rust-lld -C target-feature=+crt-static" \
    cargo build --quiet --locked --target "$TARGET" || exit 1
  daemon=${CARGO_TARGET_DIR:-target}/$TARGET/debug/mockserver
}

ask() { curl -sS --max-time 10 -w ' %{http_code}' "$@" 2>&1; }
# is TEXT PATTERN
# shellcheck disable=SC2053
is() { [[ $1 == $2 ]]; }

the_daemon() {
  local url answer pid name
  # The ELF header's e_machine: 183 is AArch64.
  expect "it is built for arm64" "$(od -An -tu2 -j18 -N2 "$daemon")" test "$(od -An -tu2 -j18 -N2 "$daemon")" -eq 183
  url=http://127.0.0.1:$(free_port)
  MOCKSERVER_ADMIN_PORT=$(free_port) MOCKSERVER_DATA_DIR=$scratch/data \
    "$emulator" "$daemon" --host 127.0.0.1 --port "${url##*:}" >"$scratch/log" 2>&1 &
  pid=$!
  processes+=("$pid")
  await "$url/ready" "$pid" "$scratch/log"
  answer=$(ask "$url/ready")
  expect "it gets ready" "$answer" is "$answer" '{"status":"healthy"} 200'
  for name in cpu_burner memory_leaker network_latency health_check goroutine_leak disk_io dependency; do
    answer=$(ask -X POST "$url/api/v1/scenarios/$name/start" -d "$(parameters "$name")")
    expect "$name starts" "${answer##* }" is "$answer" '*"status":"success"* 200'
    answer=$(ask -X POST "$url/api/v1/scenarios/$name/stop")
    expect "$name stops" "${answer##* }" is "$answer" '*"running":false* 200'
  done
  kill "$pid"
  wait "$pid"
  answer=$?
  expect "SIGTERM ends it" "exit $answer" test "$answer" = 0
}

parameters() {
  case $1 in
    cpu_burner) echo '{"target_percent": 10}' ;;
    memory_leaker) echo '{"target_mb": 4}' ;;
    network_latency) echo '{"latency_ms": 10}' ;;
    disk_io) echo '{"write_rate_mb": 1}' ;;
  esac
}

tools
build
the_daemon
finish
