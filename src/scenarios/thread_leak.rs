//! `thread_leak`: starts threads that sleep for ever.
//!
//! The thread that starts them is the first of them, so that the process has as many more threads as are asked for.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle, park};

use rustix::process::{Resource as SystemResource, getrlimit};

use crate::host::{allocator, threads};
use crate::input::{FieldError, Fields, Resource};
use crate::plugin::hoard::{Hoard, Leak, Refusal};
use crate::plugin::{Active, Group, PreflightContext, RunContext, Scenario, Shortfall, StartError};

const MOST: u32 = 1_000_000;
const MOST_PER_SECOND: f64 = 100_000.0;
/// The memory of a sleeping thread, its kernel stack, page tables and touched pages included.
const THREAD_BYTES: f64 = 50_000.0;
/// Mappings of a thread: its stack and the one for signals, each with a guard page.
const MAPS_OF_A_THREAD: u64 = 4;
/// Mappings that are left to the daemon: an allocator that gets none ends the process.
const RESERVED_MAPS: u64 = 4096;
/// The kernel's default of `vm.max_map_count`.
const USUAL_MOST_MAPS: u64 = 65_530;
/// Address space that is left to the daemon where it is limited.
const RESERVED_BYTES: u64 = 64 * 1024 * 1024;
/// How many threads end at a time: more would take the CPUs from everything else.
const ENDING: usize = 64;

/// Leaks threads.
#[derive(Debug)]
pub(super) struct ThreadLeak {
    leak: Leak,
    stack_kb: u32,
}

impl Scenario for ThreadLeak {
    const NAME: &'static str = "thread_leak";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Starts threads that never end";
    const EXAMPLE: &'static str = r#"{"per_second": 20, "max": 200}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How many threads are started in each second.";
        let field = fields.field("per_second", about).unit("threads/s");
        let per_second = field.shape(0.0..=MOST_PER_SECOND, 10.0);
        let most = super::most_in_the_end(fields, Resource::Threads, "threads", MOST);
        let about = "The stack of each: address space, of which a thread that sleeps uses little.";
        let stack_kb = fields.field("stack_kb", about).unit("KiB");
        Self {
            stack_kb: stack_kb.integer(64..=1_048_576, 2048),
            leak: Leak {
                per_second,
                most,
                unit: "threads",
                metric: "current_threads",
            },
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let threads = self.leak.most_within(context.duration);
        // A leak without an end needs no warning of how it ends.
        let bytes = threads
            .is_finite()
            .then_some((threads * THREAD_BYTES) as u64);
        Ok(bytes.and_then(|bytes| context.memory_warning(bytes)))
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let stack = self.stack_kb as usize * 1024;
        self.leak.start(cx, "pool", move || Sleepers::new(stack))
    }
}

/// Threads that sleep until this is dropped, which waits for their end.
#[derive(Debug)]
struct Sleepers {
    stack: usize,
    /// Whether the thread that starts the others counts by now.
    is_first_taken: bool,
    others: Vec<JoinHandle<()>>,
    are_released: Arc<AtomicBool>,
    /// How many threads the mappings of the process allow.
    most: u64,
}

impl Sleepers {
    fn new(stack: usize) -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let used = maps.lines().count() as u64 + RESERVED_MAPS;
        let most = fs::read_to_string("/proc/sys/vm/max_map_count");
        let most = most.ok().and_then(|most| most.trim().parse().ok());
        let free = most.unwrap_or(USUAL_MOST_MAPS).saturating_sub(used);
        Self {
            stack,
            is_first_taken: false,
            others: Vec::new(),
            are_released: Arc::default(),
            most: free / MAPS_OF_A_THREAD,
        }
    }

    /// Whether there is address space for one more and for the daemon.
    fn has_space(&self) -> bool {
        let Some(limit) = getrlimit(SystemResource::As).current else {
            return true;
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut lines = status.lines();
        let mapped = lines.find_map(|line| line.strip_prefix("VmSize:"));
        let mapped_kb = mapped.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        mapped_kb.unwrap_or(0_u64) * 1024 + self.stack as u64 + RESERVED_BYTES <= limit
    }
}

impl Hoard for Sleepers {
    fn bytes_each(&self) -> f64 {
        THREAD_BYTES
    }

    fn held(&self) -> u64 {
        self.others.len() as u64 + u64::from(self.is_first_taken)
    }

    fn take(&mut self) -> Result<(), Refusal> {
        if !self.is_first_taken {
            self.is_first_taken = true;
            return Ok(());
        }
        if self.others.len() as u64 >= self.most || !self.has_space() {
            return Err(Refusal::ForNow(Shortfall::Reserved));
        }
        let are_released = Arc::clone(&self.are_released);
        let sleep = move || {
            while !are_released.load(Ordering::Acquire) {
                park();
            }
        };
        let thread = Builder::new()
            .name(threads::name("pool"))
            .stack_size(self.stack);
        match thread.spawn(sleep) {
            Ok(thread) => self.others.push(thread),
            // No thread for now, or no memory for one.
            Err(_) => return Err(Refusal::ForNow(Shortfall::Refused)),
        }
        Ok(())
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        self.are_released.store(true, Ordering::Release);
        while !self.others.is_empty() {
            let ending = self
                .others
                .split_off(self.others.len().saturating_sub(ENDING));
            for thread in &ending {
                thread.thread().unpark();
            }
            for thread in ending {
                // It does nothing that could panic.
                drop(thread.join());
            }
        }
        allocator::schedule_trim();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<ThreadLeak>(json!({ "per_second": 10, "stack_kb": 2048 }));
    }

    #[tokio::test]
    async fn a_fast_leak_starts_and_stops() {
        starts_and_stops::<ThreadLeak>(json!({ "per_second": 1000, "max": 5 })).await;
    }

    #[test]
    fn the_first_thread_is_the_one_that_starts_the_others() {
        let mut sleepers = Sleepers::new(64 * 1024);
        assert!(sleepers.most > 1000, "{}", sleepers.most);
        for held in 0..5 {
            assert_eq!(sleepers.held(), held);
            sleepers.take().expect("a thread");
        }
        assert_eq!(sleepers.others.len(), 4);
    }
}
