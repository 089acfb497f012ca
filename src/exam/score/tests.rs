//! Marks of whole drills.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::exam::record::tests::{Story, plan, time};

/// A leak of 2 MiB a second that is effective from second 70 on, and what is answered when.
fn leak(answers: &[(f64, Value)]) -> Report {
    drill(&["memory_leaker"], answers)
}

fn drill(causes: &[&str], answers: &[(f64, Value)]) -> Report {
    let decision = if causes.is_empty() {
        "promote"
    } else {
        "rollback"
    };
    let mut story = Story::new(plan(causes, decision));
    for cause in causes {
        let id = story.run(cause, 70.0, 500.0);
        story.cleared(500.0, id, cause, "expired");
    }
    for (at, answer) in answers {
        story.answer(*at, answer.clone());
    }
    score(&story.closed(600.0, "finished"))
}

fn right() -> Value {
    json!({
        "detected": true, "decision": "rollback", "findings": [
            { "scenario": "memory_leaker", "since": time(70.0), "params": { "leak_rate_mb": 2 } },
        ],
    })
}

#[test]
fn a_perfect_answer_gets_one() {
    let report = leak(&[(90.0, right())]);
    assert_eq!(
        (report.total, report.detection.outcome),
        (Some(1.0), Outcome::Tp)
    );
    assert_eq!(report.detection.ttd_s, Some(20.0));
    assert_eq!(report.identification.exact, Some(true));
    assert_eq!(report.onset.score, Some(1.0));
    assert!(report.commitment_ok);
    // Neither slower than what is free, nor with a consequence named beside.
    let mut also = right();
    also["findings"]
        .as_array_mut()
        .expect("a list")
        .push(json!({ "scenario": "crash" }));
    assert_eq!(leak(&[(115.0, also)]).total, Some(1.0));
}

#[test]
fn five_minutes_late_and_twice_the_rate_gets_four_fifths() {
    let mut answer = right();
    answer["findings"][0]["params"]["leak_rate_mb"] = json!(4);
    let report = leak(&[(370.0, answer)]);
    let total = report.total.expect("a mark");
    assert!((total - 0.81).abs() < 0.01, "{total}");
    assert!((report.severity.score.expect("a mark") - 0.5).abs() < 0.01);
}

#[test]
fn a_good_release_that_is_rolled_back_gets_nothing() {
    let report = drill(&[], &[(90.0, right())]);
    assert_eq!(
        (report.total, report.detection.outcome),
        (Some(0.0), Outcome::Fp)
    );
}

#[test]
fn silence_is_not_an_answer() {
    let report = drill(&[], &[]);
    assert_eq!(
        (report.total, report.detection.outcome),
        (Some(0.0), Outcome::NoAnswer)
    );
    let report = leak(&[]);
    assert_eq!(
        (report.total, report.detection.outcome),
        (Some(0.0), Outcome::Fn)
    );
}

#[test]
fn a_control_that_is_promoted_gets_one() {
    let answer = json!({ "detected": false, "decision": "promote" });
    let report = drill(&[], &[(90.0, answer)]);
    assert_eq!(
        (report.total, report.detection.outcome),
        (Some(1.0), Outcome::Tn)
    );
    assert_eq!(report.identification.f1, Some(1.0));
}

#[test]
fn detection_without_a_name_gets_a_quarter_at_most() {
    let answer = json!({ "detected": true, "decision": "rollback" });
    assert_eq!(leak(&[(90.0, answer)]).total, Some(0.25));
}

#[test]
fn what_had_to_be_rolled_back_and_is_promoted_gets_nothing() {
    let mut answer = right();
    answer["decision"] = json!("promote");
    assert_eq!(leak(&[(90.0, answer)]).total, Some(0.0));
}

#[test]
fn an_answer_before_the_effect_starts_no_clock() {
    let report = leak(&[(30.0, right()), (200.0, right())]);
    assert!(report.detection.premature);
    assert_eq!(report.detection.ttd_s, Some(130.0));
    let early = leak(&[(30.0, right())]);
    assert_eq!((early.detection.ttd_s, early.speed), (None, None));
}

#[test]
fn the_last_answer_counts_and_what_was_taken_back_has_no_time() {
    let back = json!({ "detected": false, "decision": "promote" });
    let report = leak(&[(90.0, right()), (200.0, back)]);
    assert_eq!(report.detection.outcome, Outcome::Fn);
    assert_eq!((report.total, report.detection.ttd_s), (Some(0.0), None));
}

#[test]
fn a_drill_whose_fault_could_not_be_seen_has_no_mark() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    story.answer(90.0, right());
    let report = score(&story.closed(600.0, "finished"));
    assert_eq!(
        (report.total, report.detection.outcome),
        (None, Outcome::Void)
    );
    assert_eq!(report.severity.score, None);
}

