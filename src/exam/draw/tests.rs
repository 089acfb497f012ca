//! Plans: always the same from the same seed, within their ranges, and such as the manager takes.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::*;
use crate::exam::preset::ExamSpec;
use crate::input::Fields;
use crate::manager::plan_entry;
use crate::scenarios;

const VOCABULARY: [&str; 2] = ["cpu_burner", "memory_leaker"];

fn patient() -> Patient {
    Patient {
        cpu_limit_cores: Some(2.0),
        has_memory_limit: true,
        upstreams: ["inventory", "payments", "postgres", "redis"]
            .map(str::to_owned)
            .into(),
        routes: ["/api/orders", "/api/orders/*", "/api/products"]
            .map(str::to_owned)
            .into(),
    }
}

fn request(body: Value) -> DrillRequest {
    let Value::Object(body) = body else {
        panic!("an object")
    };
    DrillRequest::read(body).expect("a good request")
}

fn plan_with(body: Value, seed: &str, presets: &Presets) -> Plan {
    draw(
        &request(body),
        seed,
        presets,
        (&patient(), &|_| true),
        &VOCABULARY,
    )
    .expect("a plan")
}

fn plan(body: Value, seed: &str) -> Plan {
    plan_with(body, seed, &Presets::default())
}

/// A preset of a configuration.
fn with_own(preset: Value) -> Presets {
    let given = Map::from_iter([("Exam".to_owned(), json!({ "Presets": [preset] }))]);
    let mut fields = Fields::new("", given);
    let exam = ExamSpec::read(&mut fields, scenarios::ALL);
    assert_eq!(fields.finish().err(), None);
    Presets::new(exam.presets)
}

#[test]
fn a_hundred_seeds_give_the_plans_of_this_generator() {
    let salt = [0; 16];
    let mut found = String::new();
    for n in 0..100 {
        let seed = format!("seed-{n}");
        let plan = plan(json!({}), &seed);
        let hash = plan.commitment(&salt);
        let hash = hash.strip_prefix("sha256:").expect("the algorithm");
        writeln!(found, "{seed} {} {hash}", plan.preset).expect("a string");
    }
    let golden = include_str!("plans.golden");
    if found != golden {
        let new = std::env::temp_dir().join("plans.golden");
        std::fs::write(&new, &found).expect("written");
        panic!(
            "the plans have changed: raise GENERATOR, and take {} as src/exam/draw/plans.golden",
            new.display()
        );
    }
}

#[test]
fn each_plan_of_a_preset_is_taken_by_the_manager() {
    let presets = Presets::default();
    for preset in presets.all() {
        for (seed, time_scale, duration_s) in
            [("a", 1.0, 900.0), ("b", 0.01, 1.0), ("c", 100.0, 90_000.0)]
        {
            let body = json!({ "preset": preset.name, "time_scale": time_scale, "duration_s": duration_s });
            let plan = plan_with(body, seed, &presets);
            assert_eq!(plan.preset, preset.name);
            let mut seen = Vec::new();
            let body = plan.start_body(0.0).unwrap_or_default();
            let entries = body.get("scenarios").and_then(Value::as_array);
            let entries = entries.cloned().unwrap_or_default();
            assert_eq!(entries.len(), preset.scenarios.len(), "{}", preset.name);
            for (i, entry) in entries.into_iter().enumerate() {
                let planned = plan_entry(
                    scenarios::ALL,
                    &format!("/scenarios/{i}"),
                    entry,
                    &mut seen,
                    &[],
                );
                assert!(
                    planned.is_ok(),
                    "{} at {time_scale}: {planned:?}",
                    preset.name
                );
            }
        }
    }
}

#[test]
fn draws_are_within_their_ranges_and_have_two_digits() {
    for n in 0..300 {
        let plan = plan(
            json!({ "preset": "latency_regression_p50" }),
            &n.to_string(),
        );
        let latency = &plan.scenarios[0];
        let to = latency.params["latency_ms"]["ramp"]["to"]
            .as_f64()
            .expect("a number");
        assert!((120.0..=400.0).contains(&to) && to % 10.0 == 0.0, "{to}");
        assert!((30.0..=180.0).contains(&plan.onset_s));
        assert_eq!(latency.after_s, plan.onset_s);
        assert!(latency.params["latency_ms"]["seed"].is_u64());
    }
}

