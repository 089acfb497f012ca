//! Keeps the program's code in memory.
//!
//! Code is page cache of the program's file. When a control group is full, the kernel takes such pages before it does
//! anything else, and a process that reads its own code from the disk again and again neither answers nor is killed.
//! Locked pages stay, so that a full group shows at once: the leak at its end is killed, and status and stop answer
//! until then.

use std::ffi::c_void;
use std::fs;
use std::ops::Range;

use rustix::mm::{Advice, MlockFlags, madvise, mlock_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Locks the pages of the program and its libraries, as far as they come to be in memory. Where the system allows fewer
/// locked pages than that, the rest is not locked. Code that only the start needed is given back: the daemon counts
/// megabytes less.
///
/// Source: `MLOCK_ONFAULT` in `mlock2(2)`, `MADV_DONTNEED` in `madvise(2)`; `RLIMIT_MEMLOCK` bounds it.
pub(crate) fn keep_in_memory() {
    let limit = getrlimit(Resource::Memlock);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // What is allowed before may be enough.
    setrlimit(Resource::Memlock, raised).ok();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (Range { start, end }, is_code) in maps.lines().filter_map(file_mapping) {
        let (address, length) = (start as *mut c_void, end - start);
        if is_code {
            #[expect(unsafe_code, reason = "rustix has no safe form of it")]
            // SAFETY: nothing writes to code, so the next use finds the same pages in the file.
            let given_back = unsafe { madvise(address, length, Advice::LinuxDontNeed) };
            // It then stays in memory.
            given_back.ok();
        }
        #[expect(unsafe_code, reason = "rustix has no safe form of it")]
        // SAFETY: a lock changes nothing that the program can see, and the kernel refuses what is not mapped.
        let locked = unsafe { mlock_with(address, length, MlockFlags::ONFAULT) };
        // A smaller one may still fit into what is allowed.
        locked.ok();
    }
}

/// The addresses of one line of `/proc/self/maps`, if it maps a file, and whether that is code that nothing writes to:
/// `start-end perms offset device inode path`.
///
/// Source: `proc(5)`.
fn file_mapping(line: &str) -> Option<(Range<usize>, bool)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp";
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    fields
        .nth(3)?
        .starts_with('/')
        .then_some((address(start)?..address(end)?, is_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mappings_of_files_are_found() {
        let code = "7f10-7f20 r-xp 00001000 08:01 77    /usr/lib/libc.so.6";
        assert_eq!(file_mapping(code), Some((0x7f10..0x7f20, true)));
        let data = "7f10-7f20 r--p 00001000 08:01 77    /usr/lib/libc.so.6";
        assert_eq!(file_mapping(data), Some((0x7f10..0x7f20, false)));
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
