//! Which signals end the daemon, and those that it outlives.
//!
//! Left to the kernel are signals that report a defect, such as SIGSEGV, those that stop and resume a process, and
//! SIGKILL. SIGPIPE is ignored by the Rust runtime: the write fails instead.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use rustix::process::Signal as Known;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// An orderly end: from a container engine or a person, for want of power (as LXC asks a container to stop), and at
/// the soft limit of CPU time, a second before the kernel's SIGKILL.
const ENDING: [Known; 5] = [
    Known::TERM,
    Known::INT,
    Known::QUIT,
    Known::POWER,
    Known::XCPU,
];

/// Each would end a process that does not handle it. None means anything here.
const MEANINGLESS: [(Known, &str); 6] = [
    (Known::USR2, "SIGUSR2"),
    (Known::ALARM, "SIGALRM"),
    (Known::VTALARM, "SIGVTALRM"),
    (Known::PROF, "SIGPROF"),
    (Known::IO, "SIGIO"),
    (Known::STKFLT, "SIGSTKFLT"),
];
/// Likewise. The C libraries keep the first two or three for themselves.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Several signals, and which of them comes next.
#[derive(Debug)]
struct Set(Vec<(i32, Signal)>);

impl Set {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<i32> {
        for (number, signal) in &mut self.0 {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready(*number);
            }
        }
        Poll::Pending
    }
}

fn handle(number: i32) -> io::Result<(i32, Signal)> {
    Ok((number, signal(SignalKind::from_raw(number))?))
}

/// The signals that end the daemon. Handlers are installed even as PID 1, where the kernel has no default for them.
#[derive(Debug)]
pub(crate) struct Signals(Set);

impl Signals {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn new() -> io::Result<Self> {
        let all = ENDING.iter().map(|known| handle(known.as_raw()));
        Ok(Self(Set(all.collect::<io::Result<_>>()?)))
    }

    /// The number of the next signal.
    ///
    /// # Cancel safety
    /// Dropping the future loses no signal.
    pub(crate) async fn next(&mut self) -> i32 {
        poll_fn(|cx| self.0.poll_next(cx)).await
    }
}

pub(crate) fn is_sigterm(number: i32) -> bool {
    number == Known::TERM.as_raw()
}

/// The signals that the daemon outlives.
#[derive(Debug)]
pub(crate) struct OtherSignals {
    /// SIGUSR1.
    pub(crate) halt: Signal,
    pub(crate) rest: RestOfSignals,
}

/// What to do at a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AtSignal {
    /// SIGHUP.
    Reload,
    /// Nothing, because of the signal of this number and name.
    Ignore(i32, String),
}

/// All that the daemon outlives but SIGUSR1.
#[derive(Debug)]
pub(crate) struct RestOfSignals {
    reload: Signal,
    meaningless: Set,
    /// Unhandled, SIGXFSZ ends the process where a file size is limited; handled, the write fails, and so does the run
    /// that wrote.
    _file_size: Signal,
}

impl OtherSignals {
    /// Handles the signals from now on: one that comes before anything listens to it is kept.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn new() -> io::Result<Self> {
        let named = MEANINGLESS.iter().map(|(known, _)| handle(known.as_raw()));
        let mut meaningless = named.collect::<io::Result<Vec<_>>>()?;
        meaningless.extend(REAL_TIME.filter_map(|number| handle(number).ok()));
        Ok(Self {
            halt: signal(SignalKind::user_defined1())?,
            rest: RestOfSignals {
                reload: signal(SignalKind::hangup())?,
                meaningless: Set(meaningless),
                _file_size: handle(Known::XFSZ.as_raw())?.1,
            },
        })
    }
}

impl RestOfSignals {
    /// What the next signal asks for.
    ///
    /// # Cancel safety
    /// Dropping the future loses no signal.
    pub(crate) async fn next(&mut self) -> AtSignal {
        poll_fn(|cx| {
            if self.reload.poll_recv(cx).is_ready() {
                return Poll::Ready(AtSignal::Reload);
            }
            let number = self.meaningless.poll_next(cx);
            number.map(|number| AtSignal::Ignore(number, name_of(number)))
        })
        .await
    }
}

fn name_of(number: i32) -> String {
    let mut known = MEANINGLESS.iter();
    let known = known.find(|(known, _)| known.as_raw() == number);
    match (known, number - REAL_TIME.start()) {
        (Some((_, name)), _) => (*name).to_owned(),
        (None, 0) => "SIGRTMIN".to_owned(),
        (None, n) => format!("SIGRTMIN+{n}"),
    }
}
