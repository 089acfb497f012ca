//! What moves the bytes of a stream: writes that reach the disk, and reads that come from it.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use memmap2::MmapMut;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl};

use super::super::MIB;
use crate::host::disks::is_in_memory;
use crate::plugin::guard::StopFlag;

/// The largest size of the file that is written.
const FILE_BYTES: u64 = 256 * MIB;
/// The same on a file system in memory, where the bytes count as memory of the container and reach no disk at any size.
const FILE_BYTES_IN_MEMORY: u64 = 2 * MIB;
/// The size of the file that is read.
const READ_FILE_BYTES: u64 = 64 * MIB;
/// Before a region is overwritten, the cache of pages drops it: what was written in large pieces is cached in large pages,
/// and the kernel writes the whole of such a page however little of it changes. A multiple of any page.
const REGION: u64 = 2 * MIB;
/// The least that the kernel writes to a disk.
const PAGE: u64 = 4096;
/// The most bytes of one write call.
const BLOCK: usize = MIB as usize;
/// The bytes of one read, unless the request names them.
const READ_BLOCK: u64 = 256 * 1024;
/// How often the bytes due are transferred, where that is not by the block.
const STEP: Duration = Duration::from_millis(50);
const STEP_OF_BLOCKS: Duration = Duration::from_millis(10);

/// Moves bytes.
pub(super) trait Transfer {
    /// The least that is moved at a time.
    fn unit(&self) -> u64;

    /// How often what is due is moved.
    fn step(&self) -> Duration;

    /// Moves at most `most` bytes, a multiple of the unit, less at a stop; returns how many.
    fn some(&mut self, most: u64, stop: &StopFlag) -> io::Result<u64>;

    /// How many bytes a disk has transferred since the last call; none where that is what was moved.
    fn measured(&mut self) -> Option<u64> {
        None
    }
}

/// Random bytes, so that a disk that compresses or deduplicates must write them all. Mapped: the allocator would keep a
/// part of what it has for each thread. The start of a page is where direct reads can go.
fn random_bytes(bytes: usize) -> io::Result<MmapMut> {
    let mut block = MmapMut::map_anon(bytes)?;
    SmallRng::seed_from_u64(rand::random()).fill_bytes(&mut block);
    Ok(block)
}

/// Writes around in a file.
#[derive(Debug)]
pub(super) struct Writes {
    file: File,
    file_bytes: u64,
    bytes: MmapMut,
    written: u64,
    /// The bytes of each operation; none: as many as are due, in pages.
    block: Option<u64>,
    is_synced: bool,
}

impl Writes {
    pub(super) fn new(file: File, block: Option<u64>, is_synced: bool) -> io::Result<Self> {
        Ok(Self {
            file_bytes: match is_in_memory(&file) {
                true => FILE_BYTES_IN_MEMORY,
                false => FILE_BYTES,
            },
            file,
            bytes: random_bytes(BLOCK)?,
            written: 0,
            block,
            is_synced,
        })
    }
}

impl Transfer for Writes {
    fn unit(&self) -> u64 {
        self.block.unwrap_or(PAGE)
    }

    fn step(&self) -> Duration {
        match self.block {
            Some(_) => STEP_OF_BLOCKS,
            None => STEP,
        }
    }

    fn some(&mut self, most: u64, stop: &StopFlag) -> io::Result<u64> {
        let most = self.block.unwrap_or(most);
        let (file, bytes) = (&self.file, &self.bytes);
        let done = write_wrapping(file, bytes, self.written, most, self.file_bytes, stop)?;
        if self.is_synced {
            self.file.sync_data()?;
        }
        self.written += done;
        Ok(done)
    }
}

/// Writes `piece` bytes after the first `written` ones, wrapping around at the end of the file. Ends early at a stop;
/// returns how many bytes it wrote.
fn write_wrapping(
    file: &File,
    block: &[u8],
    written: u64,
    piece: u64,
    file_bytes: u64,
    stop: &StopFlag,
) -> io::Result<u64> {
    let mut done = 0;
    while done < piece && !stop.is_set() {
        let place = (written + done) % file_bytes;
        let within = place % REGION;
        if within == 0 {
            // Where this is refused, only figures of the kernel are too large.
            fadvise(file, place, NonZeroU64::new(REGION), Advice::DontNeed).ok();
        }
        let most = (piece - done)
            .min(file_bytes - place)
            .min(REGION - within)
            .min(block.len() as u64);
        file.write_all_at(&block[..most as usize], place)?;
        done += most;
    }
    Ok(done)
}

/// Reads blocks at random places of a file, past the kernel's cache of pages.
#[derive(Debug)]
pub(super) struct Reads {
    file: File,
    file_bytes: u64,
    block: u64,
    bytes: MmapMut,
    random: SmallRng,
    past_cache: PastCache,
}

/// How reads are kept from the cache.
#[derive(Debug, Clone, Copy, PartialEq)]
enum PastCache {
    /// The file system reads directly.
    Direct,
    /// What is in the cache is dropped before. Holds the bytes that this thread has caused to be read, as far as known.
    Dropped(Option<u64>),
    /// There is nothing but memory.
    Never,
}

