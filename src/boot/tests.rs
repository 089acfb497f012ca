//! What a profile may hold, and when it ends the process.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::input::json::arbitrary;
use crate::input::{FieldError, Fields};
use crate::scenarios;

const KEYS: &[&str] = &[
    "scenarios",
    "name",
    "params",
    "duration",
    "after",
    "after_requests",
    "when_ready",
    "start_delay",
    "ready_after",
    "never_ready",
    "fail",
    "listening",
    "exit_code",
    "message",
    "hang",
    "crash_loop",
    "boots",
];

/// Profiles that are nearly valid: any object, with entries that are nearly valid.
fn any_profile() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let texts = ["health_check", "dependency", "crash"];
    let run = prop::sample::select(texts.to_vec()).prop_flat_map(move |name| {
        let extra = arbitrary::object(&["after", "after_requests", "when_ready", "duration"], &[]);
        (
            Just(name),
            prop_oneof![3 => Just(serde_json::Map::new()), 1 => extra],
        )
    });
    let run = run.prop_map(|(name, mut run)| {
        run.insert("name".to_owned(), name.into());
        Value::Object(run)
    });
    let any = arbitrary::object(KEYS, &texts);
    let good = prop_oneof![
        Just(json!({})),
        (0..100_u32).prop_map(|s| json!({ "ready_after": s, "crash_loop": { "after": s } })),
        (0..100_u32).prop_map(|s| json!({ "fail": { "after": s, "listening": true } })),
    ];
    (
        good,
        prop::collection::vec(run, 0..3),
        prop_oneof![Just(serde_json::Map::new()), any.boxed()],
    )
        .prop_map(|(good, runs, any)| {
            let mut profile = good.as_object().cloned().unwrap_or_default();
            profile.insert("scenarios".to_owned(), runs.into());
            profile.extend(any);
            profile
        })
}

proptest! {
    #[test]
    fn any_profile_is_refused_with_pointers_or_reads_back_as_it_is_effective(given in any_profile()) {
        let effective = |given| {
            let mut fields = Fields::new("/Boot", given);
            BootProfile::read(&mut fields, scenarios::ALL);
            fields.finish()
        };
        match effective(given) {
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                prop_assert!(errors.iter().all(|error| error.pointer.starts_with("/Boot")));
            }
            Ok(taken) => prop_assert_eq!(effective(taken.clone()), Ok(taken)),
        }
    }
}

fn read(profile: Value) -> Result<BootProfile, Vec<FieldError>> {
    let Value::Object(given) = profile else {
        panic!("the test gives an object")
    };
    let mut fields = Fields::new("/Boot", given);
    let boot = BootProfile::read(&mut fields, scenarios::ALL);
    fields.finish().map(|_| boot)
}

fn bad_members(profile: Value) -> Vec<String> {
    let errors = read(profile).expect_err("a bad profile");
    errors.into_iter().map(|error| error.pointer).collect()
}

#[test]
fn an_empty_profile_is_a_good_version() {
    assert_eq!(read(json!({})), Ok(BootProfile::default()));
    let sequence = BootSequence {
        profile: BootProfile::default(),
        began: Instant::now(),
        crashing_boot: None,
        count_file: "data/count".into(),
    };
    assert!(sequence.is_ready_at_once());
}

#[test]
fn every_error_of_a_profile_has_a_pointer() {
    let profile = json!({
        "scenarios": [
            { "name": "no_such", "after": -1 },
            { "name": "cpu_burner", "params": { "target_percent": 101 }, "when_ready": "yes" },
            { "name": "cpu_burner", "soon": true },
            5,
        ],
        "start_delay": "long",
        "fail": { "exit_code": 256, "listening": 1, "message": "" },
        "crash_loop": { "boots": 0, "after": 0, "sleep": 1 },
        "colour": "red",
    });
    let mut found = bad_members(profile);
    found.sort();
    let expected = [
        "/Boot/colour",
        "/Boot/crash_loop/boots",
        "/Boot/crash_loop/sleep",
        "/Boot/fail/exit_code",
        "/Boot/fail/listening",
        "/Boot/fail/message",
        "/Boot/scenarios/0/after",
        "/Boot/scenarios/0/name",
        "/Boot/scenarios/1/params/target_percent",
        "/Boot/scenarios/1/when_ready",
        "/Boot/scenarios/2/name",
        "/Boot/scenarios/2/soon",
        "/Boot/scenarios/3",
        "/Boot/start_delay",
    ];
    assert_eq!(found, expected);
}

