//! The limits that an operator sets on what a request may ask for.
//!
//! A parameter names the [`Resource`] that it asks for where it is read (`Field::asks_for`), and its range ends at the
//! limit: validation, default, message and schema follow. No other code compares figures, and a new scenario is limited by
//! naming what it asks for.

use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::input::ceilings::{Ceilings, Resource};
use crate::input::{Fields, above, in_ms};

/// The longest `duration` in seconds: a year.
pub(crate) const LONGEST_DURATION_S: f64 = 31_536_000.0;

const MIB: f64 = 1024.0 * 1024.0;

/// A key of `Limits`.
struct Key {
    of: Resource,
    name: &'static str,
    about: &'static str,
    unit: &'static str,
    /// The least value of the parameters that ask for it, below which no value would be left; none is anything above 0.
    least: Option<f64>,
    largest: f64,
}

const fn key(
    of: Resource,
    name: &'static str,
    unit: &'static str,
    largest: f64,
    about: &'static str,
) -> Key {
    Key {
        of,
        name,
        about,
        unit,
        least: None,
        largest,
    }
}

/// A key of what comes in whole units.
const fn counted(key: Key) -> Key {
    Key {
        least: Some(1.0),
        ..key
    }
}

const PERCENT_OF_CPU: &str = "percent of the CPU limit";
const PERCENT_OF_MEMORY: &str = "percent of the memory limit";

#[rustfmt::skip]
const KEYS: [Key; 14] = [
    key(Resource::CpuPercent, "CpuPercent", PERCENT_OF_CPU, 102_400.0,
        "The most CPU that a request may ask for, in percent of the CPU limit."),
    key(Resource::CpuCores, "CpuCores", "cores", 1024.0, "The same in cores."),
    counted(key(Resource::MemoryMb, "MemoryMb", "MiB", 1_048_576.0,
        "The most memory that a request may ask for.")),
    key(Resource::MemoryPercent, "MemoryPercent", PERCENT_OF_MEMORY, 1000.0,
        "The same in percent of the memory limit."),
    key(Resource::DiskMbPerSecond, "DiskMbPerSecond", "MiB/s", 100_000.0,
        "The most that may be written each second."),
    key(Resource::TasksPerSecond, "TasksPerSecond", "tasks/s", 1_000_000.0,
        "The most tasks that may be created each second."),
    counted(key(Resource::Tasks, "Tasks", "tasks", 1_000_000_000.0,
        "The most tasks that there may be in all.")),
    key(Resource::LogLinesPerSecond, "LogLinesPerSecond", "lines/s", 100_000.0,
        "The most lines that may be added to the log each second."),
    key(Resource::DiskMb, "DiskMb", "MiB", 16_777_216.0,
        "The most space on disk that a request may ask for."),
    counted(key(Resource::Descriptors, "Descriptors", "descriptors", 1_000_000.0,
        "The most file descriptors that may be leaked in all.")),
    counted(key(Resource::Threads, "Threads", "threads", 1_000_000.0,
        "The most threads that may be leaked in all.")),
    counted(key(Resource::Series, "Series", "series", 100_000.0,
        "The most series that may be added to the service's metrics.")),
    key(Resource::LatencyMs, "LatencyMs", "ms", 600_000.0,
        "The longest delay that may be put on a request."),
    key(Resource::DurationS, "MaxDuration", "s", LONGEST_DURATION_S,
        "The longest that a run may last; none may then last until stopped."),
];

/// What the operator allows; nothing is limited by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Limits {
    most: Vec<(Resource, f64)>,
    /// The duration in seconds of a start that gives none; none means until stopped.
    pub default_duration_s: Option<f64>,
    /// How many scenarios may run at once.
    pub concurrent_scenarios: Option<usize>,
    /// The scenarios that may be started; none means all.
    pub scenarios: Option<Vec<&'static str>>,
}

