#!/usr/bin/env bash
# Plays the story of etc/shop/README.md: the shop of etc/shop/compose.yaml comes up, inventory gets sick, its callers and
# Prometheus show it, nothing that can be read there says why, and after the stop all is as before.
#
# Takes podman or docker, whichever answers, podman first; CONTAINER_ENGINE names one of them. With podman,
# podman-compose is taken from PyPI. After container.sh the image is built from its layers in seconds. The image of
# Prometheus is made of Debian's package.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly SHOP=$REPOSITORY/etc/shop LATENCY_MS=300 TOLERANCE_MS=45
# How many seconds of requests each figure is of, and how many may pass until the fault is seen.
readonly WINDOW=10
# The routes of front, with the requests per second that this test adds to the shop's own.
readonly SICK=/cart/{id}=50 WELL=(/products=20 /orders/{id}=20)
up=

clean_up() {
  [[ -n $up ]] && compose down -v -t 1 >/dev/null 2>&1
}

# === The shop ===

# Of the package that is installed, or else unpacked.
prometheus_image() {
  local binary folder=$scratch/prometheus base
  binary=$(command -v prometheus) || {
    unpack_package prometheus
    binary=$scratch/debian/usr/bin/prometheus
  }
  [[ -x $binary ]] || not_run "Debian's package prometheus cannot be had"
  base=$(sed -n 's/^readonly DEBIAN=\(.*\) RUST=.*/\1/p' "$EXTERNAL/container-setup")
  mkdir "$folder" && cp "$binary" "$folder/prometheus"
  # Used as prom/prometheus is.
  cat >"$folder/Dockerfile" <<DOCKERFILE
FROM ${base/\$SUITE/bookworm}
COPY prometheus /bin/prometheus
RUN mkdir -m 1777 /prometheus
USER 65534:65534
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
DOCKERFILE
  on_engine build -q -t localhost/shop-prometheus:test "$folder" >"$scratch/prometheus.log" 2>&1 ||
    not_run "the image of Prometheus cannot be built: $(tail -n 1 "$scratch/prometheus.log")"
  export PROMETHEUS_IMAGE=localhost/shop-prometheus:test
}

# A project of this test's own, so that no shop of somebody is taken down.
compose() { timeout 120 $COMPOSE -p "shop-test-$$" -f "$SHOP/compose.yaml" "$@"; }

choose_ports() {
  local name
  for name in FRONT FRONT_ADMIN ORDERS_ADMIN ORDERS_CANARY_ADMIN INVENTORY_ADMIN PAYMENTS_ADMIN PROMETHEUS; do
    export "${name}_PORT=$(free_port)"
  done
  front=127.0.0.1:$FRONT_PORT
  inventory=127.0.0.1:$INVENTORY_ADMIN_PORT
  server=127.0.0.1:$PROMETHEUS_PORT
  canary=127.0.0.1:$ORDERS_CANARY_ADMIN_PORT
}

# === What is asked ===

answer() { curl -sS -G --max-time 10 "http://$server/api/v1/query" --data-urlencode "query=$1" 2>/dev/null; }
value() { answer "$1" | grep -o '"value":\[[^]]*\]' | cut -d'"' -f4 | sort -g | tail -n 1; }
is_above() { awk -v x="$(value "$1")" -v least="$2" 'BEGIN { exit !(x != "" && x + 0 > least) }'; }
is_below() { awk -v x="$(value "$1")" -v most="$2" 'BEGIN { exit !(x != "" && x + 0 < most) }'; }

# documented TEXT: runs the first command of the README that contains the text, on the ports of this shop.
documented() {
  local command
  command=$(grep -m 1 "^curl .*$1" "$SHOP/README.md")
  command=${command//localhost:8894/$inventory}
  bash -c "${command//localhost:8893/$canary}" 2>/dev/null
}

# That of the README, over less time.
readonly P99='histogram_quantile(0.99, sum by (http_route, le) (rate(http_server_request_duration_seconds_bucket{service="front", http_route="/cart/{id}"}[15s])))'

# figures PATH FROM UNTIL: number, failures, p50 and p99 in ms.
figures() { python3 "$EXTERNAL/shop_load.py" figures "$scratch/load" "$2" "$3" "$1"; }

later() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a + b }'; }
now() { echo "$EPOCHREALTIME"; }
until_time() { while awk -v t="$1" -v now="$EPOCHREALTIME" 'BEGIN { exit !(now < t) }'; do sleep 0.1; done; }

