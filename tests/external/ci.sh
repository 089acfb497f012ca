#!/usr/bin/env bash
# Runs the job of etc/ci/github-actions.yml step by step, as it is written there, with the engine that is here.
#
# Takes podman or docker, whichever answers, podman first; CONTAINER_ENGINE names one of them. With podman,
# podman-compose is taken from PyPI. After container.sh the image is built from its layers in seconds.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly REPORT=mockserver-sessions.csv

# The job leaves it where it is called, which is where a CI job is called.
clean_up() { rm -f "$REPOSITORY/$REPORT"; }

left_behind() { "$engine" ps -a --filter name=mockserver-ci --format '{{.Names}}' 2>/dev/null; }

# The commands of the job; docker's own are the engine's.
steps() { sed -n 's/^ *- run: //p' etc/ci/github-actions.yml | sed "s/^docker /$engine /"; }

the_job() {
  local step steps=0 code
  # podman's own format has no health check.
  export BUILDAH_FORMAT=docker
  while IFS= read -r step; do
    steps=$((steps + 1))
    timeout 1200 bash -c "$step" >"$scratch/step.log" 2>&1
    code=$?
    expect "$step" "exit $code" test "$code" = 0 ||
      tail -n 40 "$scratch/step.log"
  done < <(steps)
  expect "the job has its steps" "$steps" test "$steps" = 2
  expect "its assertions were made" "$(grep -c '^ok ' "$scratch/step.log")" \
    test "$(grep -c '^ok ' "$scratch/step.log")" = 7
  expect "it reports what was measured" "$(cut -d , -f 4 "$REPORT" | tr '\n' ' ')" \
    grep -q '^session-.*,cpu_burner,.*percent of the CPU limit' "$REPORT"
  expect "it leaves no container behind" "$(left_behind)" test -z "$(left_behind)"
}

a_job_that_fails() {
  local code
  # The script has another token than the container.
  sed '/MOCKSERVER_AUTH_TOKEN/s/: .*/: another/' etc/ci/compose.yaml >"$scratch/compose.yaml"
  cp etc/ci/fault-injection "$scratch/fault-injection"
  (cd "$scratch" && timeout 120 ./fault-injection) >"$scratch/step.log" 2>&1
  code=$?
  expect "a step that is refused fails the job" "exit $code" grep -q 'urn:mockserver:problem:no-token' "$scratch/step.log"
  expect "its exit status says so" "exit $code" test "$code" != 0
  expect "it leaves no container behind either" "$(left_behind)" test -z "$(left_behind)"
}

find_engine
find_compose
MOCKSERVER_PORT=$(free_port)
MOCKSERVER_ADMIN_PORT=$(free_port)
export MOCKSERVER_PORT MOCKSERVER_ADMIN_PORT
the_job
a_job_that_fails
finish
