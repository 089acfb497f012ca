//! The presets that are built in, and what is refused of those of a configuration.

use serde_json::json;

use super::*;
use crate::exam::patient::Patient;
use crate::input::FieldError;
use crate::scenarios;

/// The presets of the design, which users know by these names.
const SETTLED: [&str; 30] = [
    "memory_leak_canary",
    "oom_crash_loop",
    "crash_loop_on_boot",
    "crash_after_warmup",
    "slow_start",
    "readiness_never_true",
    "flapping_readiness",
    "liveness_timeout_kill",
    "latency_regression_p50",
    "latency_regression_p99",
    "latency_creep",
    "dependency_brownout",
    "dependency_pool_exhaustion",
    "bad_config_errors",
    "cpu_regression",
    "cpu_throttled",
    "cpu_cron_spikes",
    "noisy_neighbour",
    "log_storm",
    "task_leak_slow",
    "fd_exhaustion",
    "sigterm_ignored",
    "double_fault",
    "four_fault",
    "partial_recovery",
    "red_herring",
    "control_quiet",
    "control_traffic_surge",
    "benign_warmup",
    "benign_cache_fill",
];

fn read(given: Value) -> (Vec<Preset>, Vec<String>) {
    let given = Map::from_iter([("Exam".to_owned(), json!({ "Presets": given }))]);
    let mut fields = Fields::new("", given);
    let exam = ExamSpec::read(&mut fields, scenarios::ALL);
    let errors = fields.finish().err().into_iter().flatten();
    let shown = |error: FieldError| format!("{}: {}", error.pointer, error.detail);
    (exam.presets, errors.map(shown).collect())
}

/// A good preset, changed by `change`.
fn preset(change: impl FnOnce(&mut Value)) -> Value {
    let mut preset = json!({
        "name": "own",
        "difficulty": "hard",
        "description": "What happens.",
        "tell_tale": "What separates it.",
        "scenarios": [{
            "name": "memory_leaker",
            "after": { "draw": [30, 60] },
            "params": { "leak_rate_mb": { "constant": { "draw": [1, 2] }, "noise": 0.1 } },
            "rates": ["leak_rate_mb"],
            "graded": { "leak_rate_mb": "slope" },
        }],
        "expect": { "causes": ["memory_leaker"], "decision": "rollback" },
    });
    change(&mut preset);
    preset
}

#[test]
fn every_embedded_preset_is_good() {
    let mut fields = Fields::new("", embedded());
    let presets = read::presets(&mut fields, Some(scenarios::ALL), &[]);
    assert_eq!(fields.finish().err(), None);
    assert_eq!(presets, *EMBEDDED);
    let controls = presets.iter().filter(|preset| preset.is_control());
    assert!(controls.count() >= 8 && presets.len() >= 50);
}

#[test]
fn the_presets_of_the_design_are_there() {
    let all = Presets::default();
    let names: Vec<&str> = all.all().iter().map(|preset| &*preset.name).collect();
    assert!(names.is_sorted());
    for name in SETTLED {
        assert!(names.contains(&name), "{name}");
    }
}

#[test]
fn there_are_controls_of_every_difficulty_and_faults_of_most_scenarios() {
    let all = Presets::default();
    for (name, difficulty) in Difficulty::NAMES {
        let mut presets = all.all().iter();
        let is_one = |preset: &Preset| preset.difficulty == difficulty && preset.is_control();
        assert!(presets.any(is_one), "{name}");
    }
    for plugin in scenarios::ALL {
        let name = plugin.name().to_owned();
        let mut presets = all.all().iter();
        assert!(
            presets.any(|preset| preset.expect.causes.contains(&name)),
            "{name}"
        );
    }
}

/// Whether a schema takes a shape.
fn takes_a_shape(schema: &Value) -> bool {
    schema.pointer("/properties/ramp").is_some()
}

