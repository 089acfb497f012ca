#!/usr/bin/env bash
# A real Prometheus scrapes the running daemon on both listeners, and each scenario makes its alert fire. A daemon
# of another version runs beside it, as the stable one beside a canary.
#
# The shipped configuration, rules and dashboard are used, with shorter intervals and windows. Needs the
# Debian package prometheus, which is installed if it can be.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How long an alert may take to fire, and all of them to clear.
readonly PATIENCE=40
data=

clean_up() { [[ -n $data ]] && rm -rf "$data"; }

have_prometheus() { command -v prometheus >/dev/null && command -v promtool >/dev/null; }

have_prometheus || install_packages prometheus
have_prometheus ||
  not_run "prometheus is not installed; as root: apt-get install --no-install-recommends prometheus"
build_daemon
# Beside the binary and not in /tmp, which may be memory: then no disk would be written.
data=$(mktemp -d -p "${daemon%/*}")

# === Checks ===

above() { awk -v x="$1" -v least="$2" 'BEGIN { exit !(x != "" && x > least) }'; }

# eventually COMMAND...: runs it until it succeeds, for a bounded time.
eventually() { within "$PATIENCE" "$@"; }

# === The daemon, its traffic and its Prometheus ===

service=127.0.0.1:$(free_port)
admin=127.0.0.1:$(free_port)
stable_service=127.0.0.1:$(free_port)
stable_admin=127.0.0.1:$(free_port)
server=127.0.0.1:$(free_port)
readonly STABLE=1.0.0 CANARY=1.1.0-canary
token=$(<etc/prometheus/token)

