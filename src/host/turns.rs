//! How long a thread's turns on a CPU are.
//!
//! A fault burns at the priority of any other thread, and so does a neighbour. A thread that must answer beside them
//! takes short turns: it gets no more CPU than the others, but gets it as soon as it wakes up.

use libc::{SYS_sched_getattr, SYS_sched_setattr, c_long, sched_attr, syscall};

/// The shortest turn that the kernel grants.
const TURN_NS: u64 = 100_000;
/// `SCHED_FLAG_RESET_ON_FORK` of `linux/sched.h`: threads that it starts have turns of the usual length. They also lose
/// a priority above the usual one.
const RESET_ON_FORK: u64 = 0x01;

const THIS_THREAD: c_long = 0;
const NO_FLAGS: c_long = 0;

/// Lets the calling thread take short turns; returns whether the kernel took the request. A thread that was given
/// another scheduling policy keeps it.
///
/// It needs no privilege. Kernels from 6.12 on let a short turn preempt a longer one; earlier ones ignore it.
///
/// Source: `sched_setattr(2)`, and `sched_runtime` of ordinary threads in `Documentation/scheduler/sched-eevdf.rst`.
pub(crate) fn take_short_turns() -> bool {
    match attributes() {
        Some(attr) if attr.sched_policy == libc::SCHED_OTHER as u32 => set(&sched_attr {
            sched_runtime: TURN_NS,
            sched_flags: RESET_ON_FORK,
            ..attr
        }),
        _ => false,
    }
}

/// Those of the calling thread; none where the kernel or a sandbox refuses.
fn attributes() -> Option<sched_attr> {
    let size = size_of::<sched_attr>() as u32;
    let mut attr = sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    let to = &raw mut attr;
    #[expect(unsafe_code, reason = "no crate wraps this call")]
    // SAFETY: the kernel writes at most `size` bytes to the structure, which lives until the call returns.
    let read = unsafe { syscall(SYS_sched_getattr, THIS_THREAD, to, size, NO_FLAGS) };
    (read == 0).then_some(attr)
}

fn set(attr: &sched_attr) -> bool {
    #[expect(unsafe_code, reason = "no crate wraps this call")]
    // SAFETY: the kernel reads `attr.size` bytes of the structure, which is its size, and writes nothing.
    let set = unsafe { syscall(SYS_sched_setattr, THIS_THREAD, &raw const *attr, NO_FLAGS) };
    set == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_turns_are_of_the_thread_alone_and_leave_its_priority() {
        let read = || attributes().map(|attr| (attr.sched_nice, attr.sched_runtime));
        let before = read();
        // A sandbox may refuse it.
        if !take_short_turns() {
            return;
        }
        let child = std::thread::spawn(read).join().expect("no panic");
        // What a thread resets for its children includes a priority above the usual one.
        let usual = before.map(|(nice, turn)| (nice.max(0), turn));
        assert_eq!(child, usual);
        let nice = |of: Option<(i32, u64)>| of.map(|(nice, _)| nice);
        assert_eq!(nice(read()), nice(before));
    }
}
