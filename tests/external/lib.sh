# What the tests in this folder share; each sources it first. It goes to the project's folder, makes the
# folder $scratch, and cleans up at the end.
#
# Exit status of each test: 0 all checks passed, 1 one failed, 77 nothing was checked (the last line says
# why).
# shellcheck shell=bash
# What is set here is used by those that source it.
# shellcheck disable=SC2034

# Not -e: a check that fails is counted, and the others are made all the same.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
exec </dev/null

readonly REPOSITORY=$PWD EXTERNAL=$PWD/tests/external NOT_RUN=77
scratch=$(mktemp -d)
results=$scratch/results
: >"$results"
# Killed at the end, if they have not ended by then.
processes=()

# What a test has to clean up beside this: it overrides the function.
clean_up() { :; }

at_exit() {
  ((${#processes[@]})) && kill -KILL "${processes[@]}" 2>/dev/null
  wait 2>/dev/null
  clean_up
  cd / && rm -rf "$scratch"
}
trap at_exit EXIT
trap 'exit 1' INT TERM

not_run() {
  echo "NOT RUN: $1"
  exit "$NOT_RUN"
}

# === Checks ===

# expect TITLE FIGURES COMMAND...: the check passes when the command does. Safe in the background.
expect() {
  local verdict=FAILED title=$1 figures=$2
  shift 2
  "$@" && verdict="ok    "
  echo "$verdict $title: $figures" | tee -a "$results"
  [[ $verdict == ok* ]]
}

# The last command of a test: its exit status is the test's.
finish() {
  local failed
  failed=$(grep -c '^FAILED' "$results")
  echo
  echo "$(grep -c '^ok' "$results") passed, $failed failed"
  echo "${0##*/} took $SECONDS s."
  ((failed == 0))
}

contains() { [[ $1 == *"$2"* ]]; }
between() { awk -v low="$1" -v x="$2" -v high="$3" 'BEGIN { exit !(x >= low && x <= high) }'; }

# within SECONDS COMMAND...: repeats the command until it passes.
within() {
  local give_up=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < give_up)) || return 1
    sleep 0.2
  done
}

# === The daemon ===

# Builds it; sets daemon, its path.
build_daemon() {
  cargo build --quiet --locked || exit 1
  daemon=$(realpath "${CARGO_TARGET_DIR:-target}/debug/mockserver")
}

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

answers_well() { curl -sf --max-time 5 -o /dev/null "$1"; }

# await URL PID LOG: waits until the process answers there, or ends the test.
await() {
  local give_up=$((SECONDS + 60))
  until answers_well "$1"; do
    if ((SECONDS >= give_up)) || ! kill -0 "$2" 2>/dev/null; then
      tail -n 20 "$3"
      expect "the daemon starts" "no answer from $1" false
      exit 1
    fi
    sleep 0.1
  done
}

# === Tools of others ===

# as_root COMMAND...
as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo -n "$@"
  fi
}

# install_packages PACKAGE...: of Debian, where that is possible. Their servers are not started.
install_packages() {
  local policy=/usr/sbin/policy-rc.d made='' status
  command -v apt-get >/dev/null && as_root true 2>/dev/null || return
  as_root timeout 300 apt-get update -q >/dev/null 2>&1
  if [[ ! -e $policy ]]; then
    made=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive timeout 600 \
    apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1
  status=$?
  [[ -n $made ]] && as_root rm -f "$policy"
  return "$status"
}

# unpack_package PACKAGE: of Debian, into $scratch/debian and not into the system.
unpack_package() {
  command -v apt-get >/dev/null || return
  (
    cd "$scratch" || exit
    timeout 120 apt-get download -q "$1" ||
      { as_root timeout 120 apt-get update -q && timeout 120 apt-get download -q "$1"; }
    dpkg -x "$1"_*.deb "$scratch/debian"
  ) >"$scratch/$1.log" 2>&1
}