#[test]
fn what_may_be_a_shape_has_noise() {
    // A rate limit is a line in a configuration, and a clock is off by the same all the time.
    let straight = ["rps", "offset_s"];
    for preset in EMBEDDED.iter() {
        for scenario in &preset.scenarios {
            let plugin = scenarios::ALL
                .iter()
                .find(|plugin| plugin.name() == scenario.name);
            let schema = plugin.expect("a scenario").schema();
            for (name, value) in &scenario.params {
                let is_shape = takes_a_shape(&schema["properties"][name]);
                let is_noisy = value.get("noise").is_some();
                let (preset, scenario) = (&preset.name, &scenario.name);
                let is_natural = straight.contains(&name.as_str()) || !is_shape || is_noisy;
                assert!(is_natural, "{preset}: {scenario}: {name}");
            }
        }
    }
}

#[test]
fn faults_of_requests_leave_the_probes_alone() {
    for preset in EMBEDDED.iter() {
        for scenario in &preset.scenarios {
            let plugin = scenarios::ALL
                .iter()
                .find(|plugin| plugin.name() == scenario.name);
            let schema = plugin.expect("a scenario").schema();
            let has_match = schema["properties"].get("match").is_some();
            if has_match && scenario.name != "dependency" {
                let probes = scenario.params.get("match").map(|of| of["probes"].clone());
                assert_eq!(probes, Some(json!(false)), "{}", preset.name);
            }
        }
    }
}

