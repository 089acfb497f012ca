//! What the machine's disks transfer, for all processes together.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FsWord, StatFs, fstatfs, statfs};

/// The type of a file system in memory (`statfs(2)`).
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// Whether the bytes of `file` are in memory and reach no disk.
pub(crate) fn is_in_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|system| is_memory(&system))
}

/// The same of what is under `folder`.
pub(crate) fn is_in_memory_under(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|system| is_memory(&system))
}

fn is_memory(system: &StatFs) -> bool {
    system.f_type == TMPFS_MAGIC
}

/// Bytes read and written so far by each disk and partition, as `/proc/diskstats` counts them; nothing where it cannot
/// be read.
///
/// Source: `Documentation/admin-guide/iostats.rst` of the kernel, which counts in sectors of 512 bytes.
#[derive(Debug, Default)]
pub(crate) struct DiskTraffic(HashMap<String, u64>);

impl DiskTraffic {
    pub(crate) fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/diskstats").unwrap_or_default())
    }

    /// The bytes that the busiest disk has transferred since `earlier`.
    pub(crate) fn busiest_since(&self, earlier: &Self) -> u64 {
        let since =
            |(name, bytes): (&String, &u64)| Some(bytes.saturating_sub(*earlier.0.get(name)?));
        self.0.iter().filter_map(since).max().unwrap_or(0)
    }

    fn parse(text: &str) -> Self {
        // major minor name reads merged sectors ms writes merged sectors ...
        let disk = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(2);
            let name = fields.next()?.to_owned();
            let read: u64 = fields.nth(2)?.parse().ok()?;
            let written: u64 = fields.nth(3)?.parse().ok()?;
            Some((name, read.saturating_add(written).saturating_mul(512)))
        };
        Self(text.lines().filter_map(disk).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_disk_counts_reads_and_writes() {
        let before = " 254 0 vda 10 0 100 5 20 0 200 9 0 1 1\n   7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n";
        let after = " 254 0 vda 11 0 104 5 22 0 216 9 0 1 1\n   7 0 loop0 1 0 2 0 0 0 0 0 0 0 0\n 8 0 sda 9 0 9999 0 0 0 0\n";
        let (before, after) = (DiskTraffic::parse(before), DiskTraffic::parse(after));
        // A disk that has come in between has no earlier figure.
        assert_eq!(after.busiest_since(&before), 20 * 512);
        assert_eq!(
            DiskTraffic::parse("garbage\n1 2 x").busiest_since(&before),
            0
        );
    }
}
