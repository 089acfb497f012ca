//! CPU time that a request takes.

use std::hint::black_box;
use std::time::Duration;

use crate::host::process::thread_cpu;

/// Between two looks at the clock: some microseconds.
const STEPS: u64 = 4000;

/// Computes until this thread has used `cpu` more, however long that takes beside other load.
pub(super) fn use_cpu(cpu: Duration) {
    if cpu.is_zero() {
        return;
    }
    let end = thread_cpu() + cpu;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while thread_cpu() < end {
        for _ in 0..STEPS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        black_box(state);
    }
}
