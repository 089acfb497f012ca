//! `cpu_burner`: holds the process's CPU use at a share of its limit.
//!
//! Two loops. Each burner thread keeps to a cumulative [`schedule`] on its own CPU clock, in slots of ten milliseconds,
//! so that it makes up for late wake-ups and preemptions. The [`regulator`] decides several times a second how much the
//! burners are granted: the target minus what the rest of the process uses.
//!
//! The threads have the priority of any other, one for each CPU of the limit: beside other load they get the target or
//! their fair share of the machine, whichever is less. A burn slows down the service as one of its own would; the
//! control thread keeps answering (see `host::turns`).

mod burners;
mod contention;
mod regulator;
mod schedule;

use std::sync::Arc;

use serde_json::{Map, Value};

use self::burners::Burners;
use self::regulator::regulate;
use super::metrics;
use crate::host::cgroup::CpuLimitSource;
use crate::host::online_cpus;
use crate::input::{FieldError, Fields, Resource, Shape, above};
use crate::plugin::shaped::Shaped;
use crate::plugin::{
    Active, Group, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};
use crate::sync::Lock;

/// From this many percentage points below the target on, the reading has a shortfall.
const TOLERANCE_PERCENT: f64 = 1.0;
/// The same as a share of how far the target has moved meanwhile: a thread off duty takes up to a quarter of a second to
/// notice.
const TOLERANCE_OF_MOVE: f64 = 0.25;
/// What the rest of the process may use, in percent of the limit.
const NOISE_PERCENT: f64 = 1.0;

/// Burns CPU.
#[derive(Debug)]
pub(super) struct CpuBurner {
    unit: GoalUnit,
    goal: Shape,
}

/// What the goal is given in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum GoalUnit {
    /// Percent of the CPU limit.
    Percent,
    /// Absolute; may exceed the limit.
    Cores,
}

impl GoalUnit {
    /// A goal in cores under a CPU limit of `limit` cores.
    fn cores(self, goal: f64, limit: f64) -> f64 {
        match self {
            Self::Percent => limit * goal / 100.0,
            Self::Cores => goal,
        }
    }

    /// A goal in percent of a CPU limit of `limit` cores.
    fn percent(self, goal: f64, limit: f64) -> f64 {
        match self {
            Self::Percent => goal,
            Self::Cores => goal / limit * 100.0,
        }
    }
}

impl Scenario for CpuBurner {
    const NAME: &'static str = "cpu_burner";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Increases CPU usage to specified percentage";
    const EXAMPLE: &'static str = r#"{"target_percent": 70}"#;

    fn read(fields: &mut Fields) -> Self {
        fields.either("target_percent", "cores");
        let percent = fields
            .field(
                "target_percent",
                "Share of the CPU limit that the whole process shall use.",
            )
            .unit("percent of the CPU limit")
            .asks_for(Resource::CpuPercent)
            .shape(0.0..=100.0, 50.0);
        let cores = fields
            .field(
                "cores",
                "CPU cores to use, instead of target_percent; may exceed the limit.",
            )
            .unit("cores")
            .asks_for(Resource::CpuCores)
            .optional()
            .shape(above(0.0, 1024.0));
        let (unit, goal) = match cores {
            Some(cores) => {
                fields.withdraw("target_percent");
                (GoalUnit::Cores, cores)
            }
            None => (GoalUnit::Percent, percent),
        };
        Self { unit, goal }
    }

