#!/usr/bin/env bash
# Lets httplint, which knows what the RFCs of HTTP say, judge an answer of every route of the running daemon, on both
# listeners: good ones, refusals, compressed ones, answers to HEAD, and what a cache is sent. Needs Python 3 and PyPI.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# lint CURL-ARGUMENTS...: what httplint finds bad or worth a warning in one answer.
lint() {
  local found
  # The bytes as they come: neither decoded nor without their chunks.
  curl -s --max-time 10 --raw -i "$@" >"$scratch/answer"
  judged=$((judged + 1))
  found=$("$scratch/venv/bin/httplint" --now <"$scratch/answer" 2>&1) || found+=$'\n[BAD] not read'
  found=$(grep -E '\[(WARN|BAD)\]' <<<"$found" | grep -vFf "$scratch/meant") || return 0
  printf '%s\n%s\n' "$*" "$found" >>"$scratch/found"
}

# Every route of the description, by GET, and what a wrong method, a bad body and a near path are answered with.
lint_all() {
  local url=$1 path
  for path in $(curl -s "$url/openapi.json" | grep -oE '"/[^"]*":\{"(get|post)"' | cut -d '"' -f 2); do
    [[ $path == */stream || $path == */live ]] && continue
    path=${path//\{name\}/cpu_burner}
    lint "$url${path//\{id\}/session-1}"
  done
  for path in /metrics /openapi.json /docs /api/v1/events /api/v1/sessions; do
    lint -H 'Accept-Encoding: gzip' "$url$path"
  done
  lint "$url/nothing"
  lint "$url/%zz"
  lint -X DELETE "$url/health"
  lint -d latency_ms=5 "$url/api/v1/scenarios/network_latency/start"
  lint -d '{"unknown": 1}' "$url/api/v1/scenarios/network_latency/start"
  lint -H 'Content-Encoding: gzip' -d '{}' "$url/api/v1/halt"
  lint -H 'Origin: http://evil.example' -X POST "$url/api/v1/halt"
  lint -d '{}' "$url/api/v1/scenarios/dependency/start"
  lint "$url/api/v1/mock-service"
  lint -X POST "$url/api/v1/composite/stop"
  lint -H 'If-None-Match: *' "$url/docs"
  lint -H 'If-None-Match: *' "$url/openapi.json"
  lint "$url/api/v1/sessions?format=csv"
}

make_venv
pip_install 'httplint>=2026'
build_daemon
serve
judged=0
# The first is what a 400 says. The second is in RFC 9110, section 12.5.3, for a 415.
printf '%s\n' "The server didn't understand the request." '"Accept-Encoding" isn'"'"'t valid in a response.' \
  >"$scratch/meant"
: >"$scratch/found"
lint_all "$service"
lint_all "$admin"
expect "httplint finds nothing bad and nothing to warn of" "$judged answers" test ! -s "$scratch/found"
expect "every route was judged" "$judged answers" test "$judged" -ge 80
cat "$scratch/found"
kill "$pid"
finish
