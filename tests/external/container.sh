#!/usr/bin/env bash
# Builds the image and uses it for real: what it serves, what it may do, what it does under limits,
# and how it ends.
#
# Takes podman or docker, whichever answers, podman first; CONTAINER_ENGINE names one of them.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

containers=()
volumes=()

clean_up() {
  local id
  for id in "${containers[@]}"; do
    timeout 30 "$engine" rm -f "$id" >/dev/null 2>&1
  done
  for id in "${volumes[@]}"; do
    timeout 30 "$engine" volume rm -f "$id" >/dev/null 2>&1
  done
}

# === Checks ===

now() { echo "$EPOCHREALTIME"; }
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'; }

# === Containers ===

# start OPTION...: runs the image and waits until it serves; sets id, port and pid. The ports are the
# same inside and outside, so that the same command serves where containers share the host's network.
start() {
  local admin give_up=$((SECONDS + 20))
  port=$(free_port)
  admin=$(free_port)
  id=$(on_engine run -d -p "127.0.0.1:$port:$port" -p "127.0.0.1:$admin:$admin" \
    -e "MOCKSERVER_PORT=$port" -e "MOCKSERVER_ADMIN_PORT=$admin" --health-interval=1s \
    "$@" "$image") && containers+=("$id")
  until ask GET /health && [[ $status == 200 ]]; do
    if ((SECONDS >= give_up)); then
      expect "the container serves with: $*" "no answer in 20 s" false
      tail -n 5 "$scratch/engine.log"
      on_engine logs "$id" 2>&1
      return 1
    fi
    sleep 0.1
  done
  pid=$(state .State.Pid)
}

state() { on_engine inspect --format "{{$1}}" "$id"; }

discard() { on_engine rm -f "$id" >/dev/null; }