#[test]
fn contradictions_are_refused() {
    for (profile, at) in [
        (json!({ "hang": true, "ready_after": 1 }), "/Boot/hang"),
        (
            json!({ "never_ready": true, "ready_after": 1 }),
            "/Boot/ready_after",
        ),
        (
            json!({ "fail": {}, "never_ready": true }),
            "/Boot/never_ready",
        ),
        (json!({ "fail": {}, "start_delay": 1 }), "/Boot/start_delay"),
        (
            json!({ "never_ready": true,
                    "scenarios": [{ "name": "crash", "when_ready": true }] }),
            "/Boot/scenarios/0/when_ready",
        ),
        (
            json!({ "fail": { "listening": true, "after": 4 }, "start_delay": 5 }),
            "/Boot/fail/after",
        ),
        (json!({ "fail": {}, "crash_loop": {} }), "/Boot/crash_loop"),
        (
            json!({ "fail": { "listening": true, "after": 4 }, "crash_loop": { "after": 5 } }),
            "/Boot/crash_loop",
        ),
    ] {
        assert_eq!(bad_members(profile.clone()), [at], "{profile}");
    }
    let good = json!({ "fail": { "listening": true }, "never_ready": true, "start_delay": 1 });
    assert!(read(good).is_ok());
    let other_code = json!({ "fail": { "after": 5 }, "crash_loop": { "after": 5 } });
    assert!(read(other_code).is_ok());
}

#[test]
fn a_run_keeps_its_parameters_and_its_onset() {
    let boot = read(json!({ "scenarios": [
        { "name": "network_latency", "params": { "latency_ms": 7 }, "duration": 2 },
        { "name": "crash", "after": 1.5, "after_requests": 10, "when_ready": true },
    ] }))
    .expect("good");
    let [first, later] = &boot.scenarios[..] else {
        panic!("two scenarios")
    };
    assert!(first.onset.is_at_once() && !later.onset.is_at_once());
    let planned = first.plan(scenarios::ALL).expect("it was checked");
    assert_eq!(planned.plan.params["latency_ms"], 7);
    assert_eq!(planned.duration, Some(Duration::from_secs(2)));
    let expected = profile::Onset {
        after: Duration::from_millis(1500),
        after_requests: 10,
        when_ready: true,
    };
    assert_eq!(later.onset, expected);
}

fn begin(profile: Value) -> (tempfile::TempDir, BootSequence) {
    let folder = tempfile::tempdir().expect("a folder");
    let profile = read(profile).expect("a good profile");
    let sequence = BootSequence::begin(profile, folder.path().join("count")).expect("a count");
    (folder, sequence)
}

#[tokio::test(start_paused = true)]
async fn the_first_of_two_ends_wins_over_a_later_start() {
    let both = json!({ "start_delay": 9, "fail": { "listening": true, "after": 20, "exit_code": 2 },
                       "crash_loop": { "after": 5, "exit_code": 3 } });
    let (_folder, sequence) = begin(both);
    let end = sequence.before_listening().await.expect("it crashes first");
    assert_eq!(end.exit_code, 3);
    assert_eq!(sequence.began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_listening_counts_from_the_start_of_the_process() {
    let profile = json!({ "start_delay": 9, "fail": { "listening": true, "after": 20 } });
    let (_folder, sequence) = begin(profile);
    assert_eq!(sequence.before_listening().await, None);
    assert_eq!(sequence.began.elapsed().as_secs(), 9);
    let end = sequence.while_listening().await;
    assert_eq!((end.exit_code, end.message.as_str()), (1, FATAL));
    assert_eq!(sequence.began.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn an_onset_waits_for_all_of_its_conditions() {
    let (readiness, arrivals) = (Readiness::default(), Arrivals::default());
    let began = Instant::now();
    let onset = profile::Onset {
        after: Duration::from_secs(3),
        after_requests: 0,
        when_ready: true,
    };
    let ready_later = async {
        sleep_until(began + Duration::from_secs(10)).await;
        readiness.begin();
    };
    tokio::join!(onset.due(began, &readiness, &arrivals), ready_later);
    // From the time it was ready, not from the start of the process.
    assert_eq!(began.elapsed().as_secs(), 13);
    let waits_for_one = profile::Onset {
        after_requests: 1,
        ..profile::Onset::default()
    };
    let due = waits_for_one.due(began, &readiness, &arrivals);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), due)
            .await
            .is_err()
    );
}
