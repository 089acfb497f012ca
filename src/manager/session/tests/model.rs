//! Random commands against a model.

use proptest::prelude::*;

use super::bench::{Act, Bench, SECOND, pass, run};
use crate::manager::report::StartReport;

#[derive(Debug, Clone)]
enum Step {
    StartSet(Vec<(char, bool)>, u64),
    StartOne(char, bool, u64),
    StopOne(char),
    StopAll,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(vec!['a', 'b', 'c']);
    let set = prop::sample::subsequence(vec!['a', 'b', 'c'], 1..=3).prop_flat_map(|names| {
        let goods = prop::collection::vec(any::<bool>(), names.len());
        (Just(names), goods).prop_map(|(names, goods)| names.into_iter().zip(goods).collect())
    });
    prop_oneof![
        (set, 0..4_u64).prop_map(|(set, s)| Step::StartSet(set, s)),
        (name(), any::<bool>(), 0..4_u64).prop_map(|(n, good, s)| Step::StartOne(n, good, s)),
        name().prop_map(Step::StopOne),
        Just(Step::StopAll),
        (1..4_u64).prop_map(Step::Pass),
    ]
}

/// What should run: each name with the second at which it expires.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    live: Vec<(char, Option<u64>)>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::StartSet(set, seconds) => {
                let end = (*seconds > 0).then(|| self.now + seconds);
                let good = set.iter().filter(|(_, good)| *good);
                self.live = good.map(|(name, _)| (*name, end)).collect();
            }
            Step::StartOne(name, good, seconds) => {
                self.live.retain(|(known, _)| known != name);
                if *good {
                    self.live
                        .push((*name, (*seconds > 0).then(|| self.now + seconds)));
                }
            }
            Step::StopOne(name) => self.live.retain(|(known, _)| known != name),
            Step::StopAll => self.live.clear(),
            Step::Pass(seconds) => {
                self.now += seconds;
                self.live
                    .retain(|(_, end)| end.is_none_or(|end| end > self.now));
            }
        }
    }
}

/// Returns the report of a start of which anything came up.
async fn carry_out(bench: &Bench, step: &Step) -> Option<StartReport> {
    let act = |good: bool| if good { Act::Well } else { Act::FailsToStart };
    let timed = |name: char, good: bool, seconds: u64| {
        // The duration ends a quarter before the model's full second.
        let mut run = run(name, act(good), seconds);
        run.duration = run.duration.map(|duration| duration - SECOND / 4);
        run
    };
    match step {
        Step::StartSet(set, seconds) => {
            let runs = set.iter().map(|(name, good)| timed(*name, *good, *seconds));
            return bench.start(runs.collect()).await.ok();
        }
        Step::StartOne(name, good, seconds) => {
            let run = timed(*name, *good, *seconds);
            return bench.start_one(run).await.ok();
        }
        Step::StopOne(name) => {
            let name = ["a", "b", "c"][*name as usize - 'a' as usize];
            let stopped = bench.sessions.stop_one(name, None).await;
            stopped.expect("an answer");
        }
        Step::StopAll => drop(bench.sessions.stop_all(None).await.expect("an answer")),
        Step::Pass(seconds) => pass(*seconds as f64).await,
    }
    None
}

impl Bench {
    fn assert_agrees(&self, model: &Model, after: &[Step]) {
        let live = model.live.iter();
        let live: Vec<String> = live.map(|(name, _)| name.to_string()).collect();
        assert_eq!(self.running(), live, "after {after:?}");
        self.assert_consistent();
    }
}

async fn play(steps: Vec<Step>) {
    let (bench, mut model) = (Bench::new(), Model::default());
    // Half a second apart from all deadlines.
    pass(0.5).await;
    for step in steps {
        carry_out(&bench, &step).await;
        model.apply(&step);
        bench.assert_agrees(&model, &[step]);
    }
}

/// Crowds of concurrent commands, with time between them.
async fn play_at_once(crowds: Vec<(Vec<Step>, u64)>) {
    let (bench, mut model) = (Bench::new(), Model::default());
    let mut newest = String::new();
    pass(0.5).await;
    for (mut steps, seconds) in crowds {
        steps.retain(|step| !matches!(step, Step::Pass(_)));
        let all = steps.iter().map(|step| carry_out(&bench, step));
        let reports = futures_util::future::join_all(all).await;
        for (step, report) in steps.iter().zip(reports) {
            model.apply(step);
            let Some(report) = report else { continue };
            // A set is a new session; a single start may join the live one.
            match step {
                Step::StartSet(..) => assert!(report.session_id > newest, "{step:?}"),
                _ => assert!(report.session_id >= newest, "{step:?}"),
            }
            newest = report.session_id;
        }
        bench.assert_agrees(&model, &steps);
        let later = Step::Pass(seconds);
        carry_out(&bench, &later).await;
        model.apply(&later);
        bench.assert_agrees(&model, &[later]);
    }
}

fn on_a_paused_clock(play: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(play);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_sequence_of_commands_leaves_what_the_model_says(steps in prop::collection::vec(step(), 0..20)) {
        on_a_paused_clock(play(steps));
    }

    #[test]
    fn concurrent_commands_are_carried_out_one_after_another(
        crowds in prop::collection::vec((prop::collection::vec(step(), 1..5), 0..3_u64), 0..8),
    ) {
        on_a_paused_clock(play_at_once(crowds));
    }
}
