//! What a fault is: a typed [`Scenario`] that an author writes, and the erased [`Plugin`] that the core
//! runs.
//!
//! The core knows nothing of any one scenario. A run goes through three types: raw JSON becomes a
//! [`Plan`] (checked, no effect yet), starting the plan gives an [`Active`] (effect on), and the
//! `Active`'s one future owns every guard of the run, so that ending or dropping it takes the effect off.

pub mod gauge;
pub mod guard;
pub mod pace;
pub mod probe;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::death::Death;
use crate::fault::{RequestFault, Tally};
use crate::fields::{FieldError, Fields};
use crate::host::cgroup::Cgroup;
use crate::host::runtimes::Runtimes;
use crate::ledger::Ledger;
use crate::ledger::event::{Draft, Kind, RunTag};
use crate::metrics::requests::Requests;
use crate::shutdown::Shutdown;
use guard::Census;
pub use probe::{Probe, Reading, Shortfall};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The parameters of a scenario, read by one function that is their only definition.
pub trait Params: fmt::Debug + Send + Sized + 'static {
    /// Asks `fields` for every parameter: name, unit, range and default.
    fn read(fields: &mut Fields) -> Self;
}

/// A fault, as its author writes it. One file, one value of this trait, one line in the registry.
pub trait Scenario: fmt::Debug + Send + Sync + 'static {
    /// The name in URLs, in snake case.
    const NAME: &'static str;
    /// One sentence for the list of scenarios.
    const SUMMARY: &'static str;
    /// The typed parameters.
    type Params: Params;

    /// Tells what will come in the effect's way, before anything is started or ended for it.
    ///
    /// # Errors
    /// The effect cannot be had here; the pointer names the parameter that asks for it.
    fn foresee(
        _params: &Self::Params,
        _prospect: Prospect<'_>,
    ) -> Result<Option<String>, FieldError> {
        Ok(None)
    }

    /// Puts the effect on and returns what keeps it on.
    ///
    /// It runs on the control runtime, so it must not block; threads come from
    /// [`guard::ThreadGroup`].
    ///
    /// # Errors
    /// The reason why the effect cannot be had, as a sentence for the caller.
    ///
    /// # Cancel safety
    /// The future is dropped when the start is called off or takes too long: what it has done so far
    /// must be held by guards.
    fn start(
        params: Self::Params,
        cx: RunContext,
    ) -> impl Future<Output = Result<Active, StartError>> + Send;
}

/// What a run will meet, as far as it is known before the start.
#[derive(Debug, Clone, Copy)]
pub struct Prospect<'a> {
    /// The limits that the process lives under.
    pub cgroup: &'a Cgroup,
    /// The time after which the run ends by itself; none means until stopped.
    pub duration: Option<Duration>,
}

/// Why a scenario could not start, as a sentence for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(String);

impl StartError {
    /// A failure with its reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It was told to stop, and has released everything.
    Stopped,
    /// It could not go on, for this reason.
    Failed(String),
}

/// A run whose effect is on.
pub struct Active {
    /// Tells at any time what was asked and what is achieved.
    pub probe: Arc<dyn Probe>,
    /// Said to the caller at the start: something that will come in the effect's way.
    pub warning: Option<String>,
    /// Owns every guard of the run; ends after the stop token is cancelled, or by itself on failure.
    pub body: BoxFuture<Exit>,
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

    /// A run that is wholly in the request faults it armed: nothing to do but wait for the stop.
    pub fn armed(probe: Arc<dyn Probe>, stop: CancellationToken) -> Self {
        Self::new(probe, async move {
            stop.cancelled().await;
            Exit::Stopped
        })
    }

    /// Adds something the caller should know at the start.
    #[must_use]
    pub fn warn(mut self, warning: Option<String>) -> Self {
        self.warning = warning;
        self
    }
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Active")
            .field("warning", &self.warning)
            .finish_non_exhaustive()
    }
}

/// What a run gets to work with; there are no globals.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// Cancelled when the run must end; every wait of the run listens to it.
    pub stop: CancellationToken,
    /// Where the run leaves its faults on requests; they take effect together when the set commits.
    pub faults: Staging,
    /// The surroundings, the same for all runs.
    pub host: Arc<Host>,
    /// What the ledger calls the run.
    pub tag: RunTag,
    /// The time after which the run ends by itself; none means until stopped.
    pub duration: Option<Duration>,
    /// Cancelled when the ledger has noted that the run is up.
    pub begun: CancellationToken,
}

impl RunContext {
    /// What is known of the run at its start.
    #[must_use]
    pub fn prospect(&self) -> Prospect<'_> {
        Prospect {
            cgroup: &self.host.cgroup,
            duration: self.duration,
        }
    }

    /// Ends the process by `death`, once it is on disk that this was meant, and `window` after that.
    ///
    /// A disk that does not answer cannot hold it up for long. It returns only when the run is told to
    /// stop before the end, and in tests.
    pub async fn die(&self, death: Death, window: Duration) {
        tokio::select! {
            biased;
            () = self.begun.cancelled() => {}
            () = self.stop.cancelled() => return,
        }
        let mut intent = Draft::of(Kind::ExitIntent, &self.tag);
        intent.event.exit_code = Some(death.exit_status());
        self.host.ledger.note(intent);
        self.host.ledger.synced().await;
        if !window.is_zero() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(window) => {}
            }
        }
        (self.host.die)(death);
    }
}

