//! The names of this process's threads, as `ps`, `top` and `/proc` show them.
//!
//! Each is named for what it does, unless the process is to look like an ordinary service: then all are named as the
//! workers of such a service are, and the main thread as the service.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};

/// How tokio names the threads of a runtime.
const WORKER: &str = "tokio-rt-worker";

// One for the process, like the names. They are no secret from its own code.
static DISGUISED: AtomicBool = AtomicBool::new(false);

/// Names the calling thread, which is the main one, like the service, and each that [`name`] names later like a worker.
pub(crate) fn disguise(service: &str) {
    DISGUISED.store(true, Ordering::Relaxed);
    // A zero in it ends it, as for the kernel, which cuts it to 15 bytes too.
    let until_zero = service.split('\0').next().unwrap_or_default();
    if let Ok(service) = CString::new(until_zero) {
        // It fails on no system that has names.
        rustix::thread::set_name(&service).ok();
    }
}

pub(crate) fn are_disguised() -> bool {
    DISGUISED.load(Ordering::Relaxed)
}

/// The name of a new thread that is there for `purpose`.
pub(crate) fn name(purpose: &str) -> String {
    let shown = if are_disguised() { WORKER } else { purpose };
    shown.to_owned()
}
