#!/usr/bin/env bash
# Lets schemathesis ask the running daemon thousands of things that its own description of the API
# allows and forbids, on both listeners, and holds every answer to that description.
#
# What is left out is left out by the configuration below, by name and with the reason. Needs Python 3
# and PyPI.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly SEED=20260101 TOKEN=fuzz

# === What is asked ===

# Every check of schemathesis is on, unless it is turned off here.
configuration() {
  cat >"$scratch/schemathesis.toml" <<TOML
hooks = "$EXTERNAL/schemathesis_hooks.py"
seed = $SEED
# Of several, each parses Python in a thread of its own, which Python 3.11 does not always survive.
workers = 1
request-timeout = 10
continue-on-failure = true
suppress-health-check = ["too_slow"]

[auth.openapi.token]
bearer = "$TOKEN"

[generation]
database = "none"

# Every form of every figure of every scenario takes many minutes; the other phases ask for starts too, and the
# ranges of all parameters are tested in src/scenarios/tests.rs.
[[operations]]
include-path-regex = "^/api/v1/(composite|scenarios/[a-z_]+)/start$"
phases.coverage.enabled = false

# It ends the process, as it should.
[[operations]]
include-path = "/api/v1/scenarios/crash/start"
enabled = false

# The service answers nothing while it runs, as it should.
[[operations]]
include-path = "/api/v1/scenarios/deadlock/start"
enabled = false

# It has no end, as it should.
[[operations]]
include-path = "/api/v1/events/stream"
enabled = false

[[operations]]
include-path = "/api/v1/live"
enabled = false

# It refuses every start after it, as it should.
[[operations]]
include-path = "/api/v1/halt"
enabled = false

# It outlives the signal that ends the daemon below, as it should.
[[operations]]
include-path = "/api/v1/scenarios/shutdown_hang/start"
enabled = false

# It delays every other answer, as it should.
[[operations]]
include-path = "/api/v1/scenarios/network_latency/start"
enabled = false

# The daemon of this test is not blind, so it opens no drill; and no schema says which texts are times.
[[operations]]
include-path = "/api/v1/drills"
checks.positive_data_acceptance.enabled = false
TOML
}

# On the service listener, faults that were asked for answer with 4xx and 5xx in these routes' place,
# whatever the method is. The other checks stay on, and on the admin listener so do these.
allow_asked_failures() {
  cat >>"$scratch/schemathesis.toml" <<'TOML'

[[operations]]
include-path-regex = "^/(health|healthz|livez|ready|readyz|api/v1/mock-service)$"
checks.not_a_server_error.enabled = false
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false
TOML
}

# fuzz TITLE URL EXAMPLES: lets schemathesis loose on one listener.
fuzz() {
  local title=$1 url=$2 examples=$3 from=$SECONDS status cases
  # It leaves files where it is called.
  (cd "$scratch" && NO_COLOR=1 timeout 300 "$scratch/venv/bin/schemathesis" --config-file "$scratch/schemathesis.toml" \
    run "$url/openapi.json" --max-examples "$examples") >"$scratch/fuzz.log" 2>&1
  status=$?
  cases=$(sed -n 's/.*\b\([0-9][0-9,]*\) generated.*/\1/p' "$scratch/fuzz.log" | tr -d , | tail -n 1)
  [[ $status == 124 ]] && echo "not done in 300 s"
  expect "$title: no answer outside the description, no 5xx that was not asked for" \
    "${cases:-0} cases in $((SECONDS - from)) s" test "$status" = 0
  ((status == 0)) || tail -n 150 "$scratch/fuzz.log"
  expect "$title: thousands were asked" "${cases:-0} cases" test "${cases:-0}" -ge 2000
}

# The daemon still does as it is asked after all that.
aftermath() {
  local answer
  expect "the daemon lives" "process $pid" kill -0 "$pid"
  answer=$(curl -s --max-time 20 -X POST -H "Authorization: Bearer $TOKEN" "$admin/api/v1/composite/stop")
  expect "it stops what still runs" "$answer" test "${answer:0:34}" = '{"status":"all scenarios stopped",'
  answer=$(curl -s --max-time 5 "$service/api/v1/composite/status")
  expect "nothing runs" "$answer" test "${answer:0:16}" = '{"session_id":""'
  answer=$(grep -cE 'panicked|ERROR' "$scratch/daemon.log")
  expect "its log has no defect" "$answer lines" test "$answer" = 0
  grep -E -m 5 'panicked|ERROR' "$scratch/daemon.log"
  kill "$pid"
  wait "$pid"
  answer=$?
  expect "it ends at once and well" "exit $answer" test "$answer" = 0
}

the_document() {
  curl -s --max-time 5 "$service/openapi.json" >"$scratch/openapi.json"
  expect "the document is valid OpenAPI 3.1" "$(wc -c <"$scratch/openapi.json") bytes" \
    "$scratch/venv/bin/openapi-spec-validator" "$scratch/openapi.json"
}

make_venv
pip_install 'schemathesis>=4.32,<5' openapi-spec-validator
build_daemon
serve "Auth: {Token: $TOKEN}"
configuration
the_document
fuzz "admin listener" "$admin" 45
allow_asked_failures
fuzz "service listener" "$service" 60
aftermath
finish