# launch VERSION SERVICE ADMIN DATA: as in a cluster, where reads need the token. Sets pid.
launch() {
  MOCKSERVER_VERSION=$1 MOCKSERVER_ADMIN_PORT=${3#*:} MOCKSERVER_DATA_DIR=$4 \
    MOCKSERVER_AUTH_TOKEN=$token MOCKSERVER_AUTH_PROTECT_READS=true \
    "$daemon" --port "${2#*:}" --host 127.0.0.1 >>"$scratch/daemon.log" 2>&1 &
  pid=$!
  processes+=("$pid")
  await "http://$3/health" "$pid" "$scratch/daemon.log"
}

start_stable() { launch "$STABLE" "$stable_service" "$stable_admin" "$scratch/stable"; }
# The one that the scenarios run on.
start_daemon() { launch "$CANARY" "$service" "$admin" "$data"; }

# Callers that go on whatever the answer is.
start_traffic() {
  local address path
  for address in "$service" "$stable_service"; do
    for path in /health /ready /api/v1/mock-service /api/v1/test/sleep10ms; do
      while :; do
        curl -s -o /dev/null --max-time 10 "http://$address$path"
        sleep 0.2
      done &
      processes+=($!)
    done
  done
}

# The shipped files, made to react within seconds. Of the CPU less is enough: a machine that others use
# gives less than was asked, and delays a request now and then.
start_prometheus() {
  local rules
  for rules in alerts versions faults; do
    sed -E 's/\[1m\]/[8s]/; s/\[5m\]/[20s]/; s/for: 30s/for: 2s/; s/(cpu_period\) >) 0\.4/\1 0.1/; s/\+ 0\.05$/+ 0.25/' \
      "etc/prometheus/$rules.yml" >"$scratch/$rules.yml"
  done
  sed -E "s/(interval|timeout): 5s/\1: 1s/; s/\"127.0.0.1:8888\"/\"$service\", \"$stable_service\"/; s/127.0.0.1:8889/$admin/" \
    etc/prometheus/prometheus.yml >"$scratch/prometheus.yml"
  cp etc/prometheus/token "$scratch/token"
  prometheus --config.file="$scratch/prometheus.yml" --storage.tsdb.path="$scratch/tsdb" \
    --web.listen-address="$server" --log.level=warn >"$scratch/prometheus.log" 2>&1 &
  processes+=($!)
  await "http://$server/-/ready" $! "$scratch/prometheus.log"
}

# The answer to a PromQL query, and the greatest value in it.
answer() { curl -sS -G --max-time 10 "http://$server/api/v1/query" --data-urlencode "query=$1"; }
value() { answer "$1" | grep -o '"value":\[[^]]*\]' | cut -d'"' -f4 | sort -g | tail -n 1; }

# What a query gave since a time, second by second, as a panel shows it.
history() {
  curl -sS -G --max-time 10 "http://$server/api/v1/query_range" --data-urlencode "query=$1" \
    -d "start=$2" -d "end=$(date +%s)" -d step=1
}

# The alerts in a state, by name.
alerts() {
  curl -sS --max-time 10 "http://$server/api/v1/alerts" | sed 's/{"labels"/\n&/g' |
    sed -n "s/.*\"alertname\":\"\([^\"]*\)\".*\"state\":\"$1\".*/\1/p" | sort -u | tr '\n' ' '
}
fires() { [[ " $(alerts firing)" == *" $1 "* ]]; }
# The versions for which an alert of theirs fires.
versions() {
  answer "count by (service_version) (ALERTS{alertname=\"$1\",alertstate=\"firing\"})" |
    grep -o '"service_version":"[^"]*"' | cut -d'"' -f4 | sort | tr '\n' ' '
}
fires_for_canary() { [[ $(versions "$1") == "$CANARY " ]]; }
fires_for_none() { [[ -z $(versions "$1") ]]; }
is_up() { [[ $(value 'sum(up)') == 3 ]]; }
quiet() { ! fires "$1"; }
all_clear() { [[ -z $(alerts firing) ]]; }

# post PATH BODY [ADMIN]
post() {
  curl -sS --max-time 10 -X POST -H "Authorization: Bearer $token" "http://${3-$admin}/api/v1/$1" --data "${2-}"
}

# === What is checked ===

formats_and_files() {
  local listener complaints
  for listener in service admin; do
    complaints=$(curl -sS --max-time 10 -H "Authorization: Bearer $token" "http://${!listener}/metrics" | promtool check metrics 2>&1)
    expect "promtool check metrics, $listener listener" "${complaints:-no complaint}" \
      test -z "$complaints"
  done
  complaints=$(promtool check rules etc/prometheus/{alerts,versions,faults}.yml 2>&1)
  expect "promtool check rules" "$(grep -c SUCCESS <<<"$complaints") files" test "$(sed -n 's/.*SUCCESS: \(.*\) rules.*/\1/p' <<<"$complaints" | xargs)" = "15 5 2"
  complaints=$(promtool test rules "$EXTERNAL/alerts_test.yml" 2>&1)
  expect "promtool test rules, as shipped" "$(tail -n 1 <<<"$complaints")" grep -q 'SUCCESS' <<<"$complaints"
  complaints=$(promtool check config etc/prometheus/prometheus.yml 2>&1)
  expect "promtool check config" "$(grep -m 1 valid <<<"$complaints")" \
    grep -q 'is valid prometheus config' <<<"$complaints"
}

at_rest() {
  local fits slowest named
  eventually is_up
  expect "both listeners are scraped" "$(value 'sum(up)') targets up" is_up
  named=$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 "http://$admin/metrics")
  expect "the admin listener's page needs the token" "HTTP $named" test "$named" = 401
  # See src/metrics/mod.rs.
  fits=$(value 'max(scrape_samples_scraped{job="admin"}) - 10 * count(mockserver_fault_active) <= 189')
  expect "the admin page has at most 189 series and 10 for each scenario" "${fits:-too many}" test -n "$fits"
  # Long enough for every window to be full.
  sleep 10
  slowest=$(value 'max(scrape_duration_seconds)')
  expect "a scrape is quick" "$slowest s" above 0.1 "${slowest:-9}"
  named=$(answer '{__name__=~"mockserver_.*",job="service"}' | grep -c '"metric"')
  expect "the service listener shows nothing of faults" "$named series" test "$named" = 0
  named=$(answer "$(sed -n '/^```text$/,/^```$/p' etc/prometheus/README.md | sed '/^```/d; s/\[1m\]/[8s]/')" |
    grep -o '"service_version":"[^"]*"' | cut -d'"' -f4 | sort | tr '\n' ' ')
  expect "the query of the README has a value for each version" "$named" test "$named" = "$STABLE $CANARY "
  expect "no alert fires at rest" "$(alerts firing)" all_clear
}