#[test]
fn a_control_comes_as_often_as_asked_for() {
    for (rate, low, high) in [(0.25, 2358, 2642), (0.0, 0, 0), (1.0, 10_000, 10_000)] {
        let presets = Presets::default();
        let (request, patient) = (request(json!({ "control_rate": rate })), patient());
        let pool = Pool::of(&request, &presets, &patient, &|_| true).expect("a pool");
        let controls = (0..10_000).filter(|n| {
            let drawn = pool.draw(&Streams::of(&n.to_string()));
            drawn.expect("a preset").is_control()
        });
        // The 99.9 % interval of a binomial count.
        let count = controls.count();
        assert!((low..=high).contains(&count), "{rate}: {count}");
    }
}

#[test]
fn the_pool_has_every_preset_with_its_probability() {
    let presets = Presets::default();
    let (request, patient) = (request(json!({})), patient());
    let pool = Pool::of(&request, &presets, &patient, &|_| true).expect("a pool");
    let members = pool.members();
    assert_eq!(members.len(), presets.all().len());
    assert!(members.is_sorted_by_key(|member| &member.preset));
    let sum: f64 = members.iter().map(|member| member.probability).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    let mut counts = BTreeMap::new();
    for n in 0..20_000 {
        let drawn = pool.draw(&Streams::of(&n.to_string())).expect("a preset");
        *counts.entry(drawn.name.clone()).or_insert(0.0) += 1.0;
    }
    for member in &members {
        let expected = member.probability * 20_000.0;
        let count = counts.get(&member.preset).copied().unwrap_or(0.0);
        // Five standard deviations, for so many presets at once.
        let most = 5.0 * (expected * (1.0 - member.probability)).sqrt();
        assert!(
            (count - expected).abs() < most,
            "{}: {count} of {expected}",
            member.preset
        );
    }
    // Those with the same causes share what one cause gets.
    let of = |name: &str| {
        members
            .iter()
            .find(|member| member.preset == name)
            .expect(name)
            .probability
    };
    assert!((of("readiness_never_true") - of("slow_start")).abs() < 1e-12);
    assert!(of("gc_churn") > 3.0 * of("readiness_never_true"));
}

#[test]
fn another_preset_moves_no_draw_of_the_others() {
    let own = with_own(json!({
        "name": "aaa", "difficulty": "easy", "description": "x", "tell_tale": "y",
        "scenarios": [{ "name": "cpu_burner" }, { "name": "crash" }],
        "expect": { "causes": ["cpu_burner", "crash"], "decision": "rollback" },
    }));
    let mut same = 0;
    for n in 0..200 {
        let seed = n.to_string();
        let (before, after) = (plan(json!({}), &seed), plan_with(json!({}), &seed, &own));
        if before.preset == after.preset {
            same += 1;
            assert_eq!(before.scenarios, after.scenarios);
            assert_eq!(before.traffic, after.traffic);
        }
        let body = json!({ "preset": "double_fault" });
        let (before, after) = (plan(body.clone(), &seed), plan_with(body, &seed, &own));
        assert_eq!(before, after);
    }
    assert!(same > 100, "{same}");
}