# ask METHOD PATH [BODY]: sets status and body.
ask() {
  local answer data=()
  (($# > 2)) && data=(--data "$3")
  answer=$(curl -sS --max-time 10 -X "$1" "${data[@]}" -w '\n%{http_code}' \
    "http://127.0.0.1:$port$2" 2>&1)
  status=${answer##*$'\n'}
  body=${answer%$'\n'*}
}

# A number of the last answer, by its key.
figure() { sed -n "s/.*\"$1\":\([-0-9.e]*\).*/\1/p" <<<"$body"; }

serves() {
  ask "$1" "$2" "${@:4}"
  expect "$1 $2${4:+ $4}" "HTTP $status" test "$status" = "$3"
}

# The CPU seconds that the container's process has used.
cpu_seconds() {
  local fields
  fields=$(<"/proc/$pid/stat") || return
  read -ra fields <<<"${fields##*) }"
  awk -v ticks=$((fields[11] + fields[12])) -v hz="$(getconf CLK_TCK)" 'BEGIN { print ticks / hz }'
}

# Waits until the health state is $1. Where podman has no systemd to start its checks, this does.
turns() {
  local give_up=$((SECONDS + 20))
  until health=$(state .State.Health.Status) && [[ $health == "$1" ]]; do
    ((SECONDS < give_up)) || return 1
    [[ $engine == podman ]] && on_engine healthcheck run "$id" >/dev/null
    sleep 0.5
  done
}

# Waits until the container has ended; sets code.
wait_for_end() {
  timeout 30 "$engine" wait "$id" >/dev/null 2>&1
  code=$(state .State.ExitCode)
}

# Who says that the container was killed for want of memory: the engine, or where it overlooks it
# (podman may, on cgroup v1) the kernel's log.
oom_witness() {
  if [[ $(state .State.OOMKilled) == true ]]; then
    echo "the engine"
  elif dmesg 2>/dev/null | grep "oom_memcg=[^,]*$id" >/dev/null; then
    echo "the kernel's log"
  fi
}

# Stops the container as an operator does; sets code and took.
stop() {
  local from
  from=$(now)
  on_engine stop -t 10 "$id" >/dev/null
  took=$(since "$from")
  code=$(state .State.ExitCode)
}

# === What is checked ===

the_image() {
  local size user exposed effective named
  # It builds for the machine that it is built on, whichever that is.
  named=$(grep -nE 'x86_64|amd64|aarch64|arm64' "$REPOSITORY/Dockerfile" | head -n 1)
  expect "the Dockerfile names no architecture" "${named:-none}" test -z "$named"
  size=$(on_engine image inspect --format '{{.Size}}' "$image")
  expect "the image is at most 12 MiB" "$size bytes" test "$size" -le $((12 * 1024 * 1024))
  user=$(on_engine image inspect --format '{{.Config.User}}' "$image")
  expect "its user is a number and not root" "$user" grep -qE '^[1-9][0-9]*(:|$)' <<<"$user"
  exposed=$(on_engine image inspect --format '{{.Config.ExposedPorts}}' "$image")
  expect "it names its ports" "$exposed" contains "$exposed" 8888/tcp
  effective=$(on_engine run --rm "$image" --check | tr '\n' ' ')
  expect "without options it listens beyond itself on 8888" "$effective" \
    grep -qE 'Host: 0\.0\.0\.0 Port: 8888 .*Admin: +Host: 0\.0\.0\.0 +Port: 8889' <<<"$effective"
  on_engine run --rm "$image" --port eighty
  code=$?
  expect "a bad option ends it with 64" "exit $code" test "$code" = 64
}

# labelled TITLE VERSION REVISION: what the image says of itself.
labelled() {
  local name=org.opencontainers.image labels
  labels=$(on_engine image inspect \
    --format "{{index .Config.Labels \"$name.version\"}} {{index .Config.Labels \"$name.revision\"}}" "$image")
  expect "$1" "$labels" test "$labels" = "$2 $3"
}

the_labels() {
  local revision=0123456789abcdef0123456789abcdef01234567 other=$image from
  labelled "without arguments the version and the revision are unknown" unknown unknown
  from=$(now)
  build_image --build-arg VERSION=1.2.3-rc.1 --build-arg "REVISION=$revision"
  labelled "with them the labels name both" 1.2.3-rc.1 "$revision"
  expect "and all else comes from the cache" "$(since "$from") s" cached
  image=$other
}

# Whether the last build compiled nothing.
cached() { ! grep -q Compiling "$scratch/build.log"; }

the_documented_requests() {
  local logs uid left
  start || return
  expect "/health answers from outside" "HTTP $status $body" test "$status" = 200
  logs=$(on_engine logs "$id" 2>&1)
  expect "it reads the shipped configuration" "etc/mockserver.yaml" \
    contains "$logs" 'file="etc/mockserver.yaml"'
  uid=$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$pid/status")
  expect "its process is not root" "uid ${uid:-unknown}" test "${uid:-0}" != 0

  serves GET /ready 200
  serves GET /api/v1/scenarios 200
  serves GET /api/v1/mock-service 200
  serves GET /api/v1/test/sleep10ms 200
  serves GET /api/v1/test/sleep30ms 200
  serves GET /api/v1/composite/status 200
  serves POST /api/v1/composite/start 200 '{"scenarios": [
    {"name": "cpu_burner", "params": {"target_percent": 80}, "duration": 300},
    {"name": "memory_leaker", "params": {"target_mb": 2048, "leak_rate_mb": 50}, "duration": 300}]}'
  expect "the composite start" "$body" contains "$body" '"status":"success"'
  serves GET /api/v1/composite/status 200
  serves GET /api/v1/scenarios/cpu_burner/status 200
  serves POST /api/v1/composite/stop 200
  local row name
  for row in 'cpu_burner {"target_percent": 80}' 'cpu_burner {"target_percent": 80, "duration": 300}' \
    'memory_leaker {"target_mb": 2048, "leak_rate_mb": 50}' 'network_latency {"latency_ms": 500}' \
    'health_check {"failure_mode": "always", "status_code": 503}' \
    'health_check {"failure_mode": "intermittent", "fail_rate": 0.5}' \
    'health_check {"failure_mode": "delayed"}' 'goroutine_leak {"goroutines_per_second": 100}' \
    'disk_io {"write_rate_mb": 100}' 'crash {"crash_delay": 10}' \
    'dependency {"failure_type": "timeout"}' 'dependency {"failure_type": "slow"}' \
    'dependency {"failure_type": "error"}'; do
    name=${row%% *}
    serves POST "/api/v1/scenarios/$name/start" 200 "${row#* }"
    [[ $row == *'"error"'* ]] && serves GET /api/v1/mock-service 500
    serves POST "/api/v1/scenarios/$name/stop" 200
  done
  ask GET /api/v1/scenarios
  expect "nothing runs any more" "$status" contains "${body//\"running\":true/still}" '"running":false'

  writes "disk_io writes in the default DataDir"
  left=$(on_engine cp "$id:/data" - | tar -t 2>&1 | grep -v '^data/ledger' | tr -d '\n/')
  expect "and leaves nothing there but the ledger" "$left" test "$left" = data
  stop
  expect "idle, SIGTERM ends it with 0 in 2 s" "exit $code in $took s" ended_well
  discard
}

ended_well() { [[ $code == 0 ]] && between 0 "$took" 2; }

writes() {
  ask POST /api/v1/scenarios/disk_io/start '{"write_rate_mb": 20}'
  local started=$status written
  sleep 1.5
  ask GET /api/v1/scenarios/disk_io/status
  written=$(figure written_mb)
  expect "$1" "start HTTP $started, ${written:-0} MiB in 1.5 s" between 1 "${written:-0}" 40
  ask POST /api/v1/scenarios/disk_io/stop
}

health() {
  local said
  start || return
  turns healthy
  expect "the health state" "${health:-none}" test "$health" = healthy
  ask POST /api/v1/scenarios/health_check/start '{"failure_mode": "always"}'
  said=$(timeout 20 "$engine" exec "$id" mockserver healthcheck 2>&1)
  code=$?
  expect "under the health_check fault the check inside fails" "exit $code, $said" test "$code" = 1
  turns unhealthy
  expect "and the health state" "${health:-none}" test "$health" = unhealthy
  ask POST /api/v1/scenarios/health_check/stop
  on_engine exec "$id" mockserver healthcheck
  code=$?
  expect "after the fault the check inside passes" "exit $code" test "$code" = 0
  discard
}

a_locked_down_container() {
  local locked=(--read-only --cap-drop=all --security-opt=no-new-privileges)
  start "${locked[@]}" || return
  expect "it serves read-only and without capabilities" "HTTP $status" test "$status" = 200
  ask POST /api/v1/scenarios/disk_io/start
  expect "disk_io then says why it cannot start" "HTTP $status $body" \
    contains "$status $body" 'Read-only file system'
  serves POST /api/v1/scenarios/network_latency/start 200 '{"latency_ms": 1}'
  discard
  start "${locked[@]}" --tmpfs /data || return
  writes "read-only with a tmpfs on /data, disk_io writes"
  discard
}

a_request_in_flight() {
  local client
  start || return
  ask POST /api/v1/scenarios/dependency/start '{"failure_type": "timeout"}'
  curl -s --max-time 40 -o /dev/null "http://127.0.0.1:$port/api/v1/mock-service" &
  client=$!
  sleep 0.5
  expect "a request waits in the 30 s fault" "process $client" kill -0 "$client"
  stop
  expect "with it, SIGTERM ends the daemon with 0 in 2 s" "exit $code in $took s" ended_well
  wait "$client"
  discard
}

half_a_core() {
  local cores from before after used=none try seen=()
  start --cpus=0.5 || return
  ask POST /api/v1/scenarios/cpu_burner/start '{"target_percent": 80}'
  sleep 2
  ask GET /api/v1/scenarios/cpu_burner/status
  cores=$(figure limit_cores)
  expect "with --cpus=0.5 it knows its limit" "limit_cores ${cores:-none}" test "$cores" = 0.5
  # A busy machine can hold back any process for a while: one good window of six is enough.
  for try in {1..6}; do
    from=$(now)
    before=$(cpu_seconds)
    sleep 5
    after=$(cpu_seconds)
    used=$(awk -v a="$before" -v b="$after" -v s="$(since "$from")" \
      'BEGIN { printf "%.1f", (b - a) / s * 100 }')
    seen+=("$used %")
    between 37 "$used" 43 && break
  done
  expect "80 % of it is 40 % of a core, by the CPU clock over 5 s" "${seen[*]} (window $try, load $(cut -d ' ' -f 1 /proc/loadavg))" \
    between 37 "$used" 43
  discard
}

little_memory() {
  start --memory=256m --memory-swap=256m || return
  ask POST /api/v1/scenarios/memory_leaker/start '{"target_mb": 512, "leak_rate_mb": 100}'
  expect "with --memory=256m, a start of 512 MB warns" "HTTP $status $body" \
    contains "$status $body" '"warning":"'
  local from took witness
  from=$(now)
  wait_for_end
  took=$(since "$from")
  witness=$(oom_witness)
  expect "and ends with 137 in $took s" "exit $code" test "$code" = 137
  expect "killed for want of memory" "says ${witness:-no one}" test -n "$witness"
  discard
}

a_crash() {
  start || return
  ask POST /api/v1/scenarios/crash/start '{"crash_delay": 1, "exit_code": 42}'
  wait_for_end
  expect "a crash shows its exit code" "exit $code" test "$code" = 42
  discard
}

# verdict_after END WHAT: the newest boot says that the process before it ended like this.
verdict_after() {
  local verdict
  ask GET '/api/v1/events?limit=1000'
  verdict=$(grep -o '"previous":{[^}]*}' <<<"$body" | tail -n 1)
  expect "after $2 the next boot says $1" "${verdict:-nothing}" contains "$verdict" "\"end\":\"$1\""
}

# One life after the other in containers that share a volume, as a pod's do that is restarted.
how_the_last_one_ended() {
  local volume
  volume=$(on_engine volume create) && volumes+=("$volume")
  start --memory=256m --memory-swap=256m -v "$volume:/data" || return
  ask POST /api/v1/scenarios/memory_leaker/start '{"target_mb": 512, "leak_rate_mb": 200}'
  wait_for_end
  expect "a leak beyond 256 MiB ends with 137" "exit $code" test "$code" = 137
  discard

  start -v "$volume:/data" || return
  verdict_after suspected_out_of_memory "an OOM kill"
  ask POST /api/v1/scenarios/crash/start '{"crash_delay": 0.5}'
  wait_for_end
  discard

  start -v "$volume:/data" || return
  verdict_after planned "a crash on command"
  stop
  discard

  start -v "$volume:/data" || return
  verdict_after graceful "SIGTERM"
  on_engine kill -s KILL "$id" >/dev/null
  wait_for_end
  discard

  start -v "$volume:/data" || return
  verdict_after unclean "kill -9"
  stop
  discard
}

threads() { sed -n 's/^Threads:\t//p' "/proc/$pid/status"; }
has_threads() { [[ $(threads) == "$1" ]]; }

# refused NAME TITLE: a start of it fails, and the reason is that there is no thread for it.
refused() {
  local reason
  ask POST "/api/v1/scenarios/$1/start"
  reason=$(grep -o '"error":"the system refused a thread [^"]*"' <<<"$body")
  expect "$2 $1 is refused" "HTTP $status ${reason:-$body}" contains "$status $reason" '500 "error":"the system refused a thread '
}

# The group has room for the idle daemon and one cpu_burner, and not for a thread more.
a_full_pid_group() {
  local idle full name from took
  start || return
  idle=$(threads)
  ask POST /api/v1/scenarios/cpu_burner/start '{"target_percent": 1}'
  full=$(threads)
  discard
  # A health check that the engine runs would be one process more.
  start --pids-limit="$full" --health-interval=1h --health-start-period=0s || return
  expect "with --pids-limit=$full it serves" "$(threads) threads of $full" has_threads "$idle"
  serves POST /api/v1/scenarios/cpu_burner/start 200 '{"target_percent": 1}'
  expect "with a cpu_burner the group is full" "$(threads) threads of $full" has_threads "$full"
  for name in memory_leaker goroutine_leak disk_io; do
    refused "$name" "beside it"
  done
  serves GET /health 200
  serves POST /api/v1/scenarios/network_latency/start 200 '{"latency_ms": 200}'
  from=$(now)
  ask GET /api/v1/test/sleep10ms
  took=$(since "$from")
  expect "a fault that needs no thread works" "HTTP $status after $took s" between 0.21 "$took" 2
  ask GET /api/v1/composite/status
  expect "and what ran before still runs" "$body" \
    contains "$body" '"scenarios":["cpu_burner","network_latency"],"status":"success"'

  serves POST /api/v1/scenarios/cpu_burner/stop 200
  for name in memory_leaker goroutine_leak disk_io; do
    serves POST "/api/v1/scenarios/$name/start" 200
    serves POST "/api/v1/scenarios/$name/stop" 200
  done
  serves POST /api/v1/scenarios/disk_io/start 200
  refused cpu_burner "one thread short,"
  within 5 has_threads $((idle + 1))
  expect "and gives back those that it got" "$(threads) threads of $full" has_threads $((idle + 1))
  serves POST /api/v1/composite/stop 200
  within 5 has_threads "$idle"
  expect "a stop of all gives back the rest" "$(threads) threads of $full" has_threads "$idle"
  serves POST /api/v1/scenarios/cpu_burner/start 200
  stop
  expect "and SIGTERM ends the daemon with 0 in 2 s" "exit $code in $took s" ended_well
  discard
}

# One thread fewer than the daemon itself needs.
too_few_threads() {
  local from said took few
  start || return
  few=$(($(threads) - 1))
  discard
  from=$(now)
  id=$(on_engine run -d --pids-limit="$few" "$image") && containers+=("$id")
  wait_for_end
  took=$(since "$from")
  said=$(timeout 60 "$engine" logs "$id" 2>&1)
  expect "with --pids-limit=$few it ends at once and says why" "exit $code after $took s, $said" \
    contains "$code $said" "1 mockserver: the system gives $((few - 1)) of the $few threads"
  discard
}

# disk_io_has_ended REASON: its latest run is over for this reason.
disk_io_has_ended() {
  ask GET /api/v1/scenarios/disk_io/status
  contains "$body" "\"end\":{\"reason\":\"$1\""
}

a_full_disk() {
  local reason written
  start --read-only --tmpfs /data:size=2m || return
  serves POST /api/v1/scenarios/dependency/start 200 '{"failure_type": "error"}'
  serves POST /api/v1/scenarios/disk_io/start 200 '{"write_rate_mb": 20}'
  within 20 disk_io_has_ended failed
  reason=$(grep -o '"error":"[^"]*"' <<<"$body")
  expect "a disk_io that fills its disk of 2 MiB fails" "${reason:-$body}" \
    contains "$reason" 'the disk refused a write: No space left on device'
  serves GET /health 200
  serves GET /api/v1/mock-service 500
  ask GET /api/v1/composite/status
  expect "and the other fault goes on" "$body" contains "$body" '"scenarios":["dependency"]'
  # More than half of the disk: there is no room for it if the first run left anything much behind.
  serves POST /api/v1/scenarios/disk_io/start 200 '{"write_rate_mb": 0.6, "duration": 2}'
  within 20 disk_io_has_ended expired
  written=$(figure written_mb)
  expect "its space is free for a smaller run" "$written MiB" between 0.9 "${written:-0}" 1.3
  ask GET /api/v1/events
  expect "and the ledger lost nothing" "$(grep -o '"not_durable_because":[^}]*' <<<"$body")" \
    contains "$body" '"durable":true'
  stop
  expect "and SIGTERM ends the daemon with 0 in 2 s" "exit $code in $took s" ended_well
  discard
}

# The ledger itself fills this one: two pages are a few dozen events.
a_full_data_folder() {
  local i said bad=0 events
  start --read-only --tmpfs /data:size=8k || return
  ask GET /api/v1/events
  expect "on a small disk the ledger is kept at first" "$(figure next) events" contains "$body" '"durable":true'
  for i in {1..20}; do
    ask POST /api/v1/scenarios/network_latency/start '{"latency_ms": 1}'
    [[ $status == 200 ]] || bad=$((bad + 1))
    ask POST /api/v1/scenarios/network_latency/stop
    [[ $status == 200 && $body == *'"running":false'* ]] || bad=$((bad + 1))
  done
  expect "on a full disk starts and stops go on" "$i of each, $bad failed" test "$bad" = 0
  ask GET '/api/v1/events?limit=1000'
  said=$(grep -o '"not_durable_because":.*' <<<"$body")
  expect "and the ledger says why it is in memory" "$said" contains "$said" 'No space left on device'
  events=$(grep -o '"kind":"cleared"' <<<"$body" | wc -l)
  expect "and has everything" "$events of 20 clearances" test "$events" = 20
  stop
  expect "and SIGTERM ends the daemon with 0 in 2 s" "exit $code in $took s" ended_well
  discard
}

# === Versions that are bad from birth ===

# All of them run at the same time, on half a core and 256 MiB each: what they do takes seconds, and the
# engine's own work most of the time.

declare -A ids ports begun_at
# Wherever the documents show them.
readonly documents=("$REPOSITORY"/*.md "$REPOSITORY"/.github/*.md "$REPOSITORY"/etc/*.md)
readonly locked_down=(--read-only --cap-drop=all --security-opt=no-new-privileges --tmpfs /data)

# begin NAME PROFILE OPTION...: runs the image with a boot profile, and waits for nothing.
begin() {
  local name=$1 profile=$2
  shift 2
  ports[$name]=$(free_port)
  begun_at[$name]=$(now)
  ids[$name]=$(on_engine run -d -p "127.0.0.1:${ports[$name]}:${ports[$name]}" \
    -e "MOCKSERVER_PORT=${ports[$name]}" -e MOCKSERVER_ADMIN_PORT=0 -e "MOCKSERVER_BOOT=$profile" \
    --cpus=0.5 --memory=256m --memory-swap=256m "$@" "$image") && containers+=("${ids[$name]}")
}

# as_shown NAME OPTION...: the same with the profile that the documents show under this name.
as_shown() {
  local profile
  profile=$(sed -n "s/^docker run .*--name $1 .*MOCKSERVER_BOOT='\([^']*\)'.*/\1/p" "${documents[@]}" 2>/dev/null | head -n 1)
  [[ -n $profile ]] || expect "the documents show $1" "no such line" false
  begin "$1" "$profile" "${@:2}"
}

# crashing MODE: a version that crashes like this after a second.
crashing() {
  begin "$1" '{"scenarios": [{"name": "crash", "params": {"mode": "'"$1"'", "crash_delay": 1}}]}' \
    "${locked_down[@]}"
}

# look NAME: turns to this container.
look() {
  id=${ids[$1]}
  port=${ports[$1]}
}

answers() { ask GET "$1" && [[ $status == "$2" ]]; }

# ends NAME CODE WORDS: the container ends with this code, and says WORDS.
ends() {
  local logs last
  look "$1"
  wait_for_end
  expect "$1 ends with $2" "exit $code" test "$code" = "$2"
  # With what it said on standard error, which on_engine keeps apart.
  logs=$(timeout 60 "$engine" logs "$id" 2>&1)
  last=$(grep -F "$3" <<<"$logs" | tail -n 1 | cut -c 1-120)
  expect "and says so" "${last:-not a word}" test -n "$last"
  discard
}

restarts() { state .RestartCount; }
has_restarted() { [[ $(restarts) == "$1" ]]; }

bad_versions() {
  local mode from witness state
  as_shown loop --restart=on-failure
  as_shown leak
  as_shown slow --health-interval=1s --health-start-period=60s
  begin late '{"ready_after": 30}' "${locked_down[@]}"
  begin never-ready '{"never_ready": true}' "${locked_down[@]}"
  begin fail-first '{"fail": {"after": 1, "exit_code": 78, "message": "Fatal: no licence"}}' "${locked_down[@]}"
  begin fail-later '{"fail": {"after": 3, "exit_code": 7, "listening": true}}' "${locked_down[@]}"
  begin hang '{"hang": true}' "${locked_down[@]}"
  begin delayed '{"start_delay": 3600}' "${locked_down[@]}"
  begin ignores '{"scenarios": [{"name": "shutdown_hang"}]}' "${locked_down[@]}"
  begin lingers '{"scenarios": [{"name": "shutdown_hang", "params": {"mode": "slow", "drain_seconds": 3}}]}' \
    "${locked_down[@]}"
  for mode in exit panic abort segfault kill stack_overflow oom; do crashing "$mode"; done

  look slow
  health=$(state .State.Health.Status)
  expect "a slow start does not answer at first" "health $health after $(since "${begun_at[slow]}") s" \
    test "$health" = starting
  ask GET /health
  expect "and does not listen" "HTTP $status" test "$status" = 000

  # As process 1 too: the kernel keeps its own signals from it, so some modes take another way.
  ends exit 1 'The crash scenario ends the process'
  ends panic 101 "thread 'main'"
  ends abort 134 'mode="abort"'
  ends segfault 139 'mode="segfault"'
  ends kill 137 'mode="kill"'
  # What ends it is the fault by which the C library gives up, since SIGABRT does not.
  ends stack_overflow 139 'has overflowed its stack'
  for mode in oom leak; do
    look "$mode"
    wait_for_end
    witness=$(oom_witness)
    expect "$mode ends with 137" "exit $code" test "$code" = 137
    expect "killed for want of memory" "says ${witness:-no one}" test -n "$witness"
    discard
  done
  ends fail-first 78 'Fatal: no licence'
  ends fail-later 7 'Fatal: cannot connect to the database'

  look loop
  within 40 has_restarted 3
  within 20 answers /health 200
  expect "a crash loop heals" "HTTP $status after $(restarts) restarts" test "$status" = 200
  expect "the engine restarted it for each crash" "$(restarts) restarts" test "$(restarts)" = 3
  # Longer than it took to crash.
  sleep 6
  state=$(state .State.Status)
  expect "and it lives on" "$state" test "$state" = running
  stop
  expect "SIGTERM ends the healed version with 0 in 2 s" "exit $code in $took s" ended_well
  discard

  look never-ready
  serves GET /health 200
  serves GET /startup 200
  serves GET /ready 503
  stop
  expect "SIGTERM ends a version that is never ready with 0 in 2 s" "exit $code in $took s" ended_well
  discard

  look delayed
  stop
  expect "SIGTERM ends a start delay with 0 in 2 s" "exit $code in $took s" ended_well
  discard

  look hang
  ask GET /health
  expect "a version that hangs does not listen" "HTTP $status" test "$status" = 000
  on_engine kill -s TERM "$id" >/dev/null
  sleep 1
  state=$(state .State.Status)
  expect "and as process 1 SIGTERM does nothing to it" "$state" test "$state" = running
  on_engine kill -s KILL "$id" >/dev/null
  wait_for_end
  expect "only SIGKILL does" "exit $code" test "$code" = 137
  discard

  look ignores
  on_engine stop -t 2 "$id" >/dev/null
  code=$(state .State.ExitCode)
  expect "shutdown_hang holds SIGTERM until the engine kills" "exit $code" test "$code" = 137
  discard
  look lingers
  stop
  expect "a slow drain of 3 s ends with 0" "exit $code in $took s" between 2.9 "$took" 6
  expect "and not by a kill" "exit $code" test "$code" = 0
  discard

  look slow
  within 40 answers /ready 200
  from=$(since "${begun_at[slow]}")
  expect "the slow start turns ready in the end" "HTTP $status after $from s" between 20 "$from" 90
  turns healthy
  expect "and healthy" "${health:-none}" test "$health" = healthy
  discard
  look late
  within 40 answers /ready 200
  from=$(since "${begun_at[late]}")
  expect "a late one is ready, and not before its time" "HTTP $status after $from s" between 30 "$from" 90
  discard
}

find_engine
begun=$(now)
build_image
echo "$engine built the image in $(since "$begun") s."
the_image
the_labels
the_documented_requests
health
a_locked_down_container
a_request_in_flight
half_a_core
little_memory
a_crash
bad_versions
how_the_last_one_ended
a_full_pid_group
too_few_threads
a_full_disk
a_full_data_folder
finish
