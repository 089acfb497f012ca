#!/usr/bin/env bash
# Runs the experiments of etc/chaostoolkit with the real Chaos Toolkit against a running daemon.
#
# Needs Python 3 and PyPI. every-pod.json, which needs several daemons, is run by kubernetes.sh.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly TOKEN=only-for-this-test

# === The tools and the daemon ===

start() {
  service=http://127.0.0.1:$(free_port)
  admin=http://127.0.0.1:$(free_port)
  MOCKSERVER_ADMIN_PORT=${admin##*:} MOCKSERVER_AUTH_TOKEN=$TOKEN MOCKSERVER_AUTH_PROTECT_READS=true \
    MOCKSERVER_DATA_DIR=$scratch/data "$daemon" --host 127.0.0.1 --port "${service##*:}" >"$scratch/daemon.log" 2>&1 &
  processes+=($!)
  await "$admin/health" $! "$scratch/daemon.log"
}

# === The experiments ===

# experiment NAME TOKEN: runs it; sets code and journal.
experiment() {
  journal=$scratch/$1.journal
  # It leaves files where it is called.
  (cd "$scratch" && MOCKSERVER_URL=$service MOCKSERVER_ADMIN_URL=$admin MOCKSERVER_TOKEN=$2 \
    timeout 60 venv/bin/chaos --no-version-check run --journal-path "$journal" \
    "$experiments/$1.json") >"$scratch/chaos.log" 2>&1
  code=$?
}

# in_journal EXPRESSION: a Python expression over `journal`.
in_journal() {
  "$scratch/venv/bin/python" -c '
import json, sys
journal = json.load(open(sys.argv[1]))
# What an activity of the method or of the rollbacks brought home, by its name.
output = {run["activity"]["name"]: run.get("output") for part in ("run", "rollbacks") for run in journal[part]}
print(eval(sys.argv[2]))' "$journal" "$1" 2>&1
}

# says TITLE EXPRESSION EXPECTED
says() {
  local found
  found=$(in_journal "$2")
  expect "$1" "$found" test "$found" = "$3"
}

nothing_runs() {
  local answer
  answer=$(curl -s --max-time 5 -H "Authorization: Bearer $TOKEN" "$admin/api/v1/composite/status")
  expect "$1: its rollback leaves nothing behind" "${answer:0:60}" test "${answer:0:16}" = '{"session_id":""'
}

a_hypothesis_that_holds() {
  experiment failing-dependency "$TOKEN"
  expect "failing-dependency" "exit $code" test "$code" = 0 || tail -n 30 "$scratch/chaos.log"
  says "failing-dependency: its outcome" '(journal["status"], journal["deviated"])' "('completed', False)"
  says "failing-dependency: the session started" \
    'output["start the session"]["body"]["status"], output["start the session"]["body"]["scenarios"]' \
    "('success', ['cpu_burner', 'dependency'])"
  says "failing-dependency: calls to the dependency failed" 'output["call the dependency"]["status"]' 500
  says "failing-dependency: the CPU was burnt" \
    '3 < output["ask what the session does"]["body"]["effect"]["achieved"]' True
  says "failing-dependency: the session was stopped" 'output["stop the session"]["body"]["stopped"]' \
    "['cpu_burner', 'dependency']"
  expect "failing-dependency: its journal keeps the token to itself" "$(wc -c <"$journal") bytes" \
    absent "$TOKEN" "$journal"
  nothing_runs failing-dependency
}

absent() { ! grep -q "$1" "$2"; }

a_hypothesis_that_fails() {
  experiment slow-network "$TOKEN"
  expect "slow-network reports the failure" "exit $code" test "$code" = 1 || tail -n 30 "$scratch/chaos.log"
  says "slow-network: its outcome" '(journal["status"], journal["deviated"])' "('failed', True)"
  says "slow-network: all was well before" 'journal["steady_states"]["before"]["steady_state_met"]' True
  says "slow-network: probes gave up" \
    '[probe["status"] for probe in journal["steady_states"]["after"]["probes"]][0]' failed
  nothing_runs slow-network
}

a_wrong_token() {
  experiment failing-dependency wrong
  says "with a wrong token nothing is started" 'output["start the session"]["status"]' 401
}

every_experiment_is_valid() {
  local file
  for file in "$experiments"/*.json; do
    "$scratch/venv/bin/chaos" --no-version-check --log-file "$scratch/chaos.log" validate "$file" >"$scratch/validate.log" 2>&1
    code=$?
    expect "chaos validate ${file##*/}" "exit $code" test "$code" = 0
  done
}

experiments=$PWD/etc/chaostoolkit
make_venv
pip_install 'chaostoolkit>=1.19,<2'
build_daemon
start
every_experiment_is_valid
a_hypothesis_that_holds
a_hypothesis_that_fails
a_wrong_token
finish