#[test]
fn what_the_service_lacks_is_not_drawn_and_is_refused_by_name() {
    let (presets, bare) = (Presets::default(), Patient::default());
    let pool = Pool::of(&request(json!({})), &presets, &bare, &|_| true).expect("a pool");
    let members = pool.members();
    let has = |name: &str| members.iter().any(|member| member.preset == name);
    assert!(has("cpu_regression") && has("memory_leak_plain"));
    for (name, need) in [
        ("cpu_throttled", Need::CpuLimit),
        ("oom_crash_loop", Need::MemoryLimit),
        ("dependency_brownout", Need::Upstreams),
        ("p99_one_route", Need::Routes),
    ] {
        assert!(!has(name), "{name}");
        let request = request(json!({ "preset": name }));
        let refused = draw(&request, "x", &presets, (&bare, &|_| true), &VOCABULARY);
        let preset = name.to_owned();
        assert_eq!(refused, Err(PlanError::Needs { preset, need }));
    }
    let refused = draw(
        &request(json!({ "preset": "cpu_regresion" })),
        "x",
        &presets,
        (&bare, &|_| true),
        &VOCABULARY,
    );
    let refused = refused.expect_err("unknown").to_string();
    assert!(
        refused.contains("did you mean \"cpu_regression\"?"),
        "{refused}"
    );
}

#[test]
fn a_share_of_the_limit_becomes_cores() {
    for n in 0..50 {
        let plan = plan(json!({ "preset": "cpu_throttled" }), &n.to_string());
        let to = plan.scenarios[0].params["cores"]["ramp"]["to"].as_f64();
        assert!(to.is_some_and(|to| (2.6..=3.4).contains(&to)), "{to:?}");
    }
}

#[test]
fn the_difficulty_narrows_the_pool() {
    for difficulty in ["easy", "medium", "hard"] {
        let plan = plan(json!({ "difficulty": difficulty }), "x");
        let names: Vec<_> = plan.pool.iter().map(|member| &member.preset).collect();
        let presets = Presets::default();
        let all = presets.all().iter();
        let expected = all.filter(|preset| json!(preset.difficulty) == difficulty);
        assert!(names.into_iter().eq(expected.map(|preset| &preset.name)));
    }
}

#[test]
fn the_time_scale_moves_all_times_but_those_of_the_request() {
    let body =
        |scale: f64| json!({ "preset": "double_fault", "time_scale": scale, "duration_s": 900 });
    let (one, tenth) = (plan(body(1.0), "s"), plan(body(0.1), "s"));
    assert_eq!(one.onset_s, tenth.onset_s);
    let rate = |plan: &Plan| plan.scenarios[0].params["leak_rate_mb"]["constant"].as_f64();
    assert!((rate(&tenth).expect("a rate") / rate(&one).expect("a rate") - 10.0).abs() < 1e-9);
    let after = |plan: &Plan| in_ms(plan.scenarios[1].after_s - plan.onset_s);
    assert_eq!((after(&one), after(&tenth)), (120.0, 12.0));
    let lasts = |plan: &Plan, i: usize| plan.scenarios[i].duration_s;
    assert_eq!((lasts(&one, 0), lasts(&one, 1)), (900.0, 780.0));
    assert_eq!((lasts(&tenth, 0), lasts(&tenth, 1)), (900.0, 888.0));
    // From the latest onset that could be drawn.
    assert_eq!((one.deadline_s, tenth.deadline_s), (1200.0, 1092.0));
    let from_birth = plan(json!({ "preset": "slow_start" }), "t");
    assert_eq!((from_birth.onset_s, from_birth.deadline_s), (0.0, 1200.0));
    let later = plan(json!({ "preset": "double_fault", "deadline_s": 5000 }), "s");
    assert_eq!(later.deadline_s, 5000.0);
    let sooner = plan(json!({ "preset": "double_fault", "deadline_s": 5 }), "s");
    assert_eq!(sooner.deadline_s, one.deadline_s);
}

#[test]
fn a_short_drill_has_every_fault_of_its_preset() {
    let short = plan(json!({ "preset": "double_fault", "duration_s": 2 }), "s");
    let later = &short.scenarios[1];
    assert_eq!(
        (in_ms(later.after_s - short.onset_s), later.duration_s),
        (1.0, 1.0)
    );
    let crash = plan(
        json!({ "preset": "crash_after_warmup", "duration_s": 10 }),
        "s",
    );
    assert_eq!(crash.scenarios[0].params["crash_delay"], 5);
    let own = plan(
        json!({ "preset": "partial_recovery", "time_scale": 0.01 }),
        "s",
    );
    assert_eq!(own.scenarios[0].duration_s, 3.0);
    let capped = plan(
        json!({ "preset": "partial_recovery", "duration_s": 60 }),
        "s",
    );
    assert_eq!(capped.scenarios[0].duration_s, 60.0);
}

