//! `abort_when`: measurements that end a session before it does more harm than intended.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::host::cgroup::Cgroup;
use crate::host::{memory_headroom_bytes, memory_limit_bytes};
use crate::input::{Fields, above};

const MIB: f64 = 1024.0 * 1024.0;

/// The measurements that end a session. By default none does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct AbortWhen {
    /// Less memory than this, in MiB, is available: under the container's limit or of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_available_below_mb: Option<f64>,
    /// The service's own `/health` has failed for this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_failing_for_s: Option<f64>,
    /// A scenario achieves more than this, in the unit of its status.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub achieved_above: BTreeMap<&'static str, f64>,
}

/// What was measured, as far as it could be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Measurements {
    pub memory_available_mb: Option<f64>,
    /// How long the probe has failed; none while it succeeds.
    pub probe_failing_for: Option<Duration>,
    /// What each scenario achieves.
    pub achieved: Vec<(&'static str, f64)>,
}

impl AbortWhen {
    /// Reads each measurement; `names` are those of all scenarios.
    pub(crate) fn read(fields: &mut Fields, names: &[&'static str]) -> Self {
        let about = "Ends the session when less memory than this is available in the container or on the machine.";
        let memory = fields
            .field("memory_available_below_mb", about)
            .unit("MiB")
            .optional()
            .number(above(0.0, 1e9));
        let about = "The service's own /health, asked twice a second, has failed for this long.";
        let probe = fields
            .field("probe_failing_for_s", about)
            .optional()
            .seconds(0.0..=86_400.0);
        let about = "A scenario achieves more than this, in the unit of its status.";
        let achieved_above = fields.object("achieved_above", about, |each| {
            let read = |name: &&'static str| {
                let most = each.field(
                    name,
                    "Ends the session when the scenario achieves more than this.",
                );
                Some((*name, most.optional().number(0.0..=1e12)?))
            };
            names.iter().filter_map(read).collect()
        });
        Self {
            memory_available_below_mb: memory,
            probe_failing_for_s: probe.map(|time| time.as_secs_f64()),
            achieved_above,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the conditions of `other`; of two figures for one measurement the stricter applies.
    pub(crate) fn join(&mut self, other: Self) {
        let stricter = |one: &mut Option<f64>, two: Option<f64>, of: fn(f64, f64) -> f64| {
            *one = one.take().into_iter().chain(two).reduce(of);
        };
        let (memory, probe) = (other.memory_available_below_mb, other.probe_failing_for_s);
        stricter(&mut self.memory_available_below_mb, memory, f64::max);
        stricter(&mut self.probe_failing_for_s, probe, f64::min);
        for (name, most) in other.achieved_above {
            let known = self.achieved_above.entry(name).or_insert(most);
            *known = known.min(most);
        }
    }

    /// Why the session must end, when it must.
    pub(crate) fn met(&self, measured: &Measurements) -> Option<String> {
        if let Some(least) = self.memory_available_below_mb
            && let Some(left) = measured.memory_available_mb
            && left < least
        {
            return Some(format!(
                "memory_available_below_mb: {left:.0} MiB are left, fewer than {least}"
            ));
        }
        let failing = measured.probe_failing_for.map(|time| time.as_secs_f64());
        if let Some(longest) = self.probe_failing_for_s
            && let Some(failing) = failing
            && failing >= longest
        {
            return Some(format!(
                "probe_failing_for_s: /health has failed for {failing:.1} s (limit {longest} s)"
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

/// Available memory in MiB; none where it cannot be read.
pub(crate) fn available_memory_mb(cgroup: &Cgroup) -> Option<f64> {
    // Without a known limit the headroom reads as 0.
    (memory_limit_bytes(cgroup) > 0).then(|| memory_headroom_bytes(cgroup) as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_is_met_beyond_its_figure_and_not_at_it() {
        let when = AbortWhen {
            memory_available_below_mb: Some(100.0),
            probe_failing_for_s: Some(2.0),
            achieved_above: BTreeMap::from([("a", 5.0)]),
        };
        let fine = Measurements {
            memory_available_mb: Some(100.0),
            probe_failing_for: Some(Duration::from_millis(1999)),
            achieved: vec![("a", 5.0), ("b", 9.0)],
        };
        assert_eq!(when.met(&fine), None);
        assert_eq!(when.met(&Measurements::default()), None);
        let worse = [
            Measurements {
                memory_available_mb: Some(99.0),
                ..fine.clone()
            },
            Measurements {
                probe_failing_for: Some(Duration::from_secs(2)),
                ..fine.clone()
            },
            Measurements {
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
    fn of_two_figures_for_one_measurement_the_stricter_applies() {
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
