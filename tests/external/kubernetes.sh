#!/usr/bin/env bash
# Renders what is in etc/kubernetes with a real kubectl, holds it to the schemas of Kubernetes and to
# itself, runs the daemon with the environment of every version and lets each do what its name says, and
# sends sessions to several daemons the way pods get them.
#
# There is no cluster here: what a kubelet, Argo Rollouts or Flagger would do with the manifests, this
# script does, with the very commands, bodies and headers that are written in them. Needs Python 3 and PyPI;
# takes kubectl and libnss-wrapper from Debian's packages where they are missing, without installing them.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The oldest and the newest version whose schemas are used.
readonly SCHEMAS=(1.27 1.37)
readonly PORT_OF_PODS=8889
readonly VERSIONS=(good bad-canary-leak crash-loop slow-start never-ready)

clean_up() {
  # Each profile's daemon, whose script may be gone.
  local file
  for file in "$scratch"/*/pid; do
    [[ -e $file ]] && kill -KILL "$(<"$file")" 2>/dev/null
  done
}

# === The tools ===

tools() {
  make_venv
  # Of kubernetes-validate, which is seventeen thousand files, only what is used is unpacked.
  {
    pip download --no-deps -d "$scratch" 'kubernetes-validate>=1.37,<2' &&
      pip install 'chaostoolkit>=1.19,<2' \
        importlib_resources 'jsonschema>=4.23' packaging PyYAML referencing typing-extensions &&
      "$scratch/venv/bin/python" - "$scratch" "${SCHEMAS[@]}" <<'PYTHON'
import glob, sys, zipfile

folder, *versions = sys.argv[1:]
(archive,) = glob.glob(f"{folder}/kubernetes_validate-*.whl")
with zipfile.ZipFile(archive) as archive:
    wanted = [f"/v{version}.0-local-strict/" for version in versions]
    for name in archive.namelist():
        if "-json-schema/" not in name or any(part in name for part in wanted):
            archive.extract(name, f"{folder}/validator")
PYTHON
  } >"$scratch/pip.log" 2>&1 ||
    not_run "kubernetes-validate and chaostoolkit cannot be had from PyPI: $(tail -n 1 "$scratch/pip.log")"

  kubectl=${KUBECTL:-$(command -v kubectl)}
  if [[ -z $kubectl ]]; then
    unpack_package kubernetes-client
    kubectl=$scratch/debian/usr/bin/kubectl
  fi
  [[ -x $kubectl ]] || not_run "there is no kubectl; install it, or Debian's kubernetes-client"
  unpack_package libnss-wrapper
  nss_wrapper=$(find "$scratch/debian" /usr/lib -name libnss_wrapper.so 2>/dev/null | head -n 1)
  [[ -n $nss_wrapper ]] || not_run "Debian's package libnss-wrapper cannot be had"
}

# === Rendering ===

# The kubectl of Debian 12 is of 2021 and knows three fields by their older names only.
rendering_source() {
  cp -r etc/kubernetes "$scratch/source"
  cp -r etc/shop "$scratch/source/shop"
  # An overlay of a user's, with the component.
  mkdir "$scratch/source/monitored"
  printf '%s\n' resources: '  - ../overlays/good' components: '  - ../components/service-monitor' \
    >"$scratch/source/monitored/kustomization.yaml"
  # No sign of a version but this is in the output of all of them.
  "$kubectl" version --client 2>/dev/null | grep -q 'Kustomize Version' && return
  sed -i 's/^resources:$/bases:/; /^labels:$/d; s/^  - pairs:/commonLabels:/; /includeSelectors/d' \
    "$scratch"/source/{overlays/*,monitored}/kustomization.yaml "$scratch"/source/shop/{,kubernetes/[!bs]*/}kustomization.yaml
  sed -i 's/^kind: Component/kind: Kustomization/; /^apiVersion/s/v1alpha1/v1beta1/' \
    "$scratch"/source/components/*/kustomization.yaml
  sed -i '/^components:$/d' "$scratch/source/monitored/kustomization.yaml"
}

render() {
  local folder name
  rendering_source
  for folder in "${VERSIONS[@]/#/overlays/}" every-pod components/service-monitor monitored shop; do
    name=${folder##*/}
    "$kubectl" kustomize "$scratch/source/$folder" >"$scratch/$name.yaml" 2>"$scratch/render.log"
    expect "kubectl kustomize $folder" "$(grep -c '^kind:' "$scratch/$name.yaml") objects$(head -n 1 "$scratch/render.log")" \
      test -s "$scratch/$name.yaml" -a ! -s "$scratch/render.log"
  done
  for folder in etc/kubernetes/overlays/*; do
    expect "$folder is one of the versions" "${VERSIONS[*]}" contains " ${VERSIONS[*]} " " ${folder##*/} "
  done
}