impl Limits {
    /// Reads the section `Limits` of the configuration; `names` are those of all scenarios.
    pub(crate) fn read(fields: &mut Fields, names: &[&'static str]) -> Self {
        let mut most = Vec::new();
        for key in &KEYS {
            let field = fields.field(key.name, key.about).unit(key.unit).optional();
            let positive = above(0.0, key.largest);
            let value = match (key.of, key.least) {
                (Resource::DurationS, _) => field.seconds(positive).map(|time| time.as_secs_f64()),
                (Resource::LatencyMs, _) => field.milliseconds(positive).map(in_ms),
                (_, Some(least)) => field.number(least..=key.largest),
                (_, None) => field.number(positive),
            };
            most.extend(value.map(|value| (key.of, value)));
        }
        let about = "The duration of a start that gives none; MaxDuration where that is set and this is not.";
        let default_duration = fields.field("DefaultDuration", about).optional();
        let default_duration_s = default_duration
            .seconds(above(0.0, LONGEST_DURATION_S))
            .map(|time| time.as_secs_f64());
        let longest = most.iter().find(|(of, _)| *of == Resource::DurationS);
        let longest = longest.map(|(_, seconds)| *seconds);
        if let (Some(default), Some(longest)) = (default_duration_s, longest)
            && default > longest
        {
            let detail = format!("must be at most MaxDuration, which is {longest}");
            fields.reject("DefaultDuration", detail);
        }
        let concurrent_scenarios = fields
            .field("ConcurrentScenarios", "How many scenarios may run at once.")
            .optional()
            .integer(1..=1000);
        let known: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
        let scenarios = fields
            .field("Scenarios", "The scenarios that may be started.")
            .optional()
            .any_of(&known);
        Self {
            most,
            default_duration_s: default_duration_s.or(longest),
            concurrent_scenarios: concurrent_scenarios.map(|most| most as usize),
            scenarios,
        }
    }

    /// Whether the scenario `name` may be started.
    pub(crate) fn allows(&self, name: &str) -> bool {
        let listed = self.scenarios.as_ref();
        listed.is_none_or(|listed| listed.contains(&name))
    }

    /// What a request may ask for now, under the container's own limits as they are now.
    pub(crate) fn ceilings(&self, cgroup: &Cgroup) -> Ceilings {
        use Resource as R;
        let (mut own, mut converted) = (Vec::new(), Vec::new());
        for (of, most) in &self.most {
            own.push((*of, *most, name_of(*of)));
            // What may be asked for in two units is limited in both.
            let (other, factor) = match of {
                R::CpuPercent => (R::CpuCores, cgroup.cpu_limit().cores / 100.0),
                R::CpuCores => (R::CpuPercent, 100.0 / cgroup.cpu_limit().cores),
                R::MemoryPercent => (R::MemoryMb, memory_limit_mb(cgroup) / 100.0),
                R::MemoryMb => (R::MemoryPercent, 100.0 / memory_limit_mb(cgroup)),
                R::DiskMbPerSecond
                | R::TasksPerSecond
                | R::Tasks
                | R::LogLinesPerSecond
                | R::DiskMb
                | R::Descriptors
                | R::Threads
                | R::Series
                | R::LatencyMs
                | R::DurationS => continue,
            };
            converted.push((other, most * factor, name_of(*of)));
        }
        Ceilings::new(own).with_converted(converted)
    }
}

fn memory_limit_mb(cgroup: &Cgroup) -> f64 {
    memory_limit_bytes(cgroup) as f64 / MIB
}

fn name_of(of: Resource) -> &'static str {
    KEYS.iter()
        .find(|key| key.of == of)
        .map_or("", |key| key.name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits(value: Value) -> Result<Limits, Vec<String>> {
        let Value::Object(given) = value else {
            panic!("the test gives an object")
        };
        let mut fields = Fields::new("/Limits", given);
        let limits = Limits::read(&mut fields, &["a", "b"]);
        let read = fields.finish().map(|_| limits);
        read.map_err(|errors| errors.into_iter().map(|error| error.pointer).collect())
    }

    #[test]
    fn nothing_is_limited_by_default() {
        let limits = limits(json!({})).expect("good");
        assert_eq!(limits, Limits::default());
        assert!(limits.allows("a"));
        assert_eq!(
            limits.ceilings(&Cgroup::at("/no", "/no")),
            Ceilings::default()
        );
    }

    #[test]
    fn a_ceiling_holds_in_both_units_and_the_lower_one_counts() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("cpu.max"), "50000 100000\n").expect("a file");
        std::fs::write(root.path().join("memory.max"), (200_u64 << 20).to_string())
            .expect("a file");
        let cgroup = Cgroup::at(root.path(), root.path());
        let limits = limits(json!({ "CpuPercent": 40, "CpuCores": 0.1, "MemoryPercent": 50 }));
        let ceilings = limits.expect("good").ceilings(&cgroup);
        let of = |resource| ceilings.of(resource).map(|c| (c.most, c.key));
        assert_eq!(of(Resource::CpuPercent), Some((20.0, "CpuCores")));
        assert_eq!(of(Resource::CpuCores), Some((0.1, "CpuCores")));
        assert_eq!(of(Resource::MemoryMb), Some((100.0, "MemoryPercent")));
        assert_eq!(of(Resource::LatencyMs), None);
    }

    #[test]
    fn a_longest_duration_is_the_default_one_too() {
        let both = limits(json!({ "MaxDuration": 60, "DefaultDuration": 10 })).expect("good");
        assert_eq!(both.default_duration_s, Some(10.0));
        let one = limits(json!({ "MaxDuration": 60 })).expect("good");
        assert_eq!(one.default_duration_s, Some(60.0));
        let beyond = limits(json!({ "MaxDuration": 60, "DefaultDuration": 61 }));
        assert_eq!(beyond, Err(vec!["/Limits/DefaultDuration".to_owned()]));
    }

    #[test]
    fn a_limit_leaves_each_parameter_its_least_value() {
        let below = limits(json!({ "MemoryMb": 0.5 }));
        assert_eq!(below, Err(vec!["/Limits/MemoryMb".to_owned()]));
        assert!(limits(json!({ "MemoryMb": 1 })).is_ok());
    }

    #[test]
    fn bad_limits_are_all_reported() {
        let bad = json!({ "CpuPercent": 0, "Scenarios": ["c"], "ConcurrentScenarios": 0, "X": 1 });
        let pointers = limits(bad).expect_err("four faults");
        assert_eq!(pointers.len(), 4, "{pointers:?}");
        let some = limits(json!({ "Scenarios": ["b"] })).expect("good");
        assert!(some.allows("b") && !some.allows("a"));
    }
}
