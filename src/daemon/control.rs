//! The control thread: the admin listener, the session, the boot profile and the signals.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal as FileSizeSignal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::TerminateFn;
use super::build::Daemon;
use crate::boot::BootSequence;
use crate::config::Config;
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::host::runtimes::Runtimes;
use crate::http::Api;
use crate::ledger::Ledger;
use crate::ledger::event::{BootFacts, EventKind, NewEvent};
use crate::lifecycle::shutdown::Signals;
use crate::lifecycle::termination::{EXIT_BY_SIGNAL, Termination};
use crate::listener::bind::bind;
use crate::listener::budget::ConnectionBudget;
use crate::plugin::Registry;
use crate::run::Initiator;

/// How long an immediate exit waits for its event to be on disk.
const LAST_EVENT: Duration = Duration::from_millis(300);

/// What the control thread works with.
#[derive(Debug, Clone)]
pub(super) struct Control {
    /// Cancelled when the daemon ends.
    pub(super) root: CancellationToken,
    /// Cancelled when the service listener is done; until then a second signal must be heard.
    pub(super) drained: CancellationToken,
    /// Cancelled when the service listener is to end at once and the rest after it.
    pub(super) cut_off: CancellationToken,
    pub(super) table: FaultTable,
    pub(super) timer: FineTimer,
    pub(super) runtimes: Runtimes,
    pub(super) terminate: TerminateFn,
    pub(super) connections: ConnectionBudget,
    /// What is known of this boot so far.
    pub(super) boot_facts: BootFacts,
    pub(super) registry: Registry,
    pub(super) config: Config,
}

impl Control {
    /// The life of the control thread: carries out the boot profile, binds the listeners, hands the service listener
    /// and the API over, serves the admin listener, and ends the session at a signal.
    pub(super) fn run(self, hand_over: &mpsc::Sender<(TcpListener, Api)>) -> io::Result<()> {
        // However this thread ends, the rest must not go on without it.
        let _ends_all = self.root.clone().drop_guard();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let _counted = self.runtimes.enter(runtime.handle());
        runtime.block_on(self.live(hand_over))
    }

    async fn live(self, hand_over: &mpsc::Sender<(TcpListener, Api)>) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let halt_signal = signal(SignalKind::user_defined1())?;
        // Unhandled, this signal ends the process where a file size is limited; handled, the write fails, and so does
        // the run that wrote.
        let _file_size = signal(SignalKind::from_raw(FileSizeSignal::XFSZ.as_raw()))?;
        let booting = BootSequence::begin(self.config.boot.clone(), &self.config.data_dir)?;
        let ending = tokio::select! {
            number = signals.next() => {
                info!(number, "Signal received before the start: exiting.");
                return Ok(());
            }
            ending = booting.before_listening() => ending,
        };
        if let Some(ending) = ending {
            let ledger = self.open_ledger(&booting, &Cgroup::system());
            let exit_code = ending.record(&ledger).await;
            (self.terminate)(Termination::Exit(exit_code));
            return Ok(());
        }
        let (admin, service) = self.bind_both()?;
        let (daemon, actor) = Daemon::build(self, booting, service.local_addr()?).await;
        hand_over
            .send((service, daemon.api.clone()))
            .map_err(|_| io::Error::other("the main thread is gone"))?;
        daemon.serve(admin, actor, signals, halt_signal).await
    }

    /// The admin listener, unless it is off, and the service listener.
    fn bind_both(&self) -> io::Result<(Option<TcpListener>, TcpListener)> {
        let Config {
            host, port, admin, ..
        } = &self.config;
        let admin = admin
            .port
            .map(|port| bind("admin", (admin.host, port).into()));
        let admin = admin.transpose()?;
        let service = bind("service", (*host, *port).into())?;
        Ok((admin, service))
    }

    /// The ledger under `DataDir`, or one in memory where nothing can be written there.
    pub(super) fn open_ledger(&self, booting: &BootSequence, cgroup: &Cgroup) -> Ledger {
        let facts = BootFacts {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            memory_limit_bytes: memory_limit_bytes(cgroup),
            oom_kills: cgroup.oom_kills(),
            crashing_boot: booting.crashing_boot(),
            ..self.boot_facts.clone()
        };
        Ledger::open(&self.config.data_dir.join("ledger"), facts)
    }

    /// Exits as soon as the intent is on disk, so that the next boot knows that the exit was asked for.
    pub(super) async fn exit_by(&self, signal: i32, ledger: &Ledger) {
        warn!(number = signal, "Second signal received: exiting at once.");
        let termination = Termination::Exit(EXIT_BY_SIGNAL + signal);
        let intent = NewEvent::new(EventKind::ExitIntent).by(Some(Initiator::Signal));
        ledger.note(intent.exit_code(termination.exit_status()));
        ledger.synced_within(LAST_EVENT).await;
        (self.terminate)(termination);
    }
}