# moves EXPRESSION LEAST: its value is above LEAST now; sets moved_to.
moves() {
  moved_to=$(value "$1")
  above "$moved_to" "$2"
}

# scenario NAME PARAMETERS ALERT EXPRESSION LEAST: starts it; the alert fires and the series moves.
scenario() {
  local name=$1 parameters=$2 alert=$3 expression=$4 least=$5 from=$SECONDS got
  post "scenarios/$name/start" "$parameters" >"$scratch/answer"
  if ! grep -q '"status":"success"' "$scratch/answer"; then
    expect "$name starts" "$(<"$scratch/answer")" false
    return
  fi
  eventually fires "$alert"
  expect "$name makes $alert fire" "after $((SECONDS - from)) s; firing: $(alerts firing)" fires "$alert"
  expect "$name makes FaultActive fire" "firing: $(alerts firing)" fires FaultActive
  eventually moves "$expression" "$least"
  expect "$name moves its series" "$expression is ${moved_to:-nothing}, above $least" above "$moved_to" "$least"
  got=$(value "mockserver_fault_active{scenario=\"$name\"}")
  expect "$name shows on the admin listener" "mockserver_fault_active is $got" test "$got" = 1
  post "scenarios/$name/stop" >/dev/null
}

# With their default parameters, the dependency in each of its ways. Only the CPU is asked for more: its
# threads give way to whatever else runs here. alerts_test.yml holds the rule for its default.
scenarios() {
  local calls='http_client_request_duration_seconds_count{job="service",server_address="inventory"'
  scenario network_latency '{}' SlowRequests \
    'histogram_quantile(0.5, sum by (instance, le) (rate(http_server_request_duration_seconds_bucket{job="service",http_route="/api/v1/test/sleep10ms"}[8s])))' 0.1
  scenario health_check '{}' ProbeFails \
    'rate(http_server_request_duration_seconds_count{job="service",http_route="/health",http_response_status_code="503"}[8s])' 0
  # The callers here give up after 10 s, before the call ends.
  scenario dependency '{}' DependencyFails \
    'http_server_active_requests{job="service",http_route="/api/v1/mock-service"}' 0
  eventually quiet DependencyFails
  scenario dependency '{"failure_type": "error"}' DependencyFails \
    "rate($calls,http_response_status_code=\"500\"}[8s])" 0
  eventually quiet DependencyFails
  scenario dependency '{"failure_type": "slow"}' DependencyFails \
    "rate($calls,http_response_status_code=\"200\"}[8s])" 0
  scenario goroutine_leak '{}' TasksGrow 'deriv(tokio_num_alive_tasks{job="service"}[8s])' 20
  scenario fd_leak '{}' DescriptorsGrow 'deriv(process_open_fds{job="service"}[8s])' 5
  scenario thread_leak '{}' ThreadsGrow 'deriv(process_threads{job="service"}[8s])' 5
  scenario runtime_stall '{}' WorkersStall 'tokio_event_loop_lag_seconds{job="service"}' 0.1
  scenario memory_leaker '{}' MemoryGrows \
    'deriv(process_resident_memory_bytes{job="service"}[8s])' 2e6
  scenario disk_io '{}' DiskBusy \
    'rate(process_disk_write_bytes_total{job="service"}[8s])' 1e7
  scenario http_error '{"match": {"routes": ["/api/v1/test/*"]}}' RequestsFail \
    'rate(http_server_request_duration_seconds_count{job="service",http_route="/api/v1/test/sleep10ms",http_response_status_code="503"}[8s])' 0
  scenario metrics_fault '{}' Down '1 - min(up{job="service"})' 0
  eventually quiet Down
  scenario metrics_fault '{"mode": "error"}' Down '1 - min(up{job="service"})' 0
  scenario metrics_fault '{"mode": "cardinality"}' SeriesGrow \
    'deriv(scrape_samples_scraped{job="service"}[8s])' 1
  scenario metrics_fault '{"mode": "stale"}' MetricsStale \
    '1 - min(changes(process_cpu_seconds_total{job="service"}[8s]) > bool 0)' 0
  scenario cpu_burner '{"target_percent": 90}' HighCpu \
    'rate(process_cpu_seconds_total{job="service"}[8s])' 0.2
}

