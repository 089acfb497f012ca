//! `fd_leak`: opens file descriptors and never closes them.
//!
//! The last descriptors of the limit are left to the daemon, so that the admin listener goes on to accept connections:
//! the leak ends there with the shortfall `reserved`. What the service listener then takes of them it lacks itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Resource as SystemResource, getrlimit};
use socket2::{Domain, Socket, Type};

use crate::input::{FieldError, Fields, Resource};
use crate::plugin::hoard::{Hoard, Leak, Refusal};
use crate::plugin::{Active, Group, PreflightContext, RunContext, Scenario, Shortfall, StartError};

/// Descriptors that are left to the daemon.
const RESERVED: u64 = 64;
const MOST: u32 = 1_000_000;
const MOST_PER_SECOND: f64 = 100_000.0;

/// Leaks descriptors.
#[derive(Debug)]
pub(super) struct FdLeak {
    leak: Leak,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    File,
    Socket,
}

impl Scenario for FdLeak {
    const NAME: &'static str = "fd_leak";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Opens files or sockets and never closes them";
    const EXAMPLE: &'static str = r#"{"per_second": 50, "max": 500, "kind": "socket"}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How many descriptors are opened in each second.";
        let field = fields.field("per_second", about).unit("descriptors/s");
        let per_second = field.shape(0.0..=MOST_PER_SECOND, 10.0);
        let most = super::most_in_the_end(fields, Resource::Descriptors, "descriptors", MOST);
        let about = "What is opened: a file, or a TCP socket without a connection.";
        let kinds = [("file", Kind::File), ("socket", Kind::Socket)];
        Self {
            kind: fields.field("kind", about).choice(&kinds),
            leak: Leak {
                per_second,
                most,
                unit: "descriptors",
                metric: "current_descriptors",
            },
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let room = descriptor_limit().saturating_sub(RESERVED);
        let most = self.leak.most_within(context.duration);
        Ok((most.is_finite() && most > room as f64).then(|| {
            format!(
                "RLIMIT_NOFILE is {}, of which {RESERVED} are left to the daemon: the leak ends its growth there",
                descriptor_limit()
            )
        }))
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let Self { leak, kind } = self;
        leak.start(cx, "files", move || Descriptors {
            kind,
            held: Vec::new(),
        })
    }
}

/// How many descriptors this process may have.
fn descriptor_limit() -> u64 {
    getrlimit(SystemResource::Nofile)
        .current
        .unwrap_or(u64::MAX)
}

#[derive(Debug)]
struct Descriptors {
    kind: Kind,
    held: Vec<OwnedFd>,
}

impl Kind {
    fn open(self) -> io::Result<OwnedFd> {
        match self {
            Self::File => File::open("/dev/null").map(Into::into),
            Self::Socket => Socket::new(Domain::IPV4, Type::STREAM, None).map(Into::into),
        }
    }
}

impl Hoard for Descriptors {
    fn bytes_each(&self) -> f64 {
        // As the kernel's slabs grow.
        match self.kind {
            Kind::File => 270.0,
            Kind::Socket => 3600.0,
        }
    }

    fn held(&self) -> u64 {
        self.held.len() as u64
    }

    fn take(&mut self) -> Result<(), Refusal> {
        let opened = self.kind.open().map_err(|error| refusal(&error))?;
        // The number is the lowest free one: all below it are in use, so no more are free than those above it.
        let used = u64::try_from(opened.as_raw_fd()).unwrap_or(0) + 1;
        if used + RESERVED > descriptor_limit() {
            return Err(Refusal::ForNow(Shortfall::Reserved));
        }
        self.held.push(opened);
        Ok(())
    }
}

fn refusal(error: &io::Error) -> Refusal {
    const SHORT: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    let is_short = Errno::from_io_error(error).is_some_and(|errno| SHORT.contains(&errno));
    match is_short {
        true => Refusal::ForNow(Shortfall::Refused),
        false => Refusal::ForGood(format!("the system refused a descriptor: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<FdLeak>(json!({ "per_second": 10, "kind": "file" }));
    }

    #[tokio::test]
    async fn either_kind_starts_and_stops() {
        for kind in ["file", "socket"] {
            let params = json!({ "per_second": 1000, "max": 5, "kind": kind });
            starts_and_stops::<FdLeak>(params).await;
        }
    }

    #[test]
    fn a_shortage_may_pass_and_another_error_may_not() {
        let of = |errno: Errno| refusal(&errno.into());
        assert!(matches!(
            of(Errno::MFILE),
            Refusal::ForNow(Shortfall::Refused)
        ));
        assert!(matches!(of(Errno::NOENT), Refusal::ForGood(_)));
    }
}