# A Python of the test's own, in $scratch/venv.
make_venv() {
  command -v python3 >/dev/null || not_run "there is no python3"
  python3 -m venv "$scratch/venv" >/dev/null 2>&1 && return
  install_packages python3-venv
  rm -rf "$scratch/venv"
  python3 -m venv "$scratch/venv" >/dev/null 2>&1 ||
    not_run "python3 has no venv; as root: apt-get install python3-venv"
}

pip() { timeout 300 "$scratch/venv/bin/pip" --disable-pip-version-check -q "$@"; }

# pip_install PACKAGE...: from PyPI.
pip_install() {
  pip install "$@" >"$scratch/pip.log" 2>&1 ||
    not_run "PyPI does not give $1: $(tail -n 1 "$scratch/pip.log")"
}

# Sets engine: podman or docker, the first of them that answers and has the base image or gets it.
# CONTAINER_ENGINE names one of them.
find_engine() {
  local base candidate reasons=()
  base=$(sed -n 's/^FROM \([^ ]*\) AS build$/\1/p' "$REPOSITORY/Dockerfile")
  for candidate in ${CONTAINER_ENGINE:-podman docker}; do
    if ! timeout 30 "$candidate" info >/dev/null 2>&1; then
      reasons+=("$candidate does not answer")
    elif ! timeout 30 "$candidate" image inspect "$base" >/dev/null 2>&1 &&
      ! timeout 300 "$candidate" pull -q "$base" >/dev/null 2>&1; then
      reasons+=("$candidate has no image $base and cannot pull it")
    else
      engine=$candidate
      return
    fi
  done
  local IFS=';'
  not_run "${reasons[*]}; tests/external/container-setup may help"
}

# The engine's own complaints go to a file that is shown when something fails.
on_engine() { timeout 60 "$engine" "$@" 2>>"$scratch/engine.log"; }

# build_image OPTION...: from the layers of an earlier build in seconds. Sets image. It is optimised less than that of
# users, which takes two minutes longer; AS_RELEASED=1 builds the same.
build_image() {
  local options=(-t mockserver:test --iidfile "$scratch/image" "$@") profile=CARGO_PROFILE_RELEASE
  [[ ${AS_RELEASED-} ]] || options+=(--build-arg "${profile}_LTO=off" --build-arg "${profile}_OPT_LEVEL=s"
    --build-arg "${profile}_CODEGEN_UNITS=16")
  # podman's own format has no health check.
  [[ $engine == podman ]] && options+=(--format docker)
  if ! timeout 1200 "$engine" build "${options[@]}" "$REPOSITORY" >"$scratch/build.log" 2>&1; then
    tail -n 40 "$scratch/build.log"
    expect "the image builds" "$(tail -n 1 "$scratch/build.log")" false
    exit 1
  fi
  image=$(<"$scratch/image")
  # An engine may leave files of its own where it is called.
  cd "$scratch" || exit 1
}

# What reads compose files for the engine; sets and exports COMPOSE.
find_compose() {
  if [[ $engine == docker ]]; then
    docker compose version >/dev/null 2>&1 || not_run "docker has no compose plugin"
    export COMPOSE="docker compose"
    return
  fi
  make_venv
  pip_install 'podman-compose>=1.6,<2'
  export COMPOSE=$scratch/venv/bin/podman-compose
}

# serve [YAML]: runs the daemon on free ports, with this configuration beside that; sets service, admin and pid.
serve() {
  service=http://127.0.0.1:$(free_port)
  admin=http://127.0.0.1:$(free_port)
  printf 'Host: 127.0.0.1\nPort: %s\nAdmin: {Port: %s}\nDataDir: %s\n%s\n' \
    "${service##*:}" "${admin##*:}" "$scratch/data" "${1-}" >"$scratch/mockserver.yaml"
  "$daemon" -f "$scratch/mockserver.yaml" >"$scratch/daemon.log" 2>&1 &
  pid=$!
  processes+=("$pid")
  await "$admin/health" "$pid" "$scratch/daemon.log"
}