# validate VERSION FILE...: complains of what the schemas refuse.
validate() {
  PYTHONPATH=$scratch/validator "$scratch/venv/bin/python" -m kubernetes_validate \
    --strict --quiet -k "$@" 2>&1
}

schemas() {
  local version name complaints files=()
  manifests job_object etc/kubernetes/argo-rollouts.yaml mockserver-inject-every-pod >"$scratch/job-metric.yaml"
  for name in "${VERSIONS[@]}" every-pod job-metric shop; do files+=("$scratch/$name.yaml"); done
  for version in "${SCHEMAS[@]}"; do
    complaints=$(validate "$version" "${files[@]}")
    expect "the schemas of Kubernetes $version" "${complaints:-no complaint}" test -z "$complaints"
  done
  sed 's/failureThreshold/failureTreshold/' "$scratch/good.yaml" >"$scratch/misspelt.yaml"
  complaints=$(validate "$version" "$scratch/misspelt.yaml")
  expect "they notice a misspelt key" "$(tail -n 1 <<<"$complaints")" contains "$complaints" failureTreshold
}

# Reads manifests: what an environment says, what a hook sends, and whether names and labels agree.
manifests() { "$scratch/venv/bin/python" "$EXTERNAL/manifests.py" "$@"; }

agreement() {
  local name complaints
  for name in "${VERSIONS[@]}"; do
    complaints=$(manifests agree "$scratch/$name.yaml" Dockerfile 2>&1)
    expect "$name, names, selectors and rights" "${complaints:-21 claims hold}" test -z "$complaints"
  done
  complaints=$(manifests shop "$scratch/shop.yaml" Dockerfile 2>&1)
  expect "the shop, names, selectors and rights" "${complaints:-all claims hold}" test -z "$complaints"
  complaints=$(manifests shared "$scratch"/{good,every-pod}.yaml etc/kubernetes/{argo-rollouts,flagger}.yaml 2>&1)
  expect "one token, and the admin port is for operators" "${complaints:-all agree}" test -z "$complaints"
  complaints=$(manifests scrapes "$scratch"/{monitored,bad-canary-leak}.yaml etc/prometheus/{alerts,versions,faults}.yml 2>&1)
  expect "the ServiceMonitor scrapes each pod once on each port" "${complaints:-with the token where it is needed}" \
    test -z "$complaints"
  complaints=$(manifests canary "$scratch/good.yaml" "$scratch/bad-canary-leak.yaml" 2>&1)
  expect "the canary lives beside the good version" "${complaints:-nothing is replaced}" test -z "$complaints"
}

# === Every version, run ===

# prepare OVERLAY: a folder with its token and data, and its ports. Sets folder, service and admin.
prepare() {
  folder=$scratch/$1
  mkdir -p "$folder/data"
  # All versions have the same.
  manifests token "$scratch/good.yaml" >"$folder/token"
  service=127.0.0.1:$(free_port)
  admin=127.0.0.1:$(free_port)
}

# boot OVERLAY: runs the daemon as the pod's container would be, but for ports and paths. Sets pid.
boot() {
  local environment=()
  mapfile -d '' environment < <(manifests environment "$scratch/$1.yaml")
  env "${environment[@]}" MOCKSERVER_HOST=127.0.0.1 "MOCKSERVER_PORT=${service#*:}" \
    MOCKSERVER_ADMIN_HOST=127.0.0.1 "MOCKSERVER_ADMIN_PORT=${admin#*:}" \
    "MOCKSERVER_AUTH_TOKEN_FILE=$folder/token" "MOCKSERVER_DATA_DIR=$folder/data" \
    "$daemon" -f etc/mockserver.yaml >>"$folder/log" 2>&1 &
  pid=$!
  echo "$pid" >"$folder/pid"
  booted=$EPOCHREALTIME
}

# end_with SIGNAL: ends the daemon; sets code.
end_with() {
  kill "-$1" "$pid" 2>/dev/null
  wait "$pid"
  code=$?
  rm -f "$folder/pid"
}

