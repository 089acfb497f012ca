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
use crate::input::{FieldError, Fields, Resource, above};
use crate::plugin::{
    Active, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};
use crate::sync::Lock;

/// From this many percentage points below the target on, the reading has a shortfall.
const TOLERANCE_PERCENT: f64 = 1.0;
/// What the rest of the process may use, in percent of the limit.
const NOISE_PERCENT: f64 = 1.0;

/// Burns CPU.
#[derive(Debug)]
pub(super) struct CpuBurner {
    goal: Goal,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Goal {
    /// Of the CPU limit.
    Percent(f64),
    /// Absolute; may exceed the limit.
    Cores(f64),
}

impl Goal {
    /// The goal in cores under a CPU limit of `limit` cores.
    fn cores(self, limit: f64) -> f64 {
        match self {
            Self::Percent(percent) => limit * percent / 100.0,
            Self::Cores(cores) => cores,
        }
    }
}

impl Scenario for CpuBurner {
    const NAME: &'static str = "cpu_burner";
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
            .number(0.0..=100.0, 50.0);
        let cores = fields
            .field(
                "cores",
                "CPU cores to use, instead of target_percent; may exceed the limit.",
            )
            .unit("cores")
            .asks_for(Resource::CpuCores)
            .optional()
            .number(above(0.0, 1024.0));
        let goal = match cores {
            Some(cores) => {
                fields.withdraw("target_percent");
                Goal::Cores(cores)
            }
            None => Goal::Percent(percent),
        };
        Self { goal }
    }

    fn forecast(&self, context: PreflightContext<'_>) -> Map<String, Value> {
        let limit = context.cgroup.cpu_limit().cores;
        metrics([
            ("target_cores", self.goal.cores(limit).into()),
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
        Ok(match self.goal {
            Goal::Cores(cores) if cores > limit.cores => Some(format!(
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
        let cores = self.goal.cores(limit);
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
            goal: self.goal,
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
    goal: Goal,
    /// Over the last window.
    last: Lock<Option<CpuUse>>,
}

/// What the process used over a window of measurement.
#[derive(Debug, Clone, Copy)]
struct CpuUse {
    cores: f64,
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
        let (asked, achieved, unit) = match self.goal {
            Goal::Percent(asked) => (asked, percent, "percent of the CPU limit"),
            Goal::Cores(asked) => (asked, last.map_or(0.0, |last| last.cores), "cores"),
        };
        let shortfall = last.and_then(|last| {
            let asked_percent = match self.goal {
                Goal::Percent(percent) => percent,
                Goal::Cores(cores) => cores / last.limit * 100.0,
            };
            let cause = match last.throttled {
                true => Shortfall::Throttled,
                false => Shortfall::Contended,
            };
            (percent < asked_percent - TOLERANCE_PERCENT).then_some(cause)
        });
        Reading {
            asked,
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

    /// The rest of the process is measured too.
    fn noise(&self) -> f64 {
        match self.goal {
            Goal::Percent(_) => NOISE_PERCENT,
            Goal::Cores(_) => {
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
        assert_eq!((scenario.goal, effective.len()), (Goal::Cores(1.25), 1));
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