impl Reads {
    /// Writes what is to be read.
    pub(super) fn prepare(file: File, block: Option<u64>, stop: &StopFlag) -> io::Result<Self> {
        let in_memory = is_in_memory(&file);
        let file_bytes = match in_memory {
            true => FILE_BYTES_IN_MEMORY,
            false => READ_FILE_BYTES,
        };
        let block = block.unwrap_or(READ_BLOCK);
        let content = random_bytes(BLOCK)?;
        write_wrapping(&file, &content, 0, file_bytes, file_bytes, stop)?;
        file.sync_data()?;
        let past_cache = match in_memory {
            true => PastCache::Never,
            false => direct(&file, block),
        };
        Ok(Self {
            file,
            file_bytes,
            block,
            bytes: random_bytes(block as usize)?,
            random: SmallRng::seed_from_u64(rand::random()),
            past_cache,
        })
    }
}

/// Makes reads of `file` direct, where its file system can do that.
fn direct(file: &File, block: u64) -> PastCache {
    let Ok(flags) = fcntl_getfl(file) else {
        return PastCache::Dropped(read_by_this_thread());
    };
    let set = fcntl_setfl(file, flags | OFlags::DIRECT);
    let tried = set
        .map_err(io::Error::from)
        .and_then(|()| file.read_at(&mut MmapMut::map_anon(block as usize)?, 0));
    if tried.is_ok() {
        return PastCache::Direct;
    }
    // Back to reads of any kind; where that fails too, the first read says so.
    fcntl_setfl(file, flags).ok();
    PastCache::Dropped(read_by_this_thread())
}

/// Bytes that a disk has read for the calling thread; none where that is not counted.
fn read_by_this_thread() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    let mut lines = io.lines();
    let read = lines.find_map(|line| line.strip_prefix("read_bytes:"))?;
    read.trim().parse().ok()
}

impl Transfer for Reads {
    fn unit(&self) -> u64 {
        self.block
    }

    fn step(&self) -> Duration {
        STEP_OF_BLOCKS
    }

    fn some(&mut self, _most: u64, _stop: &StopFlag) -> io::Result<u64> {
        let place = self.random.random_range(0..self.file_bytes / self.block) * self.block;
        if let PastCache::Dropped(_) = self.past_cache {
            let length = NonZeroU64::new(self.block);
            fadvise(&self.file, place, length, Advice::DontNeed)?;
        }
        self.file.read_exact_at(&mut self.bytes, place)?;
        Ok(self.block)
    }

    fn measured(&mut self) -> Option<u64> {
        match &mut self.past_cache {
            PastCache::Direct => None,
            PastCache::Never => Some(0),
            PastCache::Dropped(before) => {
                let now = read_by_this_thread();
                let read = now.zip(*before).map(|(now, before)| now - before);
                *before = now;
                read
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_wrap_around_in_a_bounded_file() {
        let file = tempfile::tempfile().expect("a file");
        let stop = StopFlag::default();
        let block = vec![7_u8; BLOCK];
        // Three blocks that begin half a block before the file's end.
        let start = FILE_BYTES - BLOCK as u64 / 2;
        let done = write_wrapping(&file, &block, start, 3 * BLOCK as u64, FILE_BYTES, &stop)
            .expect("writes");
        assert_eq!(done, 3 * BLOCK as u64);
        assert_eq!(file.metadata().expect("its size").len(), FILE_BYTES);
        stop.set();
        assert_eq!(
            write_wrapping(&file, &block, 0, 10, FILE_BYTES, &stop).expect("no write"),
            0
        );
    }

    #[test]
    fn each_operation_writes_one_block() {
        let file = tempfile::tempfile().expect("a file");
        let mut writes = Writes::new(file, Some(8192), true).expect("memory");
        let stop = StopFlag::default();
        assert_eq!(writes.unit(), 8192);
        for written in [8192, 16_384] {
            assert_eq!(writes.some(1 << 20, &stop).expect("a write"), 8192);
            assert_eq!(writes.written, written);
        }
    }

    #[test]
    fn reads_are_of_what_was_written_and_not_from_memory() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let file = tempfile::tempfile_in(folder.path()).expect("a file");
        let stop = StopFlag::default();
        let mut reads = Reads::prepare(file, Some(65_536), &stop).expect("it can be read");
        let before = read_by_this_thread();
        reads.bytes.fill(0);
        for _ in 0..16 {
            assert_eq!(reads.some(1 << 20, &stop).expect("a read"), 65_536);
        }
        assert!(reads.bytes.iter().any(|byte| *byte != 0));
        let read = read_by_this_thread()
            .zip(before)
            .map(|(now, before)| now - before);
        if reads.past_cache == PastCache::Direct {
            // A file system that is not a disk's own may not count.
            assert!(
                read.is_none_or(|read| read == 0 || read >= 16 * 65_536),
                "{read:?}"
            );
        }
    }
}
