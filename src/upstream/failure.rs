//! Why a call has failed, as the service logs it.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;

use crate::fault::CallFailure;
use crate::metrics::calls::Ending;

/// A call that has failed for good. Displayed, it is what the service logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallFailed {
    pub(crate) upstream: String,
    pub(crate) failure: Failure,
    /// The number of the last attempt, from 1.
    pub(crate) attempt: u32,
    /// How many attempts the call may have.
    pub(crate) attempts: u32,
}

/// Why one attempt has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer came in this time.
    Timeout { after: Duration },
    /// The pool had no free connection for this time.
    NoConnection { after: Duration },
    /// The answer was an error.
    Status(StatusCode),
    /// Nothing listens at the address.
    Refused,
    /// The connection ended before the answer.
    Reset,
    /// The name has no address, for this reason.
    Lookup(String),
    /// The certificate of the upstream is not good, for this reason.
    Certificate(&'static str),
    /// Any other reason.
    Other(String),
}

impl Failure {
    /// Whether another attempt may help: not where the request itself was refused.
    pub(super) fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Status(status) => status.is_server_error(),
            _ => true,
        }
    }

    /// What the metrics count it as.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Timeout { .. } | Self::NoConnection { .. } => Ending::TIMEOUT,
            Self::Status(status) => Ending::Status(status.as_u16()),
            Self::Refused => Ending::REFUSED,
            Self::Reset => Ending::RESET,
            Self::Lookup(_) => Ending::Error("name_not_resolved"),
            Self::Certificate(_) => Ending::Error("server_certificate_invalid"),
            Self::Other(_) => Ending::OTHER,
        }
    }

    /// The value of OpenTelemetry's `error.type`.
    pub(super) fn error_type(&self) -> String {
        match self.ending() {
            Ending::Status(status) => status.to_string(),
            Ending::Error(kind) => kind.to_owned(),
        }
    }

    /// What a fault makes of a call: the same as the real failure.
    pub(super) fn of_fault(failure: CallFailure) -> Result<StatusCode, Self> {
        Err(match failure {
            CallFailure::Status(status) => return Ok(status),
            CallFailure::Refused => Self::Refused,
            CallFailure::Reset => Self::Reset,
            // As the system's resolver says it.
            CallFailure::Unresolved => Self::Lookup(
                "failed to lookup address information: Name or service not known".to_owned(),
            ),
            CallFailure::CertificateExpired => Self::Certificate("certificate has expired"),
        })
    }

    /// Why no connection could be opened.
    pub(super) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset => Self::Reset,
            _ => Self::Other(error.to_string()),
        }
    }

    /// Why an open connection gave no answer.
    pub(super) fn of_exchange(error: &hyper::Error) -> Self {
        let cause = std::error::Error::source(error);
        let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        let is_cut_off = cause.is_some_and(|cause| {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            matches!(
                cause.kind(),
                ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof
            )
        });
        let is_over = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        match is_cut_off || is_over {
            true => Self::Reset,
            false => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for CallFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upstream {} {}", self.upstream, self.failure)?;
        if self.attempts > 1 {
            write!(f, ", attempt {} of {}", self.attempt, self.attempts)?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { after } => write!(f, "timed out after {} ms", after.as_millis()),
            Self::NoConnection { after } => {
                let ms = after.as_millis();
                write!(f, "had no free connection for {ms} ms")
            }
            Self::Status(status) => write!(f, "answered {}", status.as_u16()),
            Self::Refused => f.write_str("refused the connection"),
            Self::Reset => f.write_str("closed the connection before it answered"),
            Self::Lookup(reason) => write!(f, "could not be found: {reason}"),
            Self::Certificate(reason) => {
                write!(f, "has no good certificate: {reason}")
            }
            Self::Other(reason) => write!(f, "could not be called: {reason}"),
        }
    }
}
