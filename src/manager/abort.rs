//! `abort_when`: measures that end a session by themselves, before it does more harm than it was meant
//! to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::host::cgroup::Cgroup;
use crate::host::{memory_headroom_bytes, memory_limit_bytes};
use crate::input::{Fields, above};
use crate::plugin::Services;

const MIB: f64 = 1024.0 * 1024.0;

/// How often the health probe is asked while a session wants to know.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long it may take; Kubernetes gives a probe as much by default.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// When a session ends by itself. Nothing is watched by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct AbortWhen {
    /// Less memory than this, in MiB, can still be had: under the container's limit or of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_available_below_mb: Option<f64>,
    /// The service's own `/health` has failed for so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_failing_for_s: Option<f64>,
    /// A scenario achieves more than this, in the unit of its status.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub achieved_above: BTreeMap<&'static str, f64>,
}

/// What was measured, as far as it could be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Measured {
    /// Memory that can still be had, in MiB.
    pub memory_available_mb: Option<f64>,
    /// How long the probe has failed; none while it does not.
    pub probe_failing_for: Option<Duration>,
    /// What each scenario achieves.
    pub achieved: Vec<(&'static str, f64)>,
}

impl AbortWhen {
    /// Asks `fields` for each measure; `names` are those of all scenarios.
    pub(crate) fn read(fields: &mut Fields, names: &[&'static str]) -> Self {
        let about = "Less memory than this can still be had: under the container's limit or of the machine.";
        let memory_available_below_mb = fields
            .field("memory_available_below_mb", about)
            .unit("MiB")
            .optional()
            .number(above(0.0, 1e9));
        let about = "The service's own /health, asked twice a second, has failed for so long.";
        let probe_failing_for_s = fields
            .field("probe_failing_for_s", about)
            .unit("s")
            .optional()
            .number(0.0..=86_400.0);
        let about = "A scenario achieves more than this, in the unit of its status.";
        let achieved_above = fields.object("achieved_above", about, |each| {
            let read = |name: &&'static str| {
                let most = each.field(name, "The most that it may achieve.");
                Some((*name, most.optional().number(0.0..=1e12)?))
            };
            names.iter().filter_map(read).collect()
        });
        Self {
            memory_available_below_mb,
            probe_failing_for_s,
            achieved_above,
        }
    }

    /// Whether nothing is watched.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Watches what `other` watches too; of two figures for one measure the stricter counts.
    pub(crate) fn join(&mut self, other: Self) {
        let stricter = |one: Option<f64>, two: Option<f64>, of: fn(f64, f64) -> f64| {
            one.into_iter().chain(two).reduce(of)
        };
        let (memory, probe) = (other.memory_available_below_mb, other.probe_failing_for_s);
        self.memory_available_below_mb = stricter(self.memory_available_below_mb, memory, f64::max);
        self.probe_failing_for_s = stricter(self.probe_failing_for_s, probe, f64::min);
        for (name, most) in other.achieved_above {
            let known = self.achieved_above.entry(name).or_insert(most);
            *known = known.min(most);
        }
    }

    /// Why the session must end, when it must.
    pub(crate) fn met(&self, measured: &Measured) -> Option<String> {
        if let Some(least) = self.memory_available_below_mb
            && let Some(left) = measured.memory_available_mb
            && left < least
        {
            return Some(format!(
                "memory_available_below_mb: {left:.0} MiB are left, fewer than {least}"
            ));
        }
        if let Some(longest) = self.probe_failing_for_s
            && let Some(failing) = measured.probe_failing_for
            && failing.as_secs_f64() >= longest
        {
            return Some(format!(
                "probe_failing_for_s: /health has failed for {:.1} s, {longest} are allowed",
                failing.as_secs_f64()
            ));
        }
        let above = |(name, achieved): &(&'static str, f64)| {
            let most = *self.achieved_above.get(name)?;
            (*achieved > most)
                .then(|| format!("achieved_above: {name} achieves {achieved:.3}, more than {most}"))
        };
        measured.achieved.iter().find_map(above)
    }
}

/// Memory that can still be had, in MiB; none where that cannot be read.
pub(crate) fn available_memory_mb(cgroup: &Cgroup) -> Option<f64> {
    // Without a known limit the headroom is told as nothing.
    (memory_limit_bytes(cgroup) > 0).then(|| memory_headroom_bytes(cgroup) as f64 / MIB)
}

/// Asks the service's own health probe again and again until it is dropped.
#[derive(Debug)]
pub(crate) struct ProbeWatch {
    // A std mutex: held for an assignment.
    failing_since: Arc<Mutex<Option<Instant>>>,
    task: JoinHandle<()>,
}

impl ProbeWatch {
    /// Begins to ask.
    pub(crate) fn begin(services: Arc<Services>) -> Self {
        let failing_since = Arc::new(Mutex::new(None));
        let told = Arc::clone(&failing_since);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(PROBE_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let asked = Instant::now();
                let answer = tokio::time::timeout(PROBE_LIMIT, (services.probe_health)()).await;
                let mut since = told.lock().unwrap_or_else(PoisonError::into_inner);
                *since = match answer {
                    Ok(true) => None,
                    Ok(false) | Err(_) => since.or(Some(asked)),
                };
            }
        });
        Self {
            failing_since,
            task,
        }
    }

    /// How long the probe has failed; none while it does not.
    pub(crate) fn failing_for(&self) -> Option<Duration> {
        let since = self.failing_since.lock();
        let since = *since.unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }
}

impl Drop for ProbeWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measure_is_met_beyond_its_figure_and_not_at_it() {
        let when = AbortWhen {
            memory_available_below_mb: Some(100.0),
            probe_failing_for_s: Some(2.0),
            achieved_above: BTreeMap::from([("a", 5.0)]),
        };
        let fine = Measured {
            memory_available_mb: Some(100.0),
            probe_failing_for: Some(Duration::from_millis(1999)),
            achieved: vec![("a", 5.0), ("b", 9.0)],
        };
        assert_eq!(when.met(&fine), None);
        assert_eq!(when.met(&Measured::default()), None);
        let worse = [
            Measured {
                memory_available_mb: Some(99.0),
                ..fine.clone()
            },
            Measured {
                probe_failing_for: Some(Duration::from_secs(2)),
                ..fine.clone()
            },
            Measured {
                achieved: vec![("a", 5.1)],
                ..fine.clone()
            },
        ];
        let names = [
            "memory_available_below_mb: 99",
            "probe_failing_for_s: /health",
            "achieved_above: a achieves 5.1",
        ];
        for (measured, name) in worse.iter().zip(names) {
            let why = when.met(measured).expect("met");
            assert!(why.starts_with(name), "{why}");
            assert_eq!(AbortWhen::default().met(measured), None);
        }
    }

    #[test]
    fn of_two_figures_for_one_measure_the_stricter_counts() {
        let mut one = AbortWhen {
            memory_available_below_mb: Some(100.0),
            probe_failing_for_s: None,
            achieved_above: BTreeMap::from([("a", 5.0)]),
        };
        one.join(AbortWhen {
            memory_available_below_mb: Some(200.0),
            probe_failing_for_s: Some(3.0),
            achieved_above: BTreeMap::from([("a", 7.0), ("b", 1.0)]),
        });
        let both = AbortWhen {
            memory_available_below_mb: Some(200.0),
            probe_failing_for_s: Some(3.0),
            achieved_above: BTreeMap::from([("a", 5.0), ("b", 1.0)]),
        };
        assert_eq!(one, both);
    }
}
