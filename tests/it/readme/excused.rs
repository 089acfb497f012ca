//! What is not run from here.

/// Commands that are not run from here, each with the reason and the place where it is run instead.
pub(super) const NOT_RUN_HERE: &[(&str, &str)] = &[
    (
        "cargo run --release",
        "a build within a test of the build; every test here starts the same binary",
    ),
    (
        "MOCKSERVER_OTEL_ENDPOINT=http://127.0.0.1:4318 cargo run --release",
        "the same; tests/it/traces.rs starts it with a collector",
    ),
    ("cargo build --release", "the same; tests/run builds it"),
    ("tests/run", "it runs this very test"),
    (
        "cargo bench --bench fidelity",
        "takes minutes, and figures belong to a quiet machine; tests/it/fidelity.rs holds the bounds",
    ),
    (
        "cargo bench --bench fidelity -- memory",
        "a group of the same",
    ),
    (
        "cargo bench --bench overhead",
        "figures belong to a quiet machine, as above",
    ),
    (
        "cargo bench --bench survival",
        "the same, and it needs root and containers",
    ),
    (
        "cargo bench --bench exam",
        "hundreds of drills, which take minutes",
    ),
    (
        "cargo bench --bench soak -- --seconds 3600",
        "takes an hour; tests/run does it for a minute",
    ),
    (
        "docker build -t mockserver:latest .",
        "takes minutes and a container engine; run by tests/run",
    ),
    (
        "docker build -t mockserver:latest --build-arg VERSION=0.2.0 --build-arg REVISION=\"$(git rev-parse HEAD)\" .",
        "the same; tests/external/container.sh builds with other arguments",
    ),
    (
        "docker run -p 8888:8888 mockserver:latest",
        "needs the image; run by tests/run",
    ),
    (
        "docker run -p 127.0.0.1:8888:8888 -p 127.0.0.1:8889:8889 mockserver:latest",
        "needs the image; tests/external/container.sh publishes both ports like this",
    ),
    (
        "docker run --memory=512m --cpus=0.5 -p 8888:8888 mockserver:latest",
        "needs the image; run by tests/run",
    ),
    (
        "docker run --memory=\"4g\" -p 8888:8888 mockserver:latest",
        "as above with another figure",
    ),
    (
        "curl -N http://localhost:8888/api/v1/events/stream",
        "never ends by itself; read by the tests of the ledger",
    ),
    (
        "prometheus --config.file=etc/prometheus/prometheus.yml",
        "needs Prometheus and never ends; run by tests/external/prometheus.sh",
    ),
    (
        "docker run -d --name leak --memory=256m -e MOCKSERVER_BOOT='{\"scenarios\": [{\"name\": \"memory_leaker\", \"params\": {\"leak_rate_mb\": 20}, \"when_ready\": true, \"after\": 10}]}' mockserver:latest",
        "needs the image; run by tests/run",
    ),
    (
        "docker run -d --name loop --restart=on-failure -e MOCKSERVER_BOOT='{\"crash_loop\": {\"boots\": 3, \"after\": 5}}' mockserver:latest",
        "as above",
    ),
    (
        "docker run -d --name slow -e MOCKSERVER_BOOT='{\"start_delay\": 20}' mockserver:latest",
        "as above",
    ),
    (
        "watch -n 1 docker ps -a",
        "never ends by itself; for people",
    ),
    (
        "docker stats",
        "looks at a running container and never ends; for people",
    ),
    (
        "top -p \"$(pgrep -x mockserver)\"",
        "never ends by itself; for people",
    ),
    (
        "kubectl apply -k etc/kubernetes/overlays/good",
        "needs a cluster; rendered, checked and run by tests/external/kubernetes.sh, as are all the overlays",
    ),
    (
        "kubectl apply -k etc/kubernetes/overlays/never-ready",
        "the same",
    ),
    (
        "kubectl apply -k etc/kubernetes/overlays/bad-canary-leak",
        "the same",
    ),
    (
        "kubectl delete -k etc/kubernetes/overlays/bad-canary-leak",
        "the same",
    ),
    (
        "kubectl apply -k etc/kubernetes/components/service-monitor",
        "the same",
    ),
    (
        "kubectl rollout status deploy/mockserver --timeout=60s",
        "needs a cluster; for people",
    ),
    (
        "kubectl rollout undo deploy/mockserver",
        "needs a cluster; for people",
    ),
    (
        "kubectl scale deploy/mockserver --replicas=3",
        "needs a cluster; for people",
    ),
    (
        "kubectl port-forward deploy/mockserver 8889",
        "needs a cluster; for people",
    ),
    (
        "kubectl apply -k etc/kubernetes/every-pod",
        "needs a cluster; its jobs are run by tests/external/kubernetes.sh",
    ),
    (
        "kubectl create job --from=cronjob/mockserver-start start-1",
        "the same",
    ),
    (
        "kubectl create job --from=cronjob/mockserver-stop stop-1",
        "the same",
    ),
    (
        "kubectl set env cronjob/mockserver-start PODS=mockserver-pods",
        "the same",
    ),
    (
        "etc/ci/fault-injection",
        "needs the image; run by tests/external/ci.sh",
    ),
    (
        "docker compose -f etc/shop/compose.yaml up -d",
        "needs the image; run by tests/external/shop.sh",
    ),
    (
        "curl -X POST -H \"Authorization: Bearer change-me\" http://localhost:8894/api/v1/scenarios/network_latency/start -d '{\"latency_ms\": 300}'",
        "needs the shop; run by tests/external/shop.sh",
    ),
    (
        "curl -X POST -H \"Authorization: Bearer change-me\" http://localhost:8894/api/v1/composite/stop",
        "the same",
    ),
    (
        "docker compose -f etc/shop/compose.yaml down -v",
        "the same",
    ),
    (
        "curl -X POST -H \"Authorization: Bearer change-me\" http://localhost:8893/api/v1/scenarios/dependency/start -d '{\"failure_type\": \"error\"}'",
        "the same",
    ),
    (
        "docker compose -f etc/shop/compose.yaml stop orders-canary",
        "needs the shop; for people",
    ),
    (
        "docker compose -f etc/shop/compose.yaml --profile grafana up -d",
        "needs an image of Grafana; for people",
    ),
    (
        "OTEL_ENDPOINT=http://traces:4318 docker compose -f etc/shop/compose.yaml --profile traces up -d",
        "needs an image of a trace store; for people",
    ),
    (
        "kubectl apply -k etc/shop",
        "needs a cluster; rendered and checked by tests/external/kubernetes.sh",
    ),
    (
        "kubectl port-forward deploy/shop-inventory 8889",
        "needs a cluster; for people",
    ),
    (
        "pip install chaostoolkit",
        "installs a program; done by tests/external/chaostoolkit.sh",
    ),
    (
        "chaos run etc/chaostoolkit/failing-dependency.json",
        "needs the Chaos Toolkit; run by tests/external/chaostoolkit.sh",
    ),
    (
        "docker run -p 8888:8888 -e MOCKSERVER_BOOT='{\"start_delay\": 20, \"ready_after\": 30}' mockserver:latest",
        "needs the image; run by tests/external/container.sh with other figures",
    ),
    (
        "docker run -p 8888:8888 -e MOCKSERVER_BOOT='{\"crash_loop\": {\"boots\": 3, \"after\": 5}}' mockserver:latest",
        "as above",
    ),
    (
        "mockserver -f etc/exam/patient.yaml",
        "never ends by itself; tests/it/exam/document.rs starts it",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills -d '{\"preset\": \"latency_regression_p50\", \"onset_s\": [0, 0], \"duration_s\": 60, \"time_scale\": 0.05}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl http://localhost:8889/api/v1/drills/current",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/answers -d '{\"detected\": true, \"findings\": [{\"scenario\": \"network_latency\", \"role\": \"cause\", \"params\": {\"latency_ms\": 250}}], \"decision\": \"rollback\"}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/events -d '{\"kind\": \"paused\"}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/close",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "for drill in data/drills/*.jsonl; do mockserver exam score \"$drill\"; done",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills -d '{\"preset\": \"control_quiet\", \"duration_s\": 60, \"time_scale\": 0.05}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/answers -d '{\"detected\": false, \"findings\": [], \"decision\": \"promote\"}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/events -d '{\"kind\": \"promoted\"}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills -d '{\"preset\": \"crash_loop_on_boot\", \"onset_s\": [0, 0], \"duration_s\": 120, \"time_scale\": 1}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/answers -d '{\"detected\": true, \"findings\": [{\"scenario\": \"crash\"}], \"decision\": \"rollback\"}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/events -d '{\"kind\": \"restarted\"}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills -d '{\"preset\": \"readiness_never_true\", \"onset_s\": [0, 0], \"duration_s\": 60, \"time_scale\": 0.05}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/answers -d '{\"detected\": true, \"findings\": [{\"scenario\": \"health_check\"}], \"decision\": \"rollback\"}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    (
        "curl -X POST http://localhost:8889/api/v1/drills/current/events -d '{\"kind\": \"rolled_back\"}'",
        "needs a blind service; run by tests/it/exam/document.rs",
    ),
    ("cargo fmt --check", "run by tests/run"),
    (
        "cargo clippy --all-targets --locked -- -D warnings",
        "run by tests/run",
    ),
    ("cargo test --locked", "it runs this very test"),
    ("cargo test --locked --test it readme", "the same"),
    (
        "git tag -a v0.2.0 -m \"mockserver 0.2.0\"",
        "makes a release; for people",
    ),
    ("git push origin v0.2.0", "the same"),
];
