//! What the control thread does while the daemon serves, each as one async function.

use std::io;
use std::net::TcpListener;

use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;
use tracing::info;

use super::build::Daemon;
use super::failures;
use crate::http::admin_router;
use crate::http::plain::PlainErrors;
use crate::lifecycle::SERVICE;
use crate::lifecycle::shutdown::ShutdownAction;
use crate::lifecycle::signals::Signals;
use crate::lifecycle::termination::Termination;
use crate::listener;
use crate::run::{Initiator, ServiceClock};

impl Daemon {
    /// Serves until the daemon has ended: the listener is drained and every fault is off.
    pub(super) async fn serve(
        self,
        admin: Option<TcpListener>,
        actor: JoinHandle<()>,
        signals: Signals,
        halt_signal: Signal,
    ) -> io::Result<()> {
        self.halt_on(halt_signal);
        let session = async {
            let ended = actor.await;
            info!("All faults stopped.");
            ended
        };
        let drained = self.control.drained.cancelled();
        let (served, (), (), (), ended, ()) = tokio::join!(
            self.serve_admin(admin),
            self.carry_out_profile(),
            self.end_on(signals),
            self.report_failures(),
            session,
            drained
        );
        served.and(ended.map_err(io::Error::other))
    }

    /// Where each request has a line, so has each failure.
    async fn report_failures(&self) {
        if self.api.logs_requests.is_none() {
            failures::report(self.api.metrics.requests(), &self.control.root).await;
        }
    }

    /// The admin listener, where there is one; its end is the daemon's.
    async fn serve_admin(&self, listener: Option<TcpListener>) -> io::Result<()> {
        let Some(bound) = listener else {
            return Ok(());
        };
        let root = &self.control.root;
        let _ends_all = root.clone().drop_guard();
        let router = admin_router(self.api.clone());
        let most = self.control.connections.admin;
        // A stranger without a token learns nothing here either.
        let plain = match self.control.config.blind {
            true => PlainErrors::BeforeRoutes,
            false => PlainErrors::None,
        };
        // No fault ever applies to it.
        let clock = ServiceClock::default();
        listener::serve(bound, router, most, plain, clock, root.clone()).await
    }

    /// What the boot profile does while the daemon listens.
    async fn carry_out_profile(&self) {
        let turn_ready = async {
            self.booting.until_ready().await;
            if !self.booting.is_ready_at_once() {
                self.readiness.begin();
                info!(target: SERVICE, "Ready.");
            }
        };
        let end = async {
            let ending = self.booting.while_listening().await;
            let exit_code = ending.record(&self.ledger).await;
            (self.control.terminate)(Termination::Exit(exit_code));
        };
        let start_late = self.booting.start_late(
            &self.sessions,
            self.control.registry,
            &self.onsets,
            &self.readiness,
            &self.arrivals,
        );
        tokio::select! {
            _ = async { tokio::join!(start_late, turn_ready, end) } => {}
            () = self.control.root.cancelled() => {}
        }
    }

    /// Ends the daemon at a signal, or when something that must go on has ended. From then on, one more signal exits
    /// at once.
    async fn end_on(&self, mut signals: Signals) {
        let settled = async || drop(self.sessions.settled().await);
        let action = tokio::select! {
            action = self.shutdown.decide(&mut signals, &self.readiness, settled) => action,
            () = self.control.root.cancelled() => ShutdownAction::Drain,
        };
        self.readiness.end();
        match action {
            ShutdownAction::Drain => self.control.root.cancel(),
            // The main thread cancels the rest when its requests are cut off.
            ShutdownAction::CutOff => self.control.cut_off.cancel(),
            ShutdownAction::ExitNow(number) => self.control.exit_by(number, &self.ledger).await,
        }
        let (control, ledger) = (self.control.clone(), self.ledger.clone());
        tokio::spawn(async move {
            let number = signals.next().await;
            control.exit_by(number, &ledger).await;
        });
    }

    fn halt_on(&self, mut signal: Signal) {
        let sessions = self.sessions.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                info!("SIGUSR1 received: halting.");
                // At the daemon's end everything is being stopped anyway.
                drop(sessions.halt(Some(Initiator::Signal)).await);
            }
        });
    }
}
