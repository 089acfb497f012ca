#!/bin/sh
# Sends one POST to every pod behind a headless Service, to all at once, and prints their answers.
#
#   TOKEN=... every-pod.sh SERVICE /api/v1/composite/start session.json
#
# Exit status: 0 all of them answered 2xx, 1 one did not or there is none. PORT is 8889 if it is not set.
set -u
service=$1 path=$2 body=${3-/dev/null}

pods=$(getent ahostsv4 "$service" | cut -d ' ' -f 1 | sort -u)
if [ -z "$pods" ]; then
  echo "There is no pod behind $service." >&2
  exit 1
fi

requests=
for pod in $pods; do
  curl -sS --fail-with-body --max-time 30 -w ' %{remote_ip}\n' -X POST \
    -H "Authorization: Bearer ${TOKEN-}" --data "@$body" "http://$pod:${PORT-8889}$path" &
  requests="$requests $!"
done

failed=0
for request in $requests; do
  wait "$request" || failed=1
done
exit "$failed"