# === The story ===

comes_up() {
  local from=$SECONDS
  up=1
  if ! compose up -d >"$scratch/up.log" 2>&1; then
    tail -n 20 "$scratch/up.log"
    expect "one command starts the shop" "$(tail -n 1 "$scratch/up.log")" false
    exit 1
  fi
  within 30 answers_well "http://$front/products"
  expect "one command starts the shop" "after $((SECONDS - from)) s" answers_well "http://$front/products" || exit 1
  within 30 is_above 'count(up{job="service"} == 1)' 4.5
  expect "Prometheus scrapes five containers" "$(value 'count(up == 1)') are up" \
    is_above 'count(up{job="service"} == 1)' 4.5
  within 30 is_above 'sum by (service) (rate(http_server_request_duration_seconds_count{service="payments", http_route="/api/payments"}[15s]))' 0
  expect "the shop's own customers reach payments" \
    "$(value 'sum(rate(http_server_request_duration_seconds_count{http_route="/api/payments"}[15s]))') requests/s" \
    is_above 'sum(rate(http_server_request_duration_seconds_count{http_route="/api/payments"}[15s]))' 0
}

# p99_of PATH FROM: sets before, the figures before the fault, after, those since FROM, and more, the ms between their p99s.
p99_of() {
  before=$(figures "$1" "$calm_from" "$sick_from")
  after=$(figures "$1" "$2" "$(later "$2" "$WINDOW")")
  more=$(awk -v a="${before##* }" -v b="${after##* }" 'BEGIN { printf "%.1f", b - a }')
}

# rises PATH MS FROM: the p99 is so much higher, within 15 % of the latency.
rises() {
  p99_of "$1" "$3"
  between $(($2 - TOLERANCE_MS)) "$more" $(($2 + TOLERANCE_MS))
}

# compared TITLE PATH MS FROM
compared() {
  rises "$2" "$3" "$4"
  expect "$1: p99 of $2 at $3 ms +- $TOLERANCE_MS" \
    "$more ms more (requests, failures, p50, p99: $before; then $after)" \
    between $(($3 - TOLERANCE_MS)) "$more" $(($3 + TOLERANCE_MS))
}

all_as_expected() {
  local path
  rises "${SICK%=*}" "$LATENCY_MS" "$sick_from" || return
  for path in "${WELL[@]%=*}"; do rises "$path" 0 "$sick_from" || return; done
}

get_sick() {
  calm_from=$(now)
  until_time "$(later "$calm_from" "$WINDOW")"
  documented network_latency/start >"$scratch/answer"
  sick_from=$(now)
  # And the last of its requests is over.
  until_time "$(later "$sick_from" $((WINDOW + 1)))"
}

# Whether rules that are shipped for any service take the healthy shop for an ill one.
nothing_fires() {
  expect "no alert fires in the healthy shop" "$(value 'count(ALERTS{alertstate="firing"})') fire" \
    test -z "$(value 'count(ALERTS{alertstate="firing"})')"
}

falls_ill() {
  local calm_from sick_from well_from before after more path try
  python3 "$EXTERNAL/shop_load.py" send "$front" 150 "$scratch/load" "$SICK" "${WELL[@]}" 2>"$scratch/load.log" &
  load=$!
  processes+=("$load")
  # The first requests make connections.
  sleep 3
  nothing_fires
  # A busy machine can hold back any process for a while: one good window of three is enough.
  for try in 1 2 3; do
    get_sick
    if all_as_expected || ((try == 3)); then break; fi
    echo "not as expected in window $try: $more ms more (requests, failures, p50, p99: $before; then $after), load $(cut -d ' ' -f 1 /proc/loadavg)"
    documented composite/stop >"$scratch/answer"
  done
  expect "a second command makes inventory sick" "$(cut -c 1-100 "$scratch/answer")" \
    grep -q '"status":"success"' "$scratch/answer"
  compared "inventory is sick, within $WINDOW s" "${SICK%=*}" "$LATENCY_MS" "$sick_from"
  for path in "${WELL[@]%=*}"; do compared "it does not call inventory" "$path" 0 "$sick_from"; done
  within 10 is_above "$P99" 0.25
  expect "Prometheus shows it" "p99 $(value "$P99") s" is_above "$P99" 0.25
  nothing_says_why
  documented composite/stop >"$scratch/answer"
  for try in 1 2 3; do
    well_from=$(now)
    until_time "$(later "$well_from" $((WINDOW + 1)))"
    rises "${SICK%=*}" 0 "$well_from" && break
  done
  compared "after the stop" "${SICK%=*}" 0 "$well_from"
  within 20 is_below "$P99" 0.2
  expect "and Prometheus shows that" "p99 $(value "$P99") s" is_below "$P99" 0.2
}

