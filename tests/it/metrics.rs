//! Both pages of metrics: what a scraper reads at rest, under faults and after them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mockserver::plugin::Plugin;
use mockserver::scenarios;
use serde_json::json;

use crate::support::{Daemon, agent, eventually, harmless, scenario_names, together};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// A page of metrics, with the value of each series by its name and labels.
struct MetricsPage {
    text: String,
    content_type: String,
    series: BTreeMap<String, f64>,
}

impl MetricsPage {
    fn of(address: std::net::SocketAddr, accept: &str) -> Self {
        let request = agent()
            .get(format!("http://{address}/metrics"))
            .header("accept", accept);
        let mut response = request.call().unwrap();
        assert_eq!(response.status(), 200);
        let content_type = response.headers()["content-type"].to_str().unwrap();
        let content_type = content_type.to_owned();
        let text = response.body_mut().read_to_string().unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let series: BTreeMap<String, f64> = samples
            .clone()
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                (series.to_owned(), value.parse().unwrap())
            })
            .collect();
        assert_eq!(series.len(), samples.count(), "a series is there twice");
        Self {
            text,
            content_type,
            series,
        }
    }

    fn service(daemon: &Daemon) -> Self {
        Self::of(daemon.service, "*/*")
    }

    fn admin(daemon: &Daemon) -> Self {
        Self::of(daemon.admin, "*/*")
    }

    fn value(&self, series: &str) -> f64 {
        let value = self.series.get(series);
        *value.unwrap_or_else(|| panic!("no series {series} in {}", self.text))
    }

    /// The number of requests on `route` with this status.
    fn answers(&self, route: &str, status: &str) -> f64 {
        self.value(&format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"GET\",\
             http_route=\"{route}\",http_response_status_code=\"{status}\"}}"
        ))
    }

    /// The same, for those that took at most `seconds`.
    fn within(&self, seconds: &str, route: &str, status: &str) -> f64 {
        self.value(&format!(
            "http_server_request_duration_seconds_bucket{{le=\"{seconds}\",\
             http_request_method=\"GET\",http_route=\"{route}\",\
             http_response_status_code=\"{status}\"}}"
        ))
    }

    fn others(&self) -> f64 {
        self.value(
            "http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",\
             http_route=\"other\",http_response_status_code=\"_OTHER\"}",
        )
    }

    fn calls(&self, part: &str, status: &str) -> f64 {
        self.value(&format!(
            "http_client_request_duration_seconds_{part}{{server_address=\"inventory\",\
             http_request_method=\"GET\",http_response_status_code=\"{status}\"}}"
        ))
    }

    fn active(&self, route: &str) -> f64 {
        self.value(&format!(
            "http_server_active_requests{{http_route=\"{route}\"}}"
        ))
    }

    fn fault(&self, what: &str, scenario: &str) -> f64 {
        self.value(&format!(
            "mockserver_fault_{what}{{scenario=\"{scenario}\"}}"
        ))
    }

    fn runs(&self, scenario: &str, end: &str) -> f64 {
        self.value(&format!(
            "mockserver_fault_runs_total{{scenario=\"{scenario}\",end=\"{end}\"}}"
        ))
    }

    fn names(&self) -> BTreeSet<&str> {
        let name = |series: &'_ str| series.find('{').unwrap_or(series.len());
        self.series
            .keys()
            .map(|series| &series[..name(series)])
            .collect()
    }
}

const OF_THE_PROCESS: [&str; 24] = [
    "target_info",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_threads",
    "process_start_time_seconds",
    "process_disk_read_bytes_total",
    "process_disk_write_bytes_total",
    "tokio_num_alive_tasks",
    "tokio_num_workers",
    "tokio_num_blocking_threads",
    "tokio_event_loop_lag_seconds",
    "tokio_global_queue_depth",
    "tokio_busy_ratio",
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
    "container_spec_cpu_quota",
    "container_spec_cpu_period",
    "container_memory_working_set_bytes",
    "container_memory_high_events_total",
    "container_spec_memory_limit_bytes",
];

const OF_REQUESTS: [&str; 7] = [
    "http_server_request_duration_seconds_bucket",
    "http_server_request_duration_seconds_sum",
    "http_server_request_duration_seconds_count",
    "http_server_active_requests",
    "http_client_request_duration_seconds_bucket",
    "http_client_request_duration_seconds_sum",
    "http_client_request_duration_seconds_count",
];

