//! Keeps the program's code in memory.
//!
//! Code is page cache of the program's file. When a control group is full, the kernel takes such pages before it does
//! anything else, and a process that reads its own code from the disk again and again neither answers nor is killed.
//! Locked pages stay, so that a full group shows at once: the leak at its end is killed, and status and stop answer
//! until then.

use std::ffi::c_void;
use std::fs;
use std::ops::Range;

use rustix::mm::{MlockFlags, mlock_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Locks the pages of the program and its libraries, as far as they are in memory now or come to be. Where the system
/// allows fewer locked pages than that, the rest is not locked.
///
/// Source: `MLOCK_ONFAULT` in `mlock2(2)`; `RLIMIT_MEMLOCK` bounds it.
pub(crate) fn keep_in_memory() {
    let limit = getrlimit(Resource::Memlock);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // What is allowed before may be enough.
    setrlimit(Resource::Memlock, raised).ok();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for Range { start, end } in maps.lines().filter_map(file_mapping) {
        #[expect(unsafe_code, reason = "rustix has no safe form of it")]
        // SAFETY: a lock changes nothing that the program can see, and the kernel refuses what is not mapped.
        let locked = unsafe { mlock_with(start as *mut c_void, end - start, MlockFlags::ONFAULT) };
        // A smaller one may still fit into what is allowed.
        locked.ok();
    }
}

/// The addresses of one line of `/proc/self/maps`, if it maps a file: `start-end perms offset device inode path`.
///
/// Source: `proc(5)`.
fn file_mapping(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    fields
        .nth(4)?
        .starts_with('/')
        .then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mappings_of_files_are_found() {
        let code = "7f10-7f20 r-xp 00001000 08:01 77    /usr/lib/libc.so.6";
        assert_eq!(file_mapping(code), Some(0x7f10..0x7f20));
        for other in [
            "7f10-7f20 rw-p 00000000 00:00 0",
            "7f10-7f20 rw-p 0 0:0 0 [heap]",
            "",
            "x",
        ] {
            assert_eq!(file_mapping(other), None, "{other:?}");
        }
    }

    #[test]
    fn code_is_locked_where_the_system_allows_it() {
        keep_in_memory();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
        let locked: u64 = locked
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        let allowed = getrlimit(Resource::Memlock).current;
        assert!(
            locked > 0 || allowed.is_some_and(|most| most < 1 << 20),
            "{locked} kB of {allowed:?}"
        );
    }
}