#[test]
fn an_aborted_drill_has_no_mark() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    story.run("memory_leaker", 70.0, 500.0);
    story.answer(90.0, right());
    let report = score(&story.closed(600.0, "aborted"));
    assert_eq!(report.total, None);
}

#[test]
fn a_rollback_ends_the_fault_and_stops_the_clock() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    let id = story.run("memory_leaker", 70.0, 200.0);
    story.own(
        210.0,
        "drill_release_event",
        json!({ "what": "rolled_back", "body": {} }),
    );
    story.cleared(220.0, id, "memory_leaker", "shutdown");
    story.answer(90.0, right());
    let report = score(&story.closed(300.0, "rolled_back"));
    assert_eq!(report.mitigation.ttm_s, Some(150.0));
    assert_eq!(report.truth[0].cleared_by.as_deref(), Some("rolled_back"));
}

#[test]
fn a_fault_that_heals_by_itself_is_not_mitigated_and_still_counts() {
    let report = leak(&[(550.0, right())]);
    assert_eq!(report.mitigation.ttm_s, None);
    assert_eq!(report.detection.outcome, Outcome::Tp);
}

#[test]
fn of_two_causes_one_is_half_the_way() {
    let report = drill(&["memory_leaker", "network_latency"], &[(90.0, right())]);
    let id = &report.identification;
    assert_eq!((id.precision, id.recall), (Some(1.0), Some(0.5)));
    assert_eq!((id.ac_at["1"], id.ac_at["3"]), (Some(1.0), Some(0.5)));
}

/// Any answer, good or bad.
fn any_answer() -> impl Strategy<Value = Value> {
    let names = [
        "memory_leaker",
        "network_latency",
        "cpu_burner",
        "crash",
        "disk_io",
    ];
    let finding = (0..names.len(), 0.0..=1.0, 0.01..100.0_f64, 0..3_usize).prop_map(
        move |(name, sure, rate, role)| {
            let role = ["cause", "symptom", "benign"][role];
            json!({
                "scenario": names[name], "confidence": sure, "params": { "leak_rate_mb": rate },
                "role": role, "since": time(rate * 5.0),
            })
        },
    );
    let decisions = ["promote", "hold", "rollback", "restart", "none"];
    (any::<bool>(), 0..decisions.len(), prop::collection::vec(finding, 0..4)).prop_map(
        move |(detected, decision, findings)| {
            json!({ "detected": detected, "decision": decisions[decision], "findings": findings })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_part_is_a_share_and_no_order_of_findings_matters(
        answers in prop::collection::vec((1.0..599.0_f64, any_answer()), 0..4), causes in 0..3_usize,
    ) {
        let causes = &["memory_leaker", "network_latency"][..causes];
        let mut answers = answers;
        answers.sort_by(|a, b| a.0.total_cmp(&b.0));
        let report = drill(causes, &answers);
        let parts = [
            report.total, report.speed, report.severity.score, report.onset.score, report.decision.score,
            report.identification.f1, report.identification.brier, report.identification.precision,
        ];
        for part in parts.into_iter().flatten() {
            prop_assert!((0.0..=1.0).contains(&part), "{report:?}");
        }
        prop_assert!(!report.to_text().contains("NaN"));
        for (_, answer) in &mut answers {
            answer["findings"].as_array_mut().expect("a list").reverse();
        }
        // Of two findings of one scenario the surest counts; where both are as sure, either.
        let unique = answers.iter().all(|(_, answer)| {
            let findings = answer["findings"].as_array().expect("a list");
            let mut names: Vec<_> = findings.iter().map(|one| one["scenario"].as_str()).collect();
            names.sort_unstable();
            names.windows(2).all(|pair| pair[0] != pair[1])
        });
        if unique {
            prop_assert_eq!(drill(causes, &answers).total, report.total);
        }
    }

    #[test]
    fn a_better_part_never_makes_the_mark_worse(
        parts in prop::array::uniform4(0.0..=1.0_f64), more in 0.0..=1.0_f64, which in 0..4_usize,
    ) {
        let mark = |[decision, causes, severity, speed]: [f64; 4]| total(1.0, decision, causes, severity, speed);
        let mut better = parts;
        better[which] = better[which].max(more);
        prop_assert!(mark(better) >= mark(parts) - 1e-12);
        prop_assert!((0.0..=1.0 + 1e-12).contains(&mark(better)));
    }

    #[test]
    fn any_value_of_a_parameter_is_worth_a_share(truth in -1e6..1e6_f64, given in -1e6..1e6_f64) {
        for name in ["target_percent", "leak_rate_mb"] {
            let worth = severity::closeness(name, &truth.into(), &given.into());
            prop_assert!((0.0..=1.0).contains(&worth));
            prop_assert_eq!(severity::closeness(name, &truth.into(), &truth.into()), 1.0);
        }
        prop_assert_eq!(severity::closeness("mode", &"panic".into(), &given.into()), 0.0);
    }
}