const OF_FAULTS: [&str; 8] = [
    "mockserver_fault_active",
    "mockserver_fault_asked",
    "mockserver_fault_achieved",
    "mockserver_fault_runs_total",
    "mockserver_session_info",
    "mockserver_halted",
    "mockserver_ledger_not_durable",
    "mockserver_panics_total",
];

#[test]
fn both_pages_have_all_their_series_from_the_start_at_zero() {
    let daemon = Daemon::start();
    // The scrape of the service listener is a request itself: it comes last.
    let (admin, service) = (MetricsPage::admin(&daemon), MetricsPage::service(&daemon));
    let both = OF_THE_PROCESS.iter().copied();
    assert_eq!(service.names(), both.clone().chain(OF_REQUESTS).collect());
    let all = both.chain(OF_REQUESTS).chain(OF_FAULTS);
    assert_eq!(admin.names(), all.collect());
    for page in [&admin, &service] {
        for (series, value) in &page.series {
            let counted = series.starts_with("http_") || series.starts_with("mockserver_");
            let itself = series == "http_server_active_requests{http_route=\"other\"}"
                && std::ptr::eq(page, &service);
            assert!(
                !counted || *value == f64::from(u8::from(itself)),
                "{series} {value}"
            );
        }
    }
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
        "process_start_time_seconds",
        "tokio_num_workers",
        "tokio_num_alive_tasks",
        "container_spec_cpu_quota",
    ] {
        assert!(
            service.value(name) > 0.0 && admin.value(name) > 0.0,
            "{name}"
        );
    }
}

#[test]
fn unlisted_statuses_and_paths_do_not_add_series_without_end() {
    let daemon = Daemon::start();
    let first = MetricsPage::service(&daemon).series.len();
    for status in [500, 501, 502, 504, 429] {
        daemon.start_scenario("health_check", json!({ "status_code": status }));
        assert_eq!(daemon.get("/health").status, status);
        assert_eq!(daemon.get("/ready").status, status);
    }
    daemon.stop_all();
    for i in 0..50 {
        for method in ["GET", "POST", "DELETE", "PUT"] {
            daemon.ask(method, daemon.service, &format!("/no/such/path/{i}"), b"");
            daemon.ask(method, daemon.service, "/ready", b"");
        }
        daemon.get(&format!("/api/v1/scenarios/x{i}"));
    }
    let (service, admin) = (MetricsPage::service(&daemon), MetricsPage::admin(&daemon));
    // The first two unlisted statuses got a histogram each.
    assert_eq!(service.series.len(), first + 40);
    assert_eq!(service.answers("/health", "500"), 1.0);
    // The figures of src/metrics/mod.rs and etc/prometheus/README.md.
    assert!(service.series.len() <= 290, "{}", service.series.len());
    let most = 190 + 10 * scenarios::ALL.len();
    assert!(admin.series.len() <= most, "{}", admin.series.len());
    // The admin page has them too, with fewer buckets of the same values.
    assert_eq!(admin.answers("/health", "500"), 1.0);
    let of_requests = |page: &MetricsPage, part: &str| -> BTreeMap<String, f64> {
        let series = page.series.iter().filter(|(series, _)| {
            series.starts_with("http_") && series.contains(part) && !series.contains("\"other\"")
        });
        series.map(|(name, value)| (name.clone(), *value)).collect()
    };
    let fine = of_requests(&service, "");
    for (series, value) in of_requests(&admin, "") {
        assert_eq!(fine.get(&series), Some(&value), "{series}");
    }
    assert_eq!(
        of_requests(&admin, "_count"),
        of_requests(&service, "_count")
    );
    assert_eq!(of_requests(&admin, "_bucket").len(), 12 * 10);
    // None is lost: all other requests count as `other`.
    let (starts, scrapes) = (5.0, 1.0);
    assert_eq!(service.others(), 8.0 + 50.0 * 8.0 + starts + scrapes);
}

#[test]
fn the_format_follows_the_accept_header() {
    let daemon = Daemon::start();
    let plain = MetricsPage::service(&daemon);
    assert_eq!(
        plain.content_type,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        plain
            .text
            .contains("# TYPE process_cpu_seconds_total counter\n")
    );
    assert!(plain.text.contains("# TYPE target_info gauge\n"));
    let open = MetricsPage::of(daemon.service, OPEN_METRICS);
    assert_eq!(
        open.content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.text.contains("# TYPE process_cpu_seconds counter\n"));
    assert!(open.text.contains("# TYPE target info\n"));
    assert!(open.text.ends_with("# EOF\n"));
    assert_eq!(open.names(), plain.names());
}

