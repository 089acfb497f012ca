#!/usr/bin/env bash
# Lets generators read the API description: openapi-python-client makes a client without a warning, all of which is
# imported and which then calls a running daemon; datamodel-code-generator makes its models.
#
# Needs Python 3 and PyPI.
# shellcheck source=tests/external/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly TOKEN=client

# logged NAME COMMAND...: shows the log of a command that fails.
logged() {
  local log=$scratch/$1.log
  shift
  timeout 120 "$@" >"$log" 2>&1 || { cat "$log" && false; }
}

the_client() {
  local from=$SECONDS
  # Its formatter is another tool, which is not needed here.
  echo 'post_hooks: []' >"$scratch/generator.yaml"
  expect "openapi-python-client makes a client without a warning" "$((SECONDS - from)) s" \
    logged generate "$scratch/venv/bin/openapi-python-client" generate --path "$scratch/openapi.json" \
    --config "$scratch/generator.yaml" --meta none --output-path "$scratch/mockserver_client" --fail-on-warning
  expect "all of it is imported, and its calls are answered as described" "$service" \
    logged calls env PYTHONPATH="$scratch" "$scratch/venv/bin/python" "$EXTERNAL/openapi_client.py" "$service" "$TOKEN"
  tail -n 2 "$scratch/calls.log"
}

the_models() {
  expect "datamodel-code-generator makes models that can be imported" "$(wc -c <"$scratch/openapi.json") bytes" \
    logged models "$scratch/venv/bin/datamodel-codegen" --input "$scratch/openapi.json" --input-file-type openapi \
    --output "$scratch/models.py" --output-model-type pydantic_v2.BaseModel --formatters builtin
  expect "it does not warn of the description" "$(grep -c UserWarning "$scratch/models.log") warnings" \
    test "$(grep -c UserWarning "$scratch/models.log")" = 0
  expect "they are Python" "models.py" logged import "$scratch/venv/bin/python" "$scratch/models.py"
}

make_venv
pip_install 'openapi-python-client>=0.29,<1' 'datamodel-code-generator>=0.71,<1'
build_daemon
serve "Auth: {Token: $TOKEN}"
curl -s --max-time 5 "$service/openapi.json" >"$scratch/openapi.json"
the_client
the_models
kill "$pid"
wait "$pid"
finish
