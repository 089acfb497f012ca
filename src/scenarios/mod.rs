//! The scenarios. A new one is a new file here and one line in [`ALL`]; nothing else changes.

mod cpu_burner;
mod crash;
mod dependency;
mod disk_io;
mod goroutine_leak;
mod health_check;
mod memory_leaker;
mod network_latency;
mod shutdown_hang;

use serde_json::{Map, Value};

use crate::host::cgroup::Cgroup;
use crate::host::{memory_headroom_bytes, memory_limit_bytes};
use crate::plugin::Plugin;

/// Every scenario, in the order in which they are listed and documented.
pub static ALL: &[&dyn Plugin] = &[
    &cpu_burner::CpuBurner,
    &memory_leaker::MemoryLeaker,
    &network_latency::NetworkLatency,
    &health_check::HealthCheck,
    &goroutine_leak::GoroutineLeak,
    &disk_io::DiskIo,
    &crash::Crash,
    &dependency::Dependency,
    &shutdown_hang::ShutdownHang,
];

/// Bytes in the MB of parameters and metrics: a mebibyte.
const MIB: u64 = 1024 * 1024;

/// The members of a JSON object that was just written with `json!`.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The warning of a start that will take `target` bytes of memory where fewer are left.
fn more_than_is_left(target: u64, cgroup: &Cgroup) -> Option<String> {
    let limit = memory_limit_bytes(cgroup);
    let left = memory_headroom_bytes(cgroup);
    (target > left && limit > 0).then(|| {
        format!(
            "only {} MiB are left under the memory limit of {} MiB: the system will end the process \
             before the target of {} MiB is reached",
            left / MIB,
            limit / MIB,
            target / MIB
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::input::json::arbitrary;
    use crate::plugin::{Exit, RunContext, Services};

    /// A scenario, and parameters that are nearly its own.
    fn any_start() -> impl Strategy<Value = (&'static dyn Plugin, Map<String, Value>)> {
        prop::sample::select(ALL.to_vec()).prop_flat_map(|plugin| {
            let schema = plugin.schema();
            let specs = schema["properties"].as_object().expect("properties");
            let keys: Vec<&'static str> = specs.keys().map(|key| leak(key)).collect();
            let choices = specs.values().flat_map(|spec| {
                let of_items = spec["items"]["enum"].as_array();
                spec["enum"].as_array().or(of_items).into_iter().flatten()
            });
            let texts: Vec<&'static str> =
                choices.filter_map(|text| text.as_str().map(leak)).collect();
            (Just(plugin), arbitrary::object(&keys, &texts))
        })
    }

    fn leak(text: &str) -> &'static str {
        text.to_owned().leak()
    }

    proptest! {
        #[test]
        fn parameters_are_refused_with_reasons_or_read_back_as_they_were_taken(
            (plugin, given) in any_start()
        ) {
            match plugin.plan("/params", given.clone()) {
                Err(errors) => {
                    prop_assert!(!errors.is_empty());
                    for error in errors {
                        prop_assert!(error.pointer.starts_with("/params/"), "{:?}", error);
                        prop_assert!(!error.detail.is_empty());
                    }
                }
                Ok(plan) => {
                    for key in given.keys() {
                        prop_assert!(plan.params.contains_key(key), "{} is gone", key);
                    }
                    let again = plugin.plan("", plan.params.clone());
                    let again = again.expect("effective parameters are good parameters");
                    prop_assert_eq!(again.params, plan.params);
                }
            }
        }

        /// The schema that clients read and the reader that decides are one.
        #[test]
        fn parameters_are_taken_just_when_their_schema_says_so((plugin, given) in any_start()) {
            let schema = jsonschema::validator_for(&plugin.schema()).expect("a schema");
            let valid = schema.is_valid(&Value::Object(given.clone()));
            let taken = plugin.plan("", given.clone());
            let taken = taken.map_err(|errors| format!("{errors:?}"));
            prop_assert_eq!(taken.is_ok(), valid, "{:?}: {:?}", given, taken);
        }
    }

    #[test]
    fn the_documented_scenarios_are_there_in_order_and_once() {
        let names: Vec<&str> = ALL.iter().map(|plugin| plugin.name()).collect();
        assert_eq!(
            names,
            [
                "cpu_burner",
                "memory_leaker",
                "network_latency",
                "health_check",
                "goroutine_leak",
                "disk_io",
                "crash",
                "dependency",
                "shutdown_hang",
            ]
        );
        assert!(ALL.iter().all(|plugin| !plugin.summary().is_empty()));
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let documented = [
            json!({ "target_percent": 50 }),
            json!({ "target_mb": 1024, "leak_rate_mb": 10 }),
            json!({ "latency_ms": 100 }),
            json!({ "failure_mode": "always", "status_code": 503, "fail_rate": 0.5,
                    "delay_ms": 10000, "probes": ["health", "ready"] }),
            json!({ "goroutines_per_second": 100 }),
            json!({ "write_rate_mb": 50 }),
            json!({ "mode": "exit", "crash_delay": 10, "exit_code": 1, "scrape_window": 0 }),
            json!({ "failure_type": "timeout" }),
            json!({ "mode": "ignore", "drain_seconds": 30 }),
        ];
        for (plugin, expected) in ALL.iter().zip(documented) {
            let plan = plugin.plan("", Map::new()).expect("the defaults are good");
            assert_eq!(Value::Object(plan.params), expected, "{}", plugin.name());
        }
    }

    /// Rates whose reciprocal is no longer a number, and the fastest ones.
    #[tokio::test]
    async fn the_smallest_and_the_largest_values_start_and_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let services = Arc::new(Services::for_tests(folder.path()));
        for (name, params) in [
            (
                "memory_leaker",
                json!({ "leak_rate_mb": f64::MIN_POSITIVE, "target_mb": 1 }),
            ),
            (
                "memory_leaker",
                json!({ "leak_rate_mb": 65_536, "target_mb": 1 }),
            ),
            (
                "goroutine_leak",
                json!({ "goroutines_per_second": f64::MIN_POSITIVE }),
            ),
            ("disk_io", json!({ "write_rate_mb": f64::MIN_POSITIVE })),
            ("cpu_burner", json!({ "cores": f64::MIN_POSITIVE })),
            ("cpu_burner", json!({ "target_percent": 0 })),
        ] {
            let plugin = ALL
                .iter()
                .find(|plugin| plugin.name() == name)
                .expect("it is there");
            let plan = plugin.plan("", object(params.clone())).expect("in range");
            let stop = CancellationToken::new();
            let cx = RunContext::for_tests(&services, name, &stop);
            let active = plan.start(cx).await.expect("it starts");
            active.probe.read();
            stop.cancel();
            assert_eq!(active.body.await, Exit::Stopped, "{name} {params}");
        }
        assert_eq!(services.live_guards.count(), 0);
    }

    /// For each bounded parameter: its ends are accepted and what lies just beyond is not.
    #[test]
    fn every_range_in_a_schema_is_the_range_that_is_enforced() {
        let mut checked = 0;
        for plugin in ALL {
            let schema = plugin.schema();
            for (name, spec) in schema["properties"].as_object().expect("properties") {
                assert!(spec["description"].is_string(), "{name} says what it does");
                let accepts = |value: Value| {
                    let given = json!({ name: value });
                    plugin
                        .plan("", given.as_object().expect("an object").clone())
                        .is_ok()
                };
                for wrong in [json!(null), json!({}), json!("no such value")] {
                    assert!(!accepts(wrong.clone()), "{name}: {wrong}");
                }
                if let Some(low) = spec["minimum"].as_f64() {
                    assert!(accepts(json!(low)) && !accepts(json!(low - 1.0)), "{name}");
                }
                if let Some(low) = spec["exclusiveMinimum"].as_f64() {
                    assert!(
                        accepts(json!(low + 0.001)) && !accepts(json!(low)),
                        "{name}"
                    );
                }
                if let Some(high) = spec["maximum"].as_f64() {
                    assert!(
                        accepts(json!(high)) && !accepts(json!(high + 1.0)),
                        "{name}"
                    );
                    checked += 1;
                }
                if spec["type"] == "integer" {
                    let low = spec["minimum"].as_f64().expect("integers are bounded");
                    assert!(!accepts(json!(low + 0.5)), "{name}");
                }
                for allowed in spec["enum"].as_array().into_iter().flatten() {
                    assert!(accepts(allowed.clone()), "{name}: {allowed}");
                }
            }
        }
        assert!(checked >= 12, "only {checked} ranges were seen");
    }
}