#[test]
fn needs_follow_from_the_parameters() {
    let needs = |name: &str| {
        let preset = EMBEDDED.iter().find(|preset| preset.name == name);
        preset.expect(name).needs().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(needs("cpu_throttled"), [Need::CpuLimit]);
    assert_eq!(needs("oom_crash_loop"), [Need::MemoryLimit]);
    assert_eq!(needs("retry_storm"), [Need::Upstreams]);
    assert_eq!(needs("errors_one_route"), [Need::Routes]);
    assert_eq!(needs("four_fault"), []);
    assert_eq!(needs("control_quiet"), []);
}

#[test]
fn values_are_drawn_where_they_are() {
    struct Middle(Vec<String>);
    impl drawing::Drawing for Middle {
        fn number(&mut self, at: &str, low: f64, high: f64) -> f64 {
            self.0.push(at.to_owned());
            f64::midpoint(low, high)
        }
        fn index(&mut self, at: &str, count: usize) -> usize {
            self.0.push(at.to_owned());
            count / 2
        }
    }
    let value = json!({
        "a": { "ramp": { "from": 0, "to": { "draw": [2, 4] } } },
        "b": [{ "choose": "routes" }, { "choose": "upstreams" }],
        "c": { "of_limit": { "draw": [1, 3] } },
        "d": { "choose": [1, { "draw": [6, 8] }] },
    });
    let patient = Patient {
        cpu_limit_cores: Some(0.5),
        has_memory_limit: false,
        upstreams: vec!["u".to_owned(), "v".to_owned()],
        routes: vec!["/r".to_owned()],
    };
    let mut middle = Middle(Vec::new());
    let drawn = drawing::resolve(&value, "", &mut middle, &patient);
    let expected =
        json!({ "a": { "ramp": { "from": 0, "to": 3 } }, "b": ["/r", "v"], "c": 1, "d": 7 });
    assert_eq!(drawn, expected);
    assert_eq!(middle.0, ["a.ramp.to", "b.0", "b.1", "c", "d", "d.chosen"]);
}

#[test]
fn a_preset_of_the_configuration_is_read_and_listed() {
    let (own, errors) = read(json!([preset(|_| {})]));
    assert_eq!((own.len(), errors), (1, Vec::<String>::new()));
    let presets = Presets::new(own);
    assert_eq!(presets.all().len(), EMBEDDED.len() + 1);
    let list = json!(presets.list());
    let listed = list["presets"].as_array().expect("a list");
    let own = listed
        .iter()
        .find(|preset| preset["name"] == "own")
        .expect("own");
    assert_eq!(own["difficulty"], "hard");
    assert_eq!(own["expect"]["causes"], json!(["memory_leaker"]));
    assert_eq!(own["scenarios"][0]["after"], json!({ "draw": [30, 60] }));
    assert_eq!(own["needs"], json!([]));
}

/// A mistake: where it is reported, a part of what is reported, and how a good preset gets it.
type Mistake = (&'static str, &'static str, fn(&mut Value));

const OF_THE_WHOLE: [Mistake; 10] = [
    ("/name", "small letters", |p| {
        p["name"] = json!("Own Preset")
    }),
    ("/name", "built in", |p| p["name"] = json!("four_fault")),
    ("/difficulty", "is missing", |p| {
        p.as_object_mut().map(|p| p.remove("difficulty"));
    }),
    ("/tell_tale", "not empty", |p| p["tell_tale"] = json!(" ")),
    ("/expects", "unknown key", |p| p["expects"] = json!({})),
    ("/expect/decision", "must not be promote", |p| {
        p["expect"]["decision"] = json!("promote");
    }),
    ("/expect/decision", "must be promote", |p| {
        p["expect"] = json!({ "derived": ["memory_leaker"], "decision": "hold" });
    }),
    ("/expect/causes/1", "none of the scenarios", |p| {
        p["expect"]["causes"] = json!(["memory_leaker", "crash"]);
    }),
    ("/expect/derived/0", "did you mean \"cpu_burner\"", |p| {
        p["expect"]["derived"] = json!(["cpu_burnr"]);
    }),
    ("/traffic/sine/high", "must not be below low", |p| {
        p["traffic"] = json!({ "sine": { "low": 2, "high": { "draw": [1, 3] }, "period_s": 60 } });
    }),
];

const OF_A_SCENARIO: [Mistake; 7] = [
    ("/name", "expect.causes or expect.derived", |p| {
        p["scenarios"][0] = json!({ "name": "memory_churn" });
        p["expect"] = json!({ "decision": "promote" });
    }),
    ("/name", "unknown scenario", |p| {
        p["scenarios"][0]["name"] = json!("memory_leak");
        p["expect"] = json!({ "causes": ["memory_leak"], "decision": "hold" });
    }),
    ("/after", "seconds from 0", |p| {
        p["scenarios"][0]["after"] = json!(-1);
    }),
    ("/rates", "leak_rate, which", |p| {
        p["scenarios"][0]["rates"] = json!(["leak_rate"]);
    }),
    ("/params/leak_rate_mb/constant/draw", "a pair", |p| {
        rate(p, json!([0, 2]));
    }),
    ("/params/leak_rate_mb/constant", "must be a number", |p| {
        rate(p, json!([1, 70_000]));
    }),
    (
        "/params/leak_rate_mb/constant",
        "at a time_scale of 0.01",
        |p| {
            rate(p, json!([1, 700]));
        },
    ),
];

fn rate(preset: &mut Value, drawn: Value) {
    preset["scenarios"][0]["params"]["leak_rate_mb"]["constant"]["draw"] = drawn;
}

fn assert_reported(at: &str, mistakes: &[Mistake]) {
    for (pointer, part, change) in mistakes {
        let (_, errors) = read(json!([preset(change)]));
        let expected = format!("{at}{pointer}: ");
        let mut shown = errors.iter();
        let is_reported = shown.any(|error| error.starts_with(&expected) && error.contains(part));
        assert!(is_reported, "{pointer} {part}: {errors:#?}");
    }
}

#[test]
fn every_mistake_is_reported_where_it_is() {
    assert_reported("/Exam/Presets/0", &OF_THE_WHOLE);
    assert_reported("/Exam/Presets/0/scenarios/0", &OF_A_SCENARIO);
    let (_, errors) = read(json!([preset(|_| {}), preset(|_| {})]));
    let [twice] = &errors[..] else {
        panic!("one error: {errors:?}")
    };
    assert!(
        twice.starts_with("/Exam/Presets/1/name: must not be own"),
        "{twice}"
    );
}
