//! Panics: each is logged and counts in `mockserver_panics_total`, on whatever thread or task it happens.
//!
//! A client also sees it in the answer, and a run in the reason of its failure. For other threads and tasks the log
//! is the only place.

use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tracing::error;

use super::LAST_WORDS;
use super::termination::MAIN;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many panics there were since [`install_hook`].
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Writes a panic to standard error, as it is or as it is shown.
pub(crate) type PrintPanic = Box<dyn Fn(&PanicHookInfo<'_>, &Shown) + Send + Sync>;

/// What a reader sees of a panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) thread: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) text: String,
}

/// From now on every panic is counted and logged, then printed. Where it is to look like one of the service
/// `disguised_as`, it is shown as one of that service's own code, and the log of the service has that too.
pub(crate) fn install_hook(disguised_as: Option<String>, print: PrintPanic) {
    std::panic::set_hook(Box::new(move |panic| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let real = Shown::of(panic);
        error!(
            thread = real.thread,
            location = real.location.as_ref().map(tracing::field::display),
            panic = real.text,
            "Panicked."
        );
        let Some(service) = &disguised_as else {
            return print(panic, &real);
        };
        let shown = real.disguised(service);
        error!(
            target: LAST_WORDS,
            thread = shown.thread,
            location = shown.location.as_ref().map(tracing::field::display),
            panic = shown.text,
            "Panicked."
        );
        print(panic, &shown);
    }));
}

impl Shown {
    fn of(panic: &PanicHookInfo<'_>) -> Self {
        Self {
            thread: thread::current().name().map(str::to_owned),
            location: panic.location().map(ToString::to_string),
            text: panic_text(panic.payload()).to_owned(),
        }
    }

    /// A panic that a handler of `service` might have, or the main thread that waits for its task.
    fn disguised(self, service: &str) -> Self {
        const DEFECT: &str = "index out of bounds: the len is 3 but the index is 7";
        let is_main = self.thread.as_deref() == Some(MAIN);
        let (location, text) = match is_main {
            true => (
                "src/main.rs:64:10".to_owned(),
                format!(
                    "called `Result::unwrap()` on an `Err` value: JoinError::Panic(Id(19), {DEFECT:?}, ...)"
                ),
            ),
            false => {
                let module = service.to_ascii_lowercase();
                let module = module.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
                (format!("src/handlers/{module}.rs:88:23"), DEFECT.to_owned())
            }
        };
        Self {
            location: Some(location),
            text,
            ..self
        }
    }
}

/// The text of a caught panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
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
    fn a_disguised_panic_is_one_of_the_service_itself() {
        let real = |thread: &str| Shown {
            thread: Some(thread.to_owned()),
            location: Some("src/scenarios/crash.rs:1:1".to_owned()),
            text: "a scenario".to_owned(),
        };
        let worker = real("tokio-rt-worker").disguised("Order-service");
        let location = worker.location.expect("a location");
        assert_eq!(location, "src/handlers/order_service.rs:88:23");
        assert!(worker.text.starts_with("index out of bounds"));
        let main = real(MAIN).disguised("orders");
        assert!(
            main.text.contains(&format!("{:?}", worker.text)),
            "{main:?}"
        );
        assert_eq!(main.location.as_deref(), Some("src/main.rs:64:10"));
    }

    #[test]
    fn a_panic_is_counted_and_logged_with_its_thread_and_place() {
        let print = std::panic::take_hook();
        install_hook(None, Box::new(move |panic, _| print(panic)));
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