# What names a fault or this product, as a word or as a part of a name.
readonly WORDS='mockserver|scenario|(?<!de)fault|inject|chaos|burner|leaker|goroutine|network_latency|simulat|drill|exam(?!ple)'

# Everything that the shop's callers and the readers of its logs and of Prometheus can read, with the fault under way.
nothing_says_why() {
  local readable=$scratch/readable path found
  mkdir -p "$readable"
  for path in / /products /nowhere /metrics /health /ready /docs /openapi.json /api/v1/{scenarios,events,sessions} \
    /api/v1/{composite/status,mock-service,test/sleep10ms,scenarios/network_latency/status}; do
    curl -sS -i --max-time 10 "http://$front$path" >"$readable/front${path//\//-}" 2>&1
  done
  for path in label/__name__/values labels metadata rules targets status/config alerts; do
    curl -sS --max-time 10 "http://$server/api/v1/$path" >"$readable/prometheus-${path//\//-}" 2>&1
  done
  curl -sS --max-time 10 "http://$server/api/v1/series?match[]={job=~\".%2B\"}" >"$readable/prometheus-series" 2>&1
  compose logs front orders orders-canary inventory payments >"$readable/logs" 2>&1
  # What is on the network beside the service, without the token.
  curl -sS -i --max-time 10 "http://$inventory/api/v1/scenarios" >"$readable/admin" 2>&1
  found=$(grep -oiP "$WORDS" -r "$readable" | sort | uniq -c | sort -rn | head -n 5 | tr -s ' \n' ' ')
  expect "nothing that can be read names a fault" \
    "$(cat "$readable"/* | wc -c) bytes in $(find "$readable" -type f | wc -l) places${found:+:$found}" test -z "$found"
}

# by_version REQUESTS: the requests to orders that are so, by version.
by_version() {
  echo "sum by (service_version) (rate(http_server_request_duration_seconds_count{service=\"orders\", http_route=~\"/api/.*\"$1}[15s])" \
    "* on (instance) group_left (service_version) target_info)"
}

# versions QUERY: those for which it is so.
versions() { answer "$1" | grep -o '"service_version":"[^"]*"' | cut -d'"' -f4 | sort | tr '\n' ' '; }
are_versions() { [[ $(versions "$1") == "$2" ]]; }

the_canary() {
  local requests failures
  requests=$(by_version '')
  # A healthy version fails now and then.
  failures="$(by_version ', http_response_status_code=~"5.."') / $requests > 0.2"
  expect "both versions of orders have a share of the traffic" \
    "$(answer "$requests" | grep -o '"service_version":"[^}]*},"value":\[[^]]*' | sed 's/.*:"\(.*\)"},.*"\(.*\)"/\1 \2/' | tr '\n' ' ')requests/s" \
    are_versions "$requests > 0" "1.0.0 1.1.0 "
  documented dependency/start >"$scratch/answer"
  within 20 are_versions "$failures" "1.1.0 "
  expect "a canary that cannot make its calls fails alone" "$(cut -c 1-80 "$scratch/answer"): $(versions "$failures")" \
    are_versions "$failures" "1.1.0 "
  kill "$load"
  wait "$load" 2>/dev/null
}

goes_down() {
  local left
  up=
  compose down -v -t 2 >"$scratch/down.log" 2>&1
  left=$(on_engine ps -a --filter "name=shop-test-$$" --format '{{.Names}}' | tr '\n' ' ')
  expect "a last command takes all of it down" "left: ${left:-nothing}" test -z "$left"
}

find_engine
find_compose
prometheus_image
build_image
export MOCKSERVER_IMAGE=mockserver:test
choose_ports
comes_up
falls_ill
the_canary
goes_down
finish
