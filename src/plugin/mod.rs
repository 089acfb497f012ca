//! What a fault is: a typed [`Scenario`] that an author writes, and the erased [`Plugin`] that the core runs.
//!
//! The core knows nothing of any one scenario. Raw JSON becomes a [`Plan`] (checked, no effect yet); starting the plan
//! yields an [`Active`] (effect on), whose one future owns every guard of the run. Ending or dropping that future takes
//! the effect off.

mod conflict;
mod context;
pub(crate) mod effort;
pub(crate) mod gauge;
mod group;
pub mod guard;
pub(crate) mod high_line;
pub(crate) mod hoard;
mod hooks;
pub(crate) mod pace;
mod plan;
mod scrapes;
pub(crate) mod shaped;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub use conflict::{Conflict, Conflicts, conflicts_of};
pub use context::RunContext;
pub(crate) use context::{Launch, Services};
pub use group::Group;
pub(crate) use hooks::Hooks;
pub use plan::Plan;
pub(crate) use scrapes::{PageFormat, ScrapeAnswer, ScrapeFault, Scrapes};

use self::high_line::room_below;
use crate::host::cgroup::Cgroup;
use crate::host::{memory_headroom_bytes, memory_limit_bytes};
use crate::input::suggest::did_you_mean;
use crate::input::{FieldError, Fields};
use crate::run::SYSTEM_ENDS_PROCESS;
pub use crate::run::{Probe, Reading, Shortfall, Touched};

/// Every scenario that the daemon serves.
pub type Registry = &'static [&'static dyn Plugin];

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A fault, as its author writes it: the checked parameters of one start, and what that start does.
///
/// One file, one type, and one line in the registry.
pub trait Scenario: fmt::Debug + Send + Sized + 'static {
    /// The name in URLs, in snake case.
    const NAME: &'static str;
    /// What it goes wrong with, by which people look for it.
    const GROUP: Group;
    /// One sentence for the list of scenarios.
    const SUMMARY: &'static str;
    /// Whether the effect is the end of the process.
    const ENDS_PROCESS: bool = false;
    /// The parameters of a typical start, for documents: a JSON object.
    const EXAMPLE: &'static str;
    /// The scenarios that it cannot run beside. It is enough that one of two names the other.
    const CONFLICTS: Conflicts = &[];
    /// Whether the service listener answers nothing while it runs, the API there included. It must refuse to start
    /// where there is no admin listener.
    const SILENCES_SERVICE: bool = false;

    /// Reads every parameter: name, unit, range and default. This is the only definition: it validates, fills in the
    /// defaults and makes the schema.
    fn read(fields: &mut Fields) -> Self;

    /// Checks the surroundings before anything is started or stopped. Returns a warning where the effect may fall
    /// short.
    ///
    /// # Errors
    /// The effect is impossible here; the pointer names the parameter that asks for it.
    fn preflight(&self, _context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        Ok(None)
    }

    /// The figures of a start that follow from the surroundings, such as the target in MiB where a share of the limit
    /// is asked for: what a dry run shows of the status's metrics.
    fn forecast(&self, _context: PreflightContext<'_>) -> Map<String, Value> {
        Map::new()
    }

    /// Puts the effect on and returns what keeps it on.
    ///
    /// It runs on the control runtime, so it must not block; threads come from [`RunContext::threads`].
    ///
    /// # Errors
    /// Why the effect is impossible, as a sentence for the client.
    ///
    /// # Cancel safety
    /// The future is dropped when the start is cancelled or takes too long: guards must hold what it has done so far.
    fn start(self, cx: RunContext) -> impl Future<Output = Result<Active, StartError>> + Send;
}

/// What is known of a run before its start.
#[derive(Debug, Clone, Copy)]
pub struct PreflightContext<'a> {
    pub(crate) cgroup: &'a Cgroup,
    /// The time after which the run ends by itself; none means until stopped.
    pub(crate) duration: Option<Duration>,
    /// The upstreams that the service calls; none where they are not known yet.
    pub(crate) upstreams: Option<&'a [String]>,
    /// Whether there is an admin listener.
    pub(crate) has_admin: bool,
    /// Where runs may write files; none where that is not known yet.
    pub(crate) data_dir: Option<&'a Path>,
}

impl<'a> PreflightContext<'a> {
    /// Under the limits of `cgroup`, without a duration or anything else that may be known.
    pub(crate) fn of(cgroup: &'a Cgroup) -> Self {
        Self {
            cgroup,
            duration: None,
            upstreams: None,
            has_admin: true,
            data_dir: None,
        }
    }
}