#[test]
fn the_name_and_the_version_are_the_configured_ones() {
    let yaml = "Name: checkout\nVersion: 2.0.0-canary\n";
    let daemon = Daemon::builder().file(yaml).start();
    let series = "target_info{service_name=\"checkout\",service_version=\"2.0.0-canary\"}";
    assert_eq!(MetricsPage::service(&daemon).value(series), 1.0);
    assert_eq!(MetricsPage::admin(&daemon).value(series), 1.0);
    let daemon = Daemon::start();
    let series = format!(
        "target_info{{service_name=\"mockserver\",service_version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(MetricsPage::service(&daemon).value(&series), 1.0);
}

#[test]
fn delays_and_replies_of_faults_are_measured_as_clients_see_them() {
    let daemon = Daemon::start();
    for path in [
        "/health",
        "/healthz",
        "/livez",
        "/ready",
        "/api/v1/test/sleep30ms",
    ] {
        assert_eq!(daemon.get(path).status, 200);
    }
    let before = MetricsPage::service(&daemon);
    assert_eq!(before.within("0.025", "/health", "200"), 3.0);
    assert_eq!(before.answers("/ready", "200"), 1.0);
    let sleep = "/api/v1/test/sleep30ms";
    assert_eq!(before.within("0.025", sleep, "200"), 0.0);
    assert_eq!(before.answers(sleep, "200"), 1.0);

    daemon.start_scenario("network_latency", json!({ "latency_ms": 300 }));
    daemon.start_scenario("health_check", json!({ "probes": ["ready"] }));
    assert_eq!(daemon.get("/health").status, 200);
    assert_eq!(daemon.get("/ready").status, 503);
    let after = MetricsPage::service(&daemon);
    for (route, status) in [("/health", "200"), ("/ready", "503")] {
        let slow =
            |page: &MetricsPage| page.answers(route, status) - page.within("0.25", route, status);
        assert_eq!(slow(&after) - slow(&before), 1.0, "{route}");
    }
    assert_eq!(after.answers("/ready", "200"), 1.0);
}

#[test]
fn a_call_to_the_dependency_is_measured_apart_from_its_request() {
    let daemon = Daemon::start();
    let call = || daemon.get("/api/v1/mock-service").status;
    assert_eq!(call(), 200);
    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    assert_eq!(call(), 500);
    // The latency delays the request, not the call.
    daemon.start_scenario("network_latency", json!({ "latency_ms": 400 }));
    assert_eq!(call(), 500);
    let refused = daemon.post("/api/v1/mock-service", "");
    assert_eq!(refused.status, 405);
    daemon.stop_all();
    let page = MetricsPage::service(&daemon);
    assert_eq!(
        (page.calls("count", "200"), page.calls("count", "500")),
        (1.0, 2.0)
    );
    assert!(
        page.calls("sum", "500") < 0.4,
        "{}",
        page.calls("sum", "500")
    );
    let route = "/api/v1/mock-service";
    assert_eq!(page.answers(route, "500"), 2.0);
    assert_eq!(page.within("0.25", route, "500"), 1.0);

    daemon.start_scenario("dependency", json!({ "failure_type": "slow", "seed": 1 }));
    assert_eq!(call(), 200);
    let page = MetricsPage::service(&daemon);
    assert!(
        page.calls("sum", "200") >= 2.0,
        "{}",
        page.calls("sum", "200")
    );
    assert_eq!(
        page.answers(route, "200") - page.within("1.0", route, "200"),
        1.0
    );
}

#[test]
fn a_delayed_request_is_active_and_an_abandoned_one_is_counted() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({ "failure_type": "timeout" }));
    let others = MetricsPage::service(&daemon).others();
    let impatient = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_millis(500)))
        .build();
    let url = format!("http://{}/api/v1/mock-service", daemon.service);
    let client = std::thread::spawn(move || ureq::Agent::from(impatient).get(url).call().is_err());
    let route = "/api/v1/mock-service";
    eventually("the request is active", || {
        (MetricsPage::service(&daemon).active(route) == 1.0).then_some(())
    });
    assert!(
        client.join().unwrap(),
        "the client must give up before the answer"
    );
    let page = eventually("the request has ended", || {
        let page = MetricsPage::service(&daemon);
        (page.active(route) == 0.0).then_some(page)
    });
    // It has no status and its call did not end: it counts among the others, as the scrapes do.
    assert_eq!(
        (page.answers(route, "200"), page.calls("count", "200")),
        (0.0, 0.0)
    );
    assert!(page.others() > others);
}