/// The surroundings of every run.
pub struct Host {
    /// Ends the process at once; replaced in tests.
    pub die: Box<dyn Fn(Death) + Send + Sync>,
    /// Whether the service's own health probe answers that it is healthy; replaced in tests.
    pub probe_health: Box<dyn Fn() -> BoxFuture<bool> + Send + Sync>,
    /// The limits that the process lives under.
    pub cgroup: Cgroup,
    /// The async runtimes that the process has; a run that makes its own enters it here.
    pub runtimes: Runtimes,
    /// Where files may be written.
    pub data_dir: PathBuf,
    /// Counts what runs hold: threads, mappings, tasks. Zero when all is released.
    pub census: Census,
    /// Keeps what happens.
    pub ledger: Ledger,
    /// What comes to the service listener.
    pub requests: Requests,
    /// How the daemon takes SIGTERM.
    pub shutdown: Shutdown,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// A request fault with the counters of its run.
pub type CountedFault = (Arc<dyn RequestFault>, Arc<Tally>);

/// Collects the request faults of one run until its set is committed.
#[derive(Debug, Clone, Default)]
pub struct Staging(Arc<Mutex<Vec<CountedFault>>>);

impl Staging {
    /// Leaves `fault` to be put before the requests when the set commits; `tally` will count what it
    /// does.
    pub fn arm(&self, fault: impl RequestFault, tally: Arc<Tally>) {
        self.lock().push((Arc::new(fault), tally));
    }

    /// Takes what was left so far.
    #[must_use]
    pub fn take(&self) -> Vec<CountedFault> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<CountedFault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A checked start of one scenario that has had no effect yet.
pub struct Plan {
    /// The scenario's name.
    pub name: &'static str,
    /// The effective parameters, defaults filled in.
    pub params: Map<String, Value>,
    checked: Box<dyn Checked>,
}

/// The typed parameters of a [`Plan`] with their type erased.
trait Checked: Send {
    fn foresee(&self, prospect: Prospect<'_>) -> Result<Option<String>, FieldError>;
    fn start(self: Box<Self>, cx: RunContext) -> BoxFuture<Result<Active, StartError>>;
}

struct CheckedParams<S: Scenario>(S::Params);

impl<S: Scenario> Checked for CheckedParams<S> {
    fn foresee(&self, prospect: Prospect<'_>) -> Result<Option<String>, FieldError> {
        S::foresee(&self.0, prospect)
    }

    fn start(self: Box<Self>, cx: RunContext) -> BoxFuture<Result<Active, StartError>> {
        Box::pin(S::start(self.0, cx))
    }
}

impl Plan {
    /// As [`Scenario::foresee`]; the parameters stand at `at` in the request.
    ///
    /// # Errors
    /// As [`Scenario::foresee`].
    pub fn foresee(
        &self,
        at: &str,
        prospect: Prospect<'_>,
    ) -> Result<Option<String>, Vec<FieldError>> {
        let foreseen = self.checked.foresee(prospect);
        foreseen.map_err(|FieldError { pointer, detail }| {
            vec![FieldError::new(format!("{at}{pointer}"), detail)]
        })
    }

    /// Puts the effect on; the only step that has one.
    ///
    /// # Errors
    /// As [`Scenario::start`].
    pub async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        self.checked.start(cx).await
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("name", &self.name)
            .field("params", &self.params)
            .finish()
    }
}

/// A [`Scenario`] with its types erased, so that one registry holds them all.
pub trait Plugin: fmt::Debug + Send + Sync {
    /// The name in URLs.
    fn name(&self) -> &'static str;
    /// One sentence for the list.
    fn summary(&self) -> &'static str;
    /// JSON Schema 2020-12 of the parameters, as `fields` without members read them.
    fn schema_from(&self, fields: Fields) -> Value;
    /// Checks the parameters that `fields` hold, without any effect.
    ///
    /// # Errors
    /// Every bad parameter.
    fn plan_from(&self, fields: Fields) -> Result<Plan, Vec<FieldError>>;

    /// [`Plugin::schema_from`] where nothing is limited.
    fn schema(&self) -> Value {
        self.schema_from(Fields::new("", Map::new()))
    }

    /// [`Plugin::plan_from`] where nothing is limited; `given` stands at `pointer` in the request.
    ///
    /// # Errors
    /// Every bad parameter.
    fn plan(&self, pointer: &str, given: Map<String, Value>) -> Result<Plan, Vec<FieldError>> {
        self.plan_from(Fields::new(pointer, given))
    }
}

impl<S: Scenario> Plugin for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn summary(&self) -> &'static str {
        S::SUMMARY
    }

    fn schema_from(&self, mut fields: Fields) -> Value {
        S::Params::read(&mut fields);
        fields.schema()
    }

    fn plan_from(&self, mut fields: Fields) -> Result<Plan, Vec<FieldError>> {
        let params = S::Params::read(&mut fields);
        let effective = fields.finish()?;
        Ok(Plan {
            name: S::NAME,
            params: effective,
            checked: Box::new(CheckedParams::<S>(params)),
        })
    }
}