age() { awk -v a="$booted" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# status ADDRESS PATH OPTION...: what it answers with, 000 when nothing listens.
status() { curl -s -o /dev/null --max-time 2 -w '%{http_code}' "http://$1$2" "${@:3}"; }

# turns ADDRESS PATH STATUS SECONDS: waits until the path answers so.
turns() {
  local give_up=$((SECONDS + $4))
  until [[ $(status "$1" "$2") == "$3" ]]; do
    ((SECONDS < give_up)) || return 1
    sleep 0.2
  done
}

resident_mb() { awk '/^VmRSS/ { printf "%d", $2 / 1024 }' "/proc/$pid/status"; }

good() {
  local kind path answer
  prepare good
  boot good
  turns "$service" /ready 200 20
  while read -r kind path _; do
    answer=$(status "$service" "$path")
    expect "good: the $kind probe asks $path" "HTTP $answer" test "$answer" = 200
  done < <(manifests probes "$scratch/good.yaml")
  answer=$(status "$service" /metrics)
  expect "good: a scrape of the service port needs no token" "HTTP $answer" test "$answer" = 200
  answer=$(status "$admin" /metrics)
  expect "good: a scrape of the admin port needs it" "HTTP $answer" test "$answer" = 401
  answer=$(status "$admin" /metrics -H "Authorization: Bearer $(<"$folder/token")")
  expect "good: and gets its page with it" "HTTP $answer" test "$answer" = 200
  for path in /api/v1/composite/status /api/v1/events; do
    answer="$(status "$service" $path) $(status "$admin" $path)"
    expect "good: a read of $path needs the token on both ports" "HTTP $answer" test "$answer" = "401 401"
  done
  answer=$(curl -s -o /dev/null --max-time 5 -w '%{http_code}' -X POST "http://$admin/api/v1/composite/stop")
  expect "good: a POST to the admin port needs the token" "HTTP $answer" test "$answer" = 401
  end_with TERM
  expect "good: SIGTERM ends it" "exit $code" test "$code" = 0
}

bad-canary-leak() {
  local before after
  prepare bad-canary-leak
  boot bad-canary-leak
  turns "$service" /ready 200 20
  expect "bad-canary-leak: it gets ready" "after $(age) s" between 0 "$(age)" 10
  before=$(resident_mb)
  until between 18 "$(age)" 99; do sleep 0.2; done
  after=$(resident_mb)
  expect "bad-canary-leak: it is well for 18 s" "from $before to $after MiB" test $((after - before)) -le 2
  until between 30 "$(age)" 99; do sleep 0.2; done
  after=$(resident_mb)
  expect "bad-canary-leak: then it leaks 4 MiB/s" "$((after - before)) MiB more after $(age) s" \
    between 30 $((after - before)) 50
  expect "bad-canary-leak: and is ready all the while" "HTTP $(status "$service" /ready)" \
    test "$(status "$service" /ready)" = 200
  end_with TERM
}

# This script restarts it, as a kubelet would.
crash-loop() {
  local try took
  prepare crash-loop
  for try in 1 2 3; do
    boot crash-loop
    turns "$service" /ready 200 9
    expect "crash-loop: start $try gets ready" "after $(age) s" between 0 "$(age)" 9
    until between 14 "$(age)" 99 || ! kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    took=$(age)
    end_with KILL
    expect "crash-loop: start $try dies after 10 s" "exit $code after $took s" \
      test "$code" = 70 -a "${took%.*}" -ge 9
  done
  boot crash-loop
  until between 14 "$(age)" 99; do sleep 0.2; done
  expect "crash-loop: start 4 holds" "HTTP $(status "$service" /ready) after $(age) s" \
    test "$(status "$service" /ready)" = 200
  end_with TERM
}

slow-start() {
  local kind path seconds patience at
  prepare slow-start
  boot slow-start
  until between 13 "$(age)" 99; do sleep 0.2; done
  expect "slow-start: nothing listens for 13 s" "HTTP $(status "$service" /health)" \
    test "$(status "$service" /health)" = 000
  turns "$service" /health 200 20
  expect "slow-start: it lives after 15 s" "after $(age) s" between 14 "$(age)" 20
  expect "slow-start: it is not ready then" "HTTP $(status "$service" /ready)" \
    test "$(status "$service" /ready)" = 503
  while read -r kind path seconds; do
    [[ $kind == startup ]] && patience=$seconds && turns "$service" "$path" 200 60
  done < <(manifests probes "$scratch/slow-start.yaml")
  at=$(age)
  expect "slow-start: the startup probe waits long enough" "$at of $patience s" between 14 "$at" "$patience"
  turns "$service" /ready 200 60
  expect "slow-start: it is ready after 30 s" "after $(age) s" between 28 "$(age)" 50
  end_with TERM
}

never-ready() {
  local startup
  prepare never-ready
  boot never-ready
  turns "$service" /health 200 20
  expect "never-ready: it lives" "after $(age) s" between 0 "$(age)" 10
  startup=$(status "$service" "$(manifests probes "$scratch/never-ready.yaml" | awk '$1 == "startup" { print $2 }')")
  expect "never-ready: its startup is over, so that it is left alone" "HTTP $startup" test "$startup" = 200
  until between 40 "$(age)" 99; do
    [[ $(status "$service" /ready) == 503 ]] || break
    sleep 0.2
  done
  expect "never-ready: it is not ready for 40 s" "$(age) s" between 40 "$(age)" 99
  end_with TERM
}

# All at once, since most of it is waiting.
versions() {
  local name profiles=() others=("${processes[@]}")
  for name in "${VERSIONS[@]}"; do
    "$name" &
    profiles+=($!)
  done
  processes+=("${profiles[@]}")
  wait "${profiles[@]}"
  processes=("${others[@]}")
  for name in "${VERSIONS[@]}"; do
    grep -q '^FAILED '"$name" "$results" && tail -n 10 "$scratch/$name/log"
  done
}

# === Many pods ===

# Two stable pods and three canaries, each with an address of its own, as in a cluster.
readonly STABLE=(127.0.1.1 127.0.1.2) CANARIES=(127.0.1.3 127.0.1.4 127.0.1.5)

pods() {
  local address
  port=$(free_port)
  token=$(manifests token "$scratch/good.yaml")
  for address in "${STABLE[@]}" "${CANARIES[@]}"; do
    mkdir -p "$scratch/pod-$address"
    MOCKSERVER_ADMIN_PORT=$port MOCKSERVER_ADMIN_HOST=$address MOCKSERVER_AUTH_TOKEN=$token \
      MOCKSERVER_AUTH_PROTECT_READS=true MOCKSERVER_DATA_DIR="$scratch/pod-$address/data" \
      "$daemon" --host "$address" --port 0 >"$scratch/pod-$address/log" 2>&1 &
    processes+=($!)
    echo "$address mockserver-pods" >>"$scratch/hosts"
  done
  for address in "${CANARIES[@]}"; do
    echo "$address mockserver-pods-canary mockserver-pods-canary.default.svc" >>"$scratch/hosts"
  done
  # What Flagger leaves for it to select, by its own Deployment mockserver-primary.
  sed -n 's/ mockserver-pods-canary .*/ mockserver-pods.default.svc/p' "$scratch/hosts" >>"$scratch/hosts.more"
  cat "$scratch/hosts.more" >>"$scratch/hosts"
  for address in "${STABLE[@]}" "${CANARIES[@]}"; do
    turns "$address:$port" /health 200 20 || cat "$scratch/pod-$address/log"
  done
}

# Runs a command where the names of the headless Services have their addresses.
in_the_cluster() {
  NSS_WRAPPER_HOSTS=$scratch/hosts LD_PRELOAD=$nss_wrapper TOKEN=$token PORT=$port "$@" 2>&1
}

# The pods among those given on which a scenario runs, by name, such as `127.0.1.3:dependency`.
running() {
  local address
  for address in "$@"; do
    curl -s --max-time 5 -H "Authorization: Bearer $token" "http://$address:$port/api/v1/composite/status" |
      sed -n "s/.*\"scenarios\":\[\([^]]\+\)\].*/$address:\1 /p" | tr -d '"\n'
  done
}

# reached TITLE SCENARIOS ANSWER: all canaries run the scenarios and no stable pod does.
reached() {
  local address wanted=
  for address in "${CANARIES[@]}"; do wanted+="$address:$2 "; done
  expect "$1: every canary" "$(running "${CANARIES[@]}")" test "$(running "${CANARIES[@]}")" = "$wanted" ||
    echo "$3"
  expect "$1: no stable pod" "${STABLE[*]}: $(running "${STABLE[@]}")" test -z "$(running "${STABLE[@]}")"
}

# as_job NAME [MANIFEST]: runs a job's command with its arguments, whose files are here and not in a volume.
as_job() {
  local arguments=()
  mapfile -t arguments < <(manifests job "${2-$scratch/every-pod.yaml}" "$1")
  in_the_cluster sh etc/kubernetes/every-pod/every-pod.sh "${arguments[@]//\/every-pod\//etc/kubernetes/every-pod/}"
}

quiet() {
  as_job mockserver-stop >"$scratch/answer"
  expect "$1: the job mockserver-stop ends it" "$(running "${CANARIES[@]}")" \
    test -z "$(running "${CANARIES[@]}")"
}

many_pods() {
  local answer code line
  pods
  answer=$(as_job mockserver-start)
  code=$?
  expect "the job mockserver-start" "exit $code" test "$code" = 0
  reached "the job mockserver-start" cpu_burner,dependency "$answer"
  quiet "the job mockserver-start"

  answer=$(TOKEN=wrong in_the_cluster env TOKEN=wrong sh etc/kubernetes/every-pod/every-pod.sh \
    mockserver-pods /api/v1/composite/start etc/kubernetes/every-pod/session.json)
  code=$?
  expect "a job with a wrong token fails" "exit $code" test "$code" = 1
  answer=$(in_the_cluster sh etc/kubernetes/every-pod/every-pod.sh no-such-pods /api/v1/composite/stop)
  code=$?
  expect "a job that finds no pod fails" "exit $code $answer" test "$code" = 1
  answer=$(in_the_cluster sh etc/kubernetes/every-pod/every-pod.sh mockserver-pods \
    /api/v1/composite/start etc/kubernetes/every-pod/session.json)
  code=$?
  line=$(running "${STABLE[@]}" "${CANARIES[@]}" | wc -w)
  expect "with PODS=mockserver-pods it reaches all" "exit $code, $line of 5" test "$line" = 5
  in_the_cluster sh etc/kubernetes/every-pod/every-pod.sh mockserver-pods /api/v1/composite/stop \
    >"$scratch/answer"

  # It leaves files where it is called.
  (
    repository=$PWD
    cd "$scratch" || exit
    EVERY_POD=$repository/etc/kubernetes/every-pod/every-pod.sh \
      SESSION=$repository/etc/kubernetes/every-pod/session.json in_the_cluster timeout 60 \
      venv/bin/chaos --no-version-check run --journal-path "$scratch/journal" \
      "$repository/etc/chaostoolkit/every-pod.json"
  ) >"$scratch/chaos.log" 2>&1
  code=$?
  answer=$(manifests experiment "$scratch/journal" 2>&1)
  expect "the Chaos Toolkit's every-pod.json" "exit $code; $answer" \
    test "$code" = 0 -a "$answer" = "started on 3, stopped on 3"
  expect "its rollback leaves nothing behind" "$(running "${CANARIES[@]}")" \
    test -z "$(running "${CANARIES[@]}")"

  # The controller of Argo Rollouts resolves the name and calls one of its addresses.
  manifests web etc/kubernetes/argo-rollouts.yaml "$token" | sed "s/:$PORT_OF_PODS/:$port/" >"$scratch/web"
  answer=$(in_the_cluster curl -sS --max-time 10 --config "$scratch/web" -w ' %{http_code}')
  line=$(running "${STABLE[@]}" "${CANARIES[@]}")
  expect "a web metric of Argo Rollouts succeeds" "$answer" \
    grep -q '"status":"success".* 200$' <<<"$answer"
  expect "and reaches one canary" "$line" grep -qx '127\.0\.1\.[345]:dependency ' <<<"$line"
  quiet "a web metric of Argo Rollouts"
  answer=$(as_job mockserver-inject-every-pod etc/kubernetes/argo-rollouts.yaml)
  code=$?
  expect "a job metric of Argo Rollouts succeeds" "exit $code" test "$code" = 0
  reached "a job metric of Argo Rollouts" cpu_burner,dependency "$answer"
  quiet "a job metric of Argo Rollouts"

  answer=$(manifests hook etc/kubernetes/flagger.yaml inject | sed "s/:$PORT_OF_PODS/:$port/" >"$scratch/hook" &&
    in_the_cluster bash "$scratch/hook")
  code=$?
  expect "the load tester's command for Flagger" "exit $code" test "$code" = 0
  reached "the load tester's command for Flagger" dependency "$answer"
  manifests hook etc/kubernetes/flagger.yaml clean-up | sed "s/:$PORT_OF_PODS/:$port/" >"$scratch/hook"
  in_the_cluster bash "$scratch/hook" >"$scratch/answer"
  expect "its clean-up ends it" "$(running "${CANARIES[@]}")" test -z "$(running "${CANARIES[@]}")"
}

tools
build_daemon
render
schemas
agreement
many_pods
versions
finish