#[test]
fn leaked_tasks_count_as_tasks_of_the_process_until_the_stop() {
    let daemon = Daemon::start();
    let tasks = || MetricsPage::admin(&daemon).value("tokio_num_alive_tasks");
    let (before, workers) = (
        tasks(),
        MetricsPage::admin(&daemon).value("tokio_num_workers"),
    );
    daemon.start_scenario("goroutine_leak", json!({ "goroutines_per_second": 5000 }));
    eventually("tasks pile up", || {
        (tasks() > before + 1000.0).then_some(())
    });
    let during = MetricsPage::service(&daemon);
    assert!(during.value("tokio_num_alive_tasks") > before + 1000.0);
    assert_eq!(during.value("tokio_num_workers"), workers);
    daemon.stop_all();
    assert!(tasks() < before + 100.0, "{} after {before}", tasks());
}

#[test]
fn the_metrics_of_the_process_follow_the_faults() {
    let daemon = Daemon::start();
    let before = MetricsPage::service(&daemon);
    let scenarios = json!({ "scenarios": [
        { "name": "memory_leaker", "params": { "target_mb": 64, "leak_rate_mb": 1000 } },
        { "name": "cpu_burner", "params": { "target_percent": 20 } },
    ]});
    let started = daemon.post("/api/v1/composite/start", scenarios.to_string());
    assert_eq!(started.body["status"], "success");
    let grown = |page: &MetricsPage, name| page.value(name) - before.value(name);
    eventually("memory and CPU time grow", || {
        let page = MetricsPage::service(&daemon);
        let memory = grown(&page, "process_resident_memory_bytes");
        (memory >= 60e6 && grown(&page, "process_cpu_seconds_total") > 0.3).then_some(())
    });
    daemon.stop_all();
    let after = MetricsPage::service(&daemon);
    assert!(grown(&after, "process_resident_memory_bytes") < 20e6);
    assert_eq!(grown(&after, "process_start_time_seconds"), 0.0);
}

#[test]
fn the_service_page_never_names_a_fault() {
    let daemon = Daemon::start();
    let entry = |plugin: &&dyn Plugin| {
        let params = harmless(*plugin);
        json!({ "name": plugin.name(), "params": params })
    };
    let running = together();
    let set: Vec<_> = running.iter().map(entry).collect();
    assert_eq!(daemon.start_set(set.into())["status"], "success");
    // By default its calls would hang.
    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    // So would the requests below end without an answer.
    let elsewhere = json!({ "match": { "routes": ["/none"] } });
    daemon.start_scenario("connection_abort", elsewhere);
    // And so would the page.
    daemon.start_scenario("metrics_fault", json!({ "mode": "cardinality" }));
    for name in scenario_names() {
        daemon.get(&format!("/api/v1/scenarios/{name}/status"));
        daemon.get(&format!("/{name}"));
    }
    for path in ["/health", "/ready", "/api/v1/mock-service"] {
        daemon.get(path);
    }
    let admin = MetricsPage::admin(&daemon);
    for accept in ["*/*", OPEN_METRICS] {
        let service = MetricsPage::of(daemon.service, accept).text;
        for name in scenario_names() {
            let runs = running.iter().any(|plugin| plugin.name() == name);
            assert_eq!(admin.fault("active", name) == 1.0, runs, "{name}");
            // Not even as a part of a word.
            assert!(!service.to_lowercase().contains(name), "{name} is named");
        }
        for word in ["fault", "mockserver_", "scenario", "session", "inject"] {
            assert!(!service.contains(word), "{word}");
        }
    }
}