impl PreflightContext<'_> {
    /// Refuses the parameter at `pointer` where it is an upstream that the service does not call.
    pub(crate) fn check_upstream(&self, pointer: &str, upstream: &str) -> Result<(), FieldError> {
        let Some(known) = self.upstreams else {
            return Ok(());
        };
        if known.iter().any(|known| known == upstream) {
            return Ok(());
        }
        let detail = match known {
            [] => format!("no route calls {upstream}, nor any other upstream"),
            known => {
                let meant = did_you_mean(upstream, known.iter().map(String::as_str));
                let known = known.join(", ");
                format!("no route calls {upstream}; the service calls: {known}{meant}")
            }
        };
        Err(FieldError::new(pointer, detail))
    }

    /// The warning for a run that will take more than the memory left.
    pub(crate) fn memory_warning(&self, bytes: u64) -> Option<String> {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        let limit = memory_limit_bytes(self.cgroup);
        let left = memory_headroom_bytes(self.cgroup);
        let high = self.cgroup.memory_high_room();
        // Where a leak ends below that line, the limit beyond it is never reached.
        if let Some(room) = high.filter(|room| room_below(*room) < bytes.min(left)) {
            return Some(format!(
                "only {} MiB are left below the memory.high of {} MiB, above which the kernel slows the whole \
                 process down: the run ends its growth there, short of the target of {} MiB",
                mib(room_below(room)),
                mib(room.high),
                mib(bytes)
            ));
        }
        (bytes > left && limit > 0).then(|| {
            format!(
                "only {} MiB are left under the memory limit of {} MiB: {SYSTEM_ENDS_PROCESS} \
                 before the target of {} MiB is reached",
                mib(left),
                mib(limit),
                mib(bytes)
            )
        })
    }
}

/// Why a scenario could not start, as a sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    /// `reason` is a sentence.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// How the body of a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It was stopped, and has released everything.
    Stopped,
    /// It could not go on; the reason is a sentence.
    Failed(String),
}

/// A run whose effect is on.
pub struct Active {
    pub(crate) probe: Arc<dyn Probe>,
    /// Why the effect may fall short; the core sets it from the preflight.
    pub(crate) warning: Option<String>,
    /// Owns every guard of the run; ends after the stop token is cancelled, or by itself on failure.
    pub(crate) body: BoxFuture<Exit>,
}

impl Active {
    /// A run whose effect lasts as long as its `body`.
    pub fn new(probe: Arc<dyn Probe>, body: impl Future<Output = Exit> + Send + 'static) -> Self {
        Self {
            probe,
            warning: None,
            body: Box::pin(body),
        }
    }

    /// A run whose effect lasts as long as `guard`, which it holds until `stop` is cancelled.
    pub fn hold<G: Send + 'static>(
        probe: impl Probe + 'static,
        guard: G,
        stop: CancellationToken,
    ) -> Self {
        Self::new(Arc::new(probe), async move {
            let _guard = guard;
            stop.cancelled().await;
            Exit::Stopped
        })
    }
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Active")
            .field("warning", &self.warning)
            .finish_non_exhaustive()
    }
}

/// A [`Scenario`] in the registry, its type erased.
pub trait Plugin: fmt::Debug + Send + Sync {
    /// The name in URLs.
    fn name(&self) -> &'static str;
    /// What it goes wrong with.
    fn group(&self) -> Group;
    /// One sentence for the list.
    fn summary(&self) -> &'static str;
    /// Whether the effect is the end of the process.
    fn ends_process(&self) -> bool;
    /// The parameters of a typical start: a JSON object.
    fn example(&self) -> &'static str;
    /// The scenarios that it says it cannot run beside; [`conflicts_of`] has all of them.
    fn conflicts(&self) -> Conflicts;
    /// Whether the service listener answers nothing while it runs.
    fn silences_service(&self) -> bool;
    /// JSON Schema 2020-12 of the parameters, as `fields` without members read them.
    fn schema_from(&self, fields: Fields) -> Value;
    /// Checks the parameters that `fields` hold, without any effect.
    ///
    /// # Errors
    /// Every bad parameter.
    fn plan_from(&self, fields: Fields) -> Result<Plan, Vec<FieldError>>;

    /// [`Plugin::schema_from`] without limits.
    fn schema(&self) -> Value {
        self.schema_from(Fields::new("", Map::new()))
    }

    /// [`Plugin::plan_from`] without limits; `given` is at `pointer` in the request.
    ///
    /// # Errors
    /// Every bad parameter.
    fn plan(&self, pointer: &str, given: Map<String, Value>) -> Result<Plan, Vec<FieldError>> {
        self.plan_from(Fields::new(pointer, given))
    }
}

/// The plugin of a scenario, for the registry.
#[must_use]
pub const fn plugin<S: Scenario>() -> &'static dyn Plugin {
    &PluginOf::<S>(PhantomData)
}

#[derive(Debug)]
struct PluginOf<S>(PhantomData<fn() -> S>);

impl<S: Scenario> Plugin for PluginOf<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn group(&self) -> Group {
        S::GROUP
    }

    fn summary(&self) -> &'static str {
        S::SUMMARY
    }

    fn ends_process(&self) -> bool {
        S::ENDS_PROCESS
    }

    fn example(&self) -> &'static str {
        S::EXAMPLE
    }

    fn conflicts(&self) -> Conflicts {
        S::CONFLICTS
    }

    fn silences_service(&self) -> bool {
        S::SILENCES_SERVICE
    }

    fn schema_from(&self, mut fields: Fields) -> Value {
        S::read(&mut fields);
        fields.schema()
    }

    fn plan_from(&self, mut fields: Fields) -> Result<Plan, Vec<FieldError>> {
        let scenario = S::read(&mut fields);
        let shapes = fields.shapes().to_vec();
        let effective = fields.finish()?;
        Ok(Plan::new(effective, shapes, scenario))
    }
}
