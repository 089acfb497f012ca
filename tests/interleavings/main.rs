//! The stop flag, the threads of a run and the fine timer under every order in which threads can run.
//!
//! The modules are compiled a second time here, with loom's types instead of the standard library's: `cfg(loom)` would
//! change tokio as well. Loom runs each model with every choice that the scheduler and the memory model of the
//! processor have. A lost wake-up leaves threads that wait for ever, which loom reports. Its timed waits never time
//! out, so only the wake-up can end them.

mod sync;

// The modules import these from `crate`; no model looks at a text.
mod host {
    pub(crate) mod threads {
        pub(crate) fn name(purpose: &str) -> String {
            purpose.to_owned()
        }
    }
}
mod lifecycle {
    pub(crate) mod panics {
        pub(crate) fn panic_text(_: &(dyn std::any::Any + Send)) -> &str {
            "a panic"
        }
    }
}
#[path = "../../src/plugin/guard.rs"]
#[expect(
    unused_imports,
    unreachable_pub,
    reason = "compiled for the models only"
)]
mod guard;
#[path = "../../src/fault/timer.rs"]
#[expect(dead_code, unused_imports, reason = "compiled for the models only")]
mod timer;

mod guards;
mod sleeps;

// `guard.rs` imports them from its parent module.
use mockserver::plugin::{Exit, StartError};

/// How often the scheduler may preempt a thread in one run: two are enough to show known kinds of bugs.
const PREEMPTIONS: usize = 3;

type Model = (&'static str, fn());

fn main() {
    // Cargo's own flags, and the name of a test of another file.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    for (name, model) in [guards::MODELS, sleeps::MODELS].concat() {
        if wanted(name) {
            explore(name, model);
        }
    }
}

/// Later than the end of any model.
fn in_an_hour() -> std::time::Instant {
    std::time::Instant::now() + std::time::Duration::from_secs(3600)
}

fn explore(name: &str, model: fn()) {
    let start = std::time::Instant::now();
    let orders = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tried = std::sync::Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    let orders = orders.load(std::sync::atomic::Ordering::Relaxed);
    println!(
        "{name}: {orders} orders, {} ms",
        start.elapsed().as_millis()
    );
}
