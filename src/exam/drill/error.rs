//! Why the exam refuses something.

use crate::exam::draw::PlanError;
use crate::exam::record::RecordError;
use crate::input::{FieldError, cut};
use crate::manager::ManagerError;

/// Why a request to the exam was refused or could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExamError {
    /// One drill is open at a time.
    #[error("Drill {0} is open; close it first, or open the other with replace: true.")]
    Open(String),
    /// A report is made when its drill is closed.
    #[error("Drill {0} is still open; its report is there once it is closed.")]
    StillOpen(String),
    /// Nothing more is accepted for it.
    #[error("Drill {0} is closed.")]
    Closed(String),
    #[error("No drill is open.")]
    NotOpen,
    #[error("There is no drill {:?}.", cut(.0))]
    UnknownDrill(String),
    /// Every bad value of the request. Nothing was changed, and no answer used up.
    #[error("{} values are bad; nothing was changed.", .0.len())]
    Invalid(Vec<FieldError>),
    #[error("All {0} answers are used up; the last one counts.")]
    NoAnswersLeft(u32),
    #[error(
        "A drill needs a service that is blind from its start (Blind: true): what its log, its metrics and the names of \
         its threads have said cannot be taken back."
    )]
    NotBlind,
    /// No preset fits.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The faults of the plan cannot be started.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// A drill whose events cannot be kept has no mark after the end of the process.
    #[error("The drill cannot be kept: {0}. With volatile: true it ends with the process.")]
    NoStore(String),
    /// It ends the process, and all would be gone.
    #[error("Preset {preset} ends the process, and the drill cannot be kept: {reason}.")]
    NoStoreForEnd { preset: String, reason: String },
    /// The clients of the drill cannot be started.
    #[error("The drill's traffic cannot be started: {0}.")]
    NoTraffic(std::io::Error),
    /// Past drills cannot be read beside everything else.
    #[error("The system refuses a thread: {0}.")]
    NoThread(std::io::Error),
    /// The events of a closed drill make no report.
    #[error("Drill {id} has no report: {reason}.")]
    Unreadable { id: String, reason: RecordError },
    /// Its file cannot be read.
    #[error("The file of drill {id} cannot be read: {reason}.")]
    Unread { id: String, reason: std::io::Error },
    /// The daemon is shutting down; an open drill goes on when it boots again.
    #[error("The daemon is shutting down.")]
    Ending,
}