#[test]
fn the_admin_page_shows_what_runs_what_it_achieves_and_how_runs_ended() {
    let daemon = Daemon::start();
    let idle = MetricsPage::admin(&daemon);
    assert_eq!(idle.value("mockserver_session_info{session_id=\"\"}"), 0.0);
    let report = daemon.start_scenario(
        "memory_leaker",
        json!({ "target_mb": 16, "leak_rate_mb": 1000 }),
    );
    let id = report["session_id"].as_str().unwrap();
    let live = eventually("the target is reached", || {
        let page = MetricsPage::admin(&daemon);
        (page.fault("achieved", "memory_leaker") >= 16.0).then_some(page)
    });
    assert_eq!(
        live.value(&format!("mockserver_session_info{{session_id=\"{id}\"}}")),
        1.0
    );
    assert_eq!(live.fault("active", "memory_leaker"), 1.0);
    assert_eq!(live.fault("asked", "memory_leaker"), 16.0);
    assert_eq!(live.fault("active", "cpu_burner"), 0.0);

    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    let unmeasured = MetricsPage::admin(&daemon).fault("achieved", "dependency");
    assert!(unmeasured.is_nan(), "there was no call yet: {unmeasured}");

    daemon.start_scenario(
        "dependency",
        json!({ "failure_type": "slow", "duration": 0.1 }),
    );
    eventually("the run expires", || {
        (MetricsPage::admin(&daemon).runs("dependency", "expired") == 1.0).then_some(())
    });
    daemon.stop_all();
    daemon.stop_all();
    let over = MetricsPage::admin(&daemon);
    assert_eq!(over.runs("dependency", "replaced"), 1.0);
    assert_eq!(over.runs("memory_leaker", "stopped"), 1.0);
    assert_eq!(over.fault("active", "memory_leaker"), 0.0);
    assert_eq!(over.fault("achieved", "memory_leaker"), 0.0);
    let runs = over
        .series
        .iter()
        .filter(|(name, _)| name.contains("_runs_total"));
    assert_eq!(runs.map(|(_, value)| value).sum::<f64>(), 3.0);
}

/// The metrics that a text names: words with a prefix of our metrics.
fn named(text: &str) -> BTreeSet<&str> {
    const OURS: [&str; 6] = [
        "process_",
        "tokio_",
        "container_",
        "http_server_",
        "http_client_",
        "mockserver_",
    ];
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| OURS.iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

/// The queries of a dashboard, a line each.
fn queries_of(dashboard: &str) -> String {
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array());
    let queries = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str());
    queries.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_rules_and_the_dashboards_name_only_existing_metrics() {
    let daemon = Daemon::start();
    let (service, admin) = (MetricsPage::service(&daemon), MetricsPage::admin(&daemon));
    let served: BTreeSet<&str> = service.names().union(&admin.names()).copied().collect();
    let alerts = concat!(
        include_str!("../../etc/prometheus/alerts.yml"),
        include_str!("../../etc/prometheus/versions.yml"),
        include_str!("../../etc/prometheus/faults.yml"),
    );
    let queries = queries_of(include_str!("../../etc/grafana/dashboard.json"));
    let shop = queries_of(include_str!("../../etc/shop/dashboard.json"));
    for (text, least) in [(alerts, 9), (queries.as_str(), 20), (shop.as_str(), 6)] {
        let named = named(text);
        assert!(named.len() >= least, "only {named:?}");
        for name in named {
            assert!(served.contains(name), "{name} is not served");
        }
    }
}

#[test]
fn one_alert_covers_every_scenario_and_the_others_know_no_fault() {
    for rules in [
        include_str!("../../etc/prometheus/alerts.yml"),
        include_str!("../../etc/prometheus/versions.yml"),
    ] {
        let rules: serde_json::Value = serde_yaml::from_str(rules).unwrap();
        assert!(!rules.to_string().contains("mockserver"), "{rules}");
    }
    let faults = include_str!("../../etc/prometheus/faults.yml");
    let faults: serde_json::Value = serde_yaml::from_str(faults).unwrap();
    let rule = &faults["groups"][0]["rules"][0];
    assert_eq!(rule["alert"], "FaultActive");
    let expression = "mockserver_fault_active{job=\"admin\"} == 1";
    assert_eq!(
        rule["expr"], expression,
        "no scenario is selected or left out"
    );
    let page = MetricsPage::admin(&Daemon::start());
    let active = page.series.keys();
    let active = active.filter(|series| series.starts_with("mockserver_fault_active{"));
    assert_eq!(active.count(), scenarios::ALL.len());
    for plugin in scenarios::ALL {
        assert_eq!(page.fault("active", plugin.name()), 0.0);
    }
}

/// Measured in CPU time, which other processes do not lengthen; `cargo bench --bench overhead` measures by the clock.
#[test]
fn a_scrape_takes_less_than_five_milliseconds() {
    const SCRAPES: u32 = 20;
    let daemon = Daemon::start();
    for page in [MetricsPage::service, MetricsPage::admin] {
        page(&daemon);
        let before = daemon.process().live_cpu();
        for _ in 0..SCRAPES {
            page(&daemon);
        }
        let took = (daemon.process().live_cpu() - before) / SCRAPES;
        let most = if cfg!(debug_assertions) { 25 } else { 5 };
        assert!(took < Duration::from_millis(most), "{took:?}");
    }
}