#[test]
fn a_version_that_is_so_from_birth_has_no_onset() {
    let plan = plan(json!({ "preset": "bad_config_errors" }), "s");
    assert_eq!((plan.onset_s, plan.scenarios[0].after_s), (0.0, 0.0));
}

#[test]
fn the_canonical_form_is_sorted_and_survives_reading() {
    for n in 0..50 {
        let plan = plan(
            json!({ "control_rate": 0.3, "onset_s": [0.1, 0.3] }),
            &n.to_string(),
        );
        let text = plan.canonical();
        assert!(text.starts_with(r#"{"deadline_s":"#), "{text}");
        let read: Plan = serde_json::from_str(&text).expect("a plan");
        assert_eq!((read.canonical(), &read), (text, &plan));
        let salt = [7; 16];
        assert_eq!(read.commitment(&salt), plan.commitment(&salt));
        assert_ne!(plan.commitment(&salt), plan.commitment(&[8; 16]));
    }
}

#[test]
fn a_start_has_what_is_left() {
    let quiet = plan(json!({ "preset": "control_quiet" }), "s");
    let mut plan = plan(json!({ "preset": "partial_recovery" }), "s");
    plan.scenarios[0].after_s = 40.0;
    plan.scenarios[1].after_s = 40.0;
    let left = |elapsed_s: f64| {
        let body = plan.start_body(elapsed_s)?;
        assert_eq!(body["end"], "each");
        let entries = body["scenarios"].as_array()?.iter();
        let of = |entry: &Value, key: &str| entry[key].as_f64().expect("a number");
        let times = entries.map(|entry| (of(entry, "after"), of(entry, "duration")));
        Some(times.collect::<Vec<_>>())
    };
    assert_eq!(left(0.0), Some(vec![(40.0, 300.0), (40.0, 900.0)]));
    assert_eq!(left(100.0), Some(vec![(0.0, 240.0), (0.0, 840.0)]));
    assert_eq!(left(340.0), Some(vec![(0.0, 600.0)]));
    assert_eq!(left(940.0), None);
    assert_eq!(quiet.start_body(0.0), None);
}

#[test]
fn what_the_limits_refuse_is_not_drawn() {
    let (presets, patient) = (Presets::default(), patient());
    let has = |body: &Map<String, Value>, name: &str| {
        let entries = body["scenarios"].as_array().expect("a list");
        entries.iter().any(|entry| entry["name"] == name)
    };
    let few = |body| has(&body, "crash") || has(&body, "disk_io") && !has(&body, "cpu_burner");
    let few_of = request(json!({}));
    let pool = Pool::of(&few_of, &presets, &patient, &few).expect("a pool");
    let faults = pool.members().into_iter();
    let faults = faults.filter(|member| !member.expect.causes.is_empty());
    let faults: Vec<_> = faults.map(|member| member.preset).collect();
    let expected = [
        "crash_after_warmup",
        "crash_loop_on_boot",
        "log_storm",
        "read_amplification",
    ];
    assert_eq!(faults, expected);
    // A pool of controls alone would be no exam, where faults are asked for.
    let refused = Pool::of(&few_of, &presets, &patient, &|_| false).err();
    assert_eq!(refused, Some(PlanError::EmptyPool));
    let controls = request(json!({ "control_rate": 1 }));
    assert!(Pool::of(&controls, &presets, &patient, &|_| false).is_ok());
    // The longest that a fault may begin and last is what is asked for.
    let body = request(json!({ "onset_s": [5, 7], "duration_s": 60 }));
    let latency = presets
        .all()
        .iter()
        .find(|preset| preset.name == "latency_creep");
    let starts = starts_at_ends(latency.expect("a preset"), &body, &patient);
    let entry = &starts[0]["scenarios"][0];
    assert_eq!(
        (&entry["after"], &entry["duration"]),
        (&json!(7.0), &json!(60.0))
    );
}