# A canary is compared with the stable version by what its callers see.
comparison() {
  local share
  post scenarios/dependency/start '{"failure_type": "error"}' >/dev/null
  eventually fires_for_canary VersionFails
  share=$(answer 'version:error_share:rate1m{http_route="/api/v1/mock-service"}' |
    grep -o '"service_version":"[^"]*"},"value":\[[^]]*\]' | tr -d '\n')
  expect "a canary that fails makes VersionFails fire for its version" "$(versions VersionFails); $share" \
    fires_for_canary VersionFails
  post scenarios/dependency/start '{"failure_type": "error"}' "$stable_admin" >/dev/null
  eventually fires_for_none VersionFails
  expect "and not if the stable version fails as well" "firing: $(alerts firing)" fires_for_none VersionFails
  expect "which DependencyFails sees" "firing: $(alerts firing)" fires DependencyFails
  post composite/stop '' "$stable_admin" >/dev/null
  post scenarios/dependency/stop >/dev/null
  post scenarios/network_latency/start '{"latency_ms": 500}' >/dev/null
  eventually fires_for_canary VersionSlow
  expect "a canary that is slow makes VersionSlow fire for its version" "$(versions VersionSlow)" \
    fires_for_canary VersionSlow
  post scenarios/network_latency/stop >/dev/null
}

# The last one: it takes the process along, and this script restarts it.
crash() {
  local before after from=$SECONDS code
  before=$(value 'process_start_time_seconds{job="service"}')
  post scenarios/crash/start >/dev/null
  wait "$pid"
  code=$?
  start_daemon
  eventually fires Restarted
  expect "crash makes Restarted fire" "exit $code, after $((SECONDS - from)) s; firing: $(alerts firing)" \
    fires Restarted
  after=$(value 'process_start_time_seconds{job="service"}')
  expect "crash moves its series" "process_start_time_seconds from $before to $after" above "$after" "$before"
}

# Where nothing can be written.
a_ledger_in_memory() {
  kill -TERM "$pid"
  wait "$pid"
  launch "$CANARY" "$service" "$admin" /proc
  eventually fires LedgerNotDurable
  expect "a ledger in memory makes LedgerNotDurable fire" "firing: $(alerts firing)" fires LedgerNotDurable
  kill -TERM "$pid"
  wait "$pid"
  start_daemon
}

afterwards() {
  local expression queries=0 bad=() start=$1
  post composite/stop >/dev/null
  eventually all_clear
  expect "every alert clears when its fault is over" "firing: $(alerts firing)" all_clear
  # Each has drawn something at some time of this run. Without a memory limit, which is not a fault, a
  # panel leaves its line out: there the figure itself must be there.
  while IFS= read -r expression; do
    queries=$((queries + 1))
    expression=${expression//\$__rate_interval/8s}
    [[ $expression == container_spec_memory_limit_bytes* ]] && expression=${expression% > 0}
    history "$expression" "$start" | grep -q '"values":\[\[' || bad+=("$expression")
  done < <(sed -n 's/^ *"expr": "\(.*\)",$/\1/p' etc/grafana/dashboard.json | sed 's/\\"/"/g')
  expect "every query of the dashboard shows data" "$queries queries; empty: ${bad[*]-}" \
    test "$queries" -gt 15 -a "${#bad[@]}" = 0
}

began=$(date +%s)
start_stable
start_daemon
formats_and_files
start_traffic
start_prometheus
at_rest
scenarios
comparison
crash
a_ledger_in_memory
afterwards "$began"
finish
