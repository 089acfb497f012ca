//! Panics: each is logged and counts in `mockserver_panics_total`, on whatever thread or task it happens.
//!
//! A client also sees it in the answer, and a run in the reason of its failure. For other threads and tasks the log
//! is the only place.

use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tracing::error;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many panics there were since [`install_hook`].
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Writes a panic to standard error.
pub(crate) type PrintPanic = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// From now on every panic is counted and logged, then printed.
pub(crate) fn install_hook(print: PrintPanic) {
    std::panic::set_hook(Box::new(move |panic| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        log(panic);
        print(panic);
    }));
}

/// The text of a caught panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

fn log(panic: &PanicHookInfo<'_>) {
    error!(
        thread = thread::current().name(),
        location = panic.location().map(tracing::field::display),
        panic = panic_text(panic.payload()),
        "Panicked."
    );
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{self, Write};
    use std::panic::catch_unwind;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a log writes.
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        pub(crate) fn text(&self) -> String {
            let bytes = self.0.lock().expect("no panic here").clone();
            String::from_utf8(bytes).expect("a text")
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic here").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_counted_and_logged_with_its_thread_and_place() {
        install_hook(std::panic::take_hook());
        let (lines, before) = (Lines::default(), count());
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let panics = || catch_unwind(|| panic!("a defect: {}", 7)).expect_err("a panic");
        let thread = thread::Builder::new().name("background".to_owned());
        let thread = thread.spawn(move || drop(tracing::subscriber::with_default(log, panics)));
        thread.expect("a thread").join().expect("it is caught");
        assert!(count() > before);
        let text = lines.text();
        for part in [
            "ERROR",
            "Panicked.",
            "panic=\"a defect: 7\"",
            "thread=\"background\"",
            "location=src/lifecycle/panics.rs:",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
