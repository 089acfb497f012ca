//! The most that a parameter may ask for at one moment.

/// What a parameter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// CPU in percent of the CPU limit.
    CpuPercent,
    /// CPU in cores.
    CpuCores,
    /// Memory in MiB.
    MemoryMb,
    /// Memory in percent of the memory limit.
    MemoryPercent,
    /// Written bytes in MiB a second.
    DiskMbPerSecond,
    /// Created tasks a second.
    TasksPerSecond,
    /// Tasks in all.
    Tasks,
    /// Lines added to the service's log a second.
    LogLinesPerSecond,
    /// Space on disk in MiB.
    DiskMb,
    /// Leaked file descriptors in all.
    Descriptors,
    /// Leaked threads in all.
    Threads,
    /// Series added to the service's metrics.
    Series,
    /// Delay of a request in ms.
    LatencyMs,
    /// Time that a run lasts in seconds.
    DurationS,
}

/// What may be asked for at one moment; by default everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ceilings {
    own: Vec<(Resource, f64, &'static str)>,
    /// Converted from those of another unit, under the limits as they were then.
    converted: Vec<(Resource, f64, &'static str)>,
}

impl Ceilings {
    /// Each resource with the most of it that may be asked for, and the key of `Limits` that
    /// says so; a resource may be listed more than once.
    #[must_use]
    pub fn new(ceilings: Vec<(Resource, f64, &'static str)>) -> Self {
        Self {
            own: ceilings,
            converted: Vec::new(),
        }
    }

    /// Adds those that follow from others in a unit of their own.
    #[must_use]
    pub fn with_converted(mut self, ceilings: Vec<(Resource, f64, &'static str)>) -> Self {
        self.converted = ceilings;
        self
    }

    /// The most of `resource` that may be asked for, and the key that says so; none where nothing does.
    #[must_use]
    pub fn of(&self, resource: Resource) -> Option<Ceiling> {
        least(self.own.iter().chain(&self.converted), resource)
    }

    /// As [`Ceilings::of`], of those only that are set in the unit of `resource` itself: they hold whatever becomes of
    /// the limits of the container.
    #[must_use]
    pub fn lasting(&self, resource: Resource) -> Option<Ceiling> {
        least(self.own.iter(), resource)
    }
}

fn least<'c>(
    ceilings: impl Iterator<Item = &'c (Resource, f64, &'static str)>,
    resource: Resource,
) -> Option<Ceiling> {
    ceilings
        .filter(|(of, ..)| *of == resource)
        .map(|(_, most, key)| Ceiling { most: *most, key })
        .min_by(|a, b| a.most.total_cmp(&b.most))
}

/// The most that may be asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    /// In the resource's own unit.
    pub most: f64,
    /// The key of `Limits` that sets it.
    pub key: &'static str,
}