    fn forecast(&self, context: PreflightContext<'_>) -> Map<String, Value> {
        let limit = context.cgroup.cpu_limit().cores;
        metrics([
            (
                "target_cores",
                self.unit.cores(self.goal.largest(), limit).into(),
            ),
            ("limit_cores", limit.into()),
        ])
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let limit = context.cgroup.cpu_limit();
        let by = match limit.source {
            CpuLimitSource::Quota => "the CPU limit is",
            CpuLimitSource::Cpuset => "the process may run on",
            CpuLimitSource::Online => "the machine has",
        };
        let cores = self.goal.largest();
        Ok(match self.unit {
            GoalUnit::Cores if cores > limit.cores => Some(format!(
                "{cores} cores cannot be burnt: {by} {} cores",
                limit.cores
            )),
            _ => None,
        })
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let burners = Burners::new(online_cpus(), cx.lived());
        // Before the threads start, so that none finds itself off duty and sleeps through the first moments.
        let limit = cx.cgroup().cpu_limit().cores;
        let goal = Shaped::begin(self.goal, cx.lived());
        let cores = self.unit.cores(goal.now(), limit);
        burners.spread(cores, burners.threads_for(cores, limit));
        let mut threads = cx.threads();
        for index in 0..burners.count() {
            let burners = Arc::clone(&burners);
            threads.spawn(&format!("worker-{index}"), move |stop| {
                burners.burn(index, stop);
                Ok(())
            })?;
        }
        let probe = Arc::new(CpuProbe {
            unit: self.unit,
            goal,
            last: Lock::default(),
        });
        let published = Arc::clone(&probe);
        let stop = cx.stop.clone();
        let body = async move {
            let exit = tokio::select! {
                exit = threads.run_until(stop) => exit,
                never = regulate(cx.cgroup(), cx.lived(), &burners, &published) => match never {},
            };
            published.publish(None);
            exit
        };
        Ok(Active::new(probe, body))
    }
}

#[derive(Debug)]
struct CpuProbe {
    unit: GoalUnit,
    goal: Shaped,
    /// Over the last window.
    last: Lock<Option<CpuUse>>,
}

/// What the process used over a window of measurement.
#[derive(Debug, Clone, Copy)]
struct CpuUse {
    cores: f64,
    /// The mean of what was asked, and how far that went down or up, in the unit of the goal.
    asked: f64,
    moved: f64,
    limit: f64,
    throttled: bool,
}

impl CpuProbe {
    fn publish(&self, last: Option<CpuUse>) {
        *self.last.lock() = last;
    }
}

impl Probe for CpuProbe {
    fn read(&self) -> Reading {
        let last = *self.last.lock();
        let percent = last.map_or(0.0, |last| last.cores / last.limit * 100.0);
        let (achieved, unit) = match self.unit {
            GoalUnit::Percent => (percent, "percent of the CPU limit"),
            GoalUnit::Cores => (last.map_or(0.0, |last| last.cores), "cores"),
        };
        let shortfall = last.and_then(|last| {
            let asked = self.unit.percent(last.asked, last.limit);
            let moved = self.unit.percent(last.moved, last.limit);
            let cause = match last.throttled {
                true => Shortfall::Throttled,
                false => Shortfall::Contended,
            };
            let tolerance = TOLERANCE_PERCENT + moved * TOLERANCE_OF_MOVE;
            (percent < asked - tolerance).then_some(cause)
        });
        Reading {
            asked: self.goal.now(),
            achieved: last.map(|_| achieved),
            unit,
            shortfall,
            metrics: metrics([
                (
                    "current_cpu_percent",
                    ((percent * 100.0).round() / 100.0).into(),
                ),
                ("limit_cores", last.map(|last| last.limit).into()),
            ]),
        }
    }

    fn target(&self) -> Option<f64> {
        self.goal.peak()
    }

    /// The rest of the process is measured too.
    fn noise(&self) -> f64 {
        match self.unit {
            GoalUnit::Percent => NOISE_PERCENT,
            GoalUnit::Cores => {
                let limit = self.last.lock().map_or(1.0, |last| last.limit);
                limit * NOISE_PERCENT / 100.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, read, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<CpuBurner>(json!({ "target_percent": 50 }));
    }

    #[test]
    fn percent_and_cores_exclude_each_other() {
        let (scenario, effective) = read::<CpuBurner>(json!({ "cores": 1.25 })).expect("good");
        assert_eq!((scenario.unit, effective.len()), (GoalUnit::Cores, 1));
        assert_eq!(scenario.goal, Shape::constant(1.25));
        let both = json!({ "cores": 1, "target_percent": 5 });
        let errors = read::<CpuBurner>(both).expect_err("a clash");
        assert_eq!(errors[0].pointer, "/cores");
    }

    #[tokio::test]
    async fn a_target_of_nothing_or_next_to_nothing_starts_and_stops() {
        starts_and_stops::<CpuBurner>(json!({ "cores": 1e-9 })).await;
        starts_and_stops::<CpuBurner>(json!({ "target_percent": 0 })).await;
    }
}
