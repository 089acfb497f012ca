//! Parameters that change while a fault runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Daemon, assert_problem, eventually, exclusive};

fn asked(daemon: &Daemon, name: &str) -> f64 {
    daemon.status(name)["effect"]["asked"].as_f64().unwrap()
}

/// The mean CPU use of the daemon in percent over `time`.
fn cpu_percent(daemon: &Daemon, cores: f64, time: Duration) -> f64 {
    let (from, before) = (Instant::now(), daemon.process().live_cpu());
    std::thread::sleep(time);
    let used = (daemon.process().live_cpu() - before).as_secs_f64();
    used / from.elapsed().as_secs_f64() / cores * 100.0
}

#[test]
fn cpu_follows_a_square_and_is_asked_what_it_is_now() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let square = json!({ "square": { "low": 0, "high": 40, "period_s": 4, "duty": 0.5 } });
    daemon.start_scenario("cpu_burner", json!({ "target_percent": square }));
    let cores = daemon.wait_for_metric("cpu_burner", "limit_cores", |cores| cores > 0.0);
    for _ in 0..2 {
        for now in [40.0, 0.0] {
            eventually("the square is there", || {
                (asked(&daemon, "cpu_burner") == now).then_some(())
            });
            // Others may have the CPU, so only one bound is that of the bench.
            let used = cpu_percent(&daemon, cores, Duration::from_secs(1));
            match now {
                0.0 => assert!(used < 20.0, "{used} % of nothing"),
                _ => assert!((10.0..45.0).contains(&used), "{used} % of {now} %"),
            }
        }
    }
    assert_eq!(daemon.events_of("lost"), [json!(null); 0]);
    let status = daemon.status("cpu_burner");
    assert_eq!(status["params"]["target_percent"], square);
    let accepted = daemon.events_of("accepted");
    assert_eq!(accepted[0]["params"]["target_percent"], square);
}

#[test]
fn leaks_grow_by_the_sum_of_their_rate_and_rest_at_none() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    daemon.start_set(json!([
        { "name": "memory_leaker",
          "params": { "target_mb": 500, "leak_rate_mb": { "steps": [[0, 30], [2, 0]] } } },
        { "name": "goroutine_leak",
          "params": { "goroutines_per_second": { "ramp": { "from": 2000, "to": 0, "over_s": 2 } } } },
    ]));
    let rate = || daemon.status("memory_leaker")["metrics"]["leak_rate_mb"].as_f64();
    assert_eq!(rate(), Some(30.0));
    for (name, sum, unit) in [
        ("memory_leaker", 60.0, 2.0),
        ("goroutine_leak", 2000.0, 2.0),
    ] {
        let effect = eventually("all is there", || {
            let effect = daemon.status(name)["effect"].take();
            (effect["achieved"].as_f64()? >= sum - unit).then_some(effect)
        });
        // For good: a schedule that went on at the first rate would be beyond that.
        std::thread::sleep(Duration::from_secs(1));
        let later = daemon.status(name)["effect"].take();
        for effect in [effect, later] {
            for figure in ["asked", "achieved"] {
                let figure = effect[figure].as_f64().unwrap();
                assert!((figure - sum).abs() <= unit, "{name}: {effect}");
            }
        }
    }
    assert_eq!(rate(), Some(0.0));
    assert!(daemon.process().resident_mb() > 60.0);
}

#[test]
fn a_limit_bounds_every_value_of_a_shape() {
    let yaml = "Limits: {CpuPercent: 50, CpuCores: 1, TasksPerSecond: 100}\n";
    let daemon = Daemon::builder().file(yaml).start();
    let ramp = json!({ "ramp": { "from": 0, "to": 80, "over_s": 9 } });
    let square = json!({ "square": { "low": 0, "high": 80, "period_s": 9 } });
    for (name, parameter, shape, at) in [
        ("cpu_burner", "target_percent", &ramp, "ramp/to"),
        ("cpu_burner", "cores", &square, "square/high"),
        (
            "goroutine_leak",
            "goroutines_per_second",
            &json!({ "steps": [[0, 1], [1, 101]] }),
            "steps/1/1",
        ),
    ] {
        for dry_run in [true, false] {
            let body = json!({ parameter: shape, "dry_run": dry_run });
            let refused = daemon.try_start(name, body);
            let problem = assert_problem(refused, 422, "invalid-params", name);
            assert_eq!(
                problem["errors"][0]["pointer"],
                format!("/{parameter}/{at}")
            );
        }
    }
    // Noise does not exceed it either.
    let noisy = json!({ "target_percent": { "constant": 50, "noise": 1 }, "dry_run": true });
    let planned = daemon.start_scenario("cpu_burner", noisy);
    assert!(
        points(&planned, "target_percent")
            .iter()
            .all(|(_, value)| *value <= 50.0)
    );
}

/// The points of a dry run.
fn points(planned: &Value, parameter: &str) -> Vec<(f64, f64)> {
    let points = planned["plan"][0]["shapes"][parameter].clone();
    serde_json::from_value(points).unwrap()
}

#[test]
fn a_dry_run_draws_each_shape() {
    let daemon = Daemon::start();
    let ramp = json!({ "ramp": { "from": 0, "to": 76, "over_s": 38 } });
    let dry = |more: Value| {
        let mut body = json!({ "target_percent": ramp, "dry_run": true });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        daemon.start_scenario("cpu_burner", body)
    };
    for (more, over) in [(json!({}), 38.0), (json!({ "duration": 19 }), 19.0)] {
        let drawn = points(&dry(more), "target_percent");
        assert_eq!(drawn.len(), 20);
        for (i, (at, value)) in (0..20_u32).zip(drawn) {
            assert!((at - over * f64::from(i) / 19.0).abs() < 1e-6, "{at}");
            assert!((value - 2.0 * at).abs() < 1e-6, "{value} at {at}");
        }
    }
    let constant = daemon.start_scenario("cpu_burner", json!({ "dry_run": true }));
    assert!(constant["plan"][0].get("shapes").is_none(), "{constant}");
    assert_eq!(daemon.status("cpu_burner")["running"], false);
}
