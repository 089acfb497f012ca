//! The memory of a leak: mapped directly, filled so that it stays resident, given back whole.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;

use memmap2::{Advice, MmapMut, MmapOptions, UncheckedAdvice};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::MIB;
use crate::host::threads;
use crate::plugin::effort::Work;
use crate::plugin::guard::StopFlag;

/// The size of one mapping. The kernel merges neighbouring mappings, so their number is no limit; and virtual memory
/// grows along with resident memory, as in a real leak.
const CHUNK: usize = 4 * MIB as usize;
/// The most bytes written between two checks of the stop flag: a fraction of a millisecond, and few enough that they
/// are still in a cache of the CPU when they are filled.
const PIECE: usize = 256 * 1024;
/// The least size of a page.
const PAGE: usize = 4096;

/// The mapped memory. Dropping it gives all of it back to the kernel.
#[derive(Debug)]
pub(super) struct HeldMemory {
    chunks: Vec<MmapMut>,
    touched: u64,
    filling: Filling,
}

impl HeldMemory {
    /// Nothing yet.
    ///
    /// # Errors
    /// The system refuses memory.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            chunks: Vec::new(),
            touched: 0,
            filling: Filling::new()?,
        })
    }

    /// How many bytes are held.
    pub(super) fn touched(&self) -> u64 {
        self.touched
    }

    /// Touches more, up to `due` bytes in total: one piece, or a chunk on each of `threads` where so much is due. A
    /// stop ends it early.
    pub(super) fn grow(
        &mut self,
        due: u64,
        threads: usize,
        stop: &StopFlag,
    ) -> std::io::Result<Work> {
        let missing = usize::try_from(due.saturating_sub(self.touched)).unwrap_or(usize::MAX);
        // Chunks have one size, so the number of touched bytes gives the place of the next.
        let within = (self.touched % CHUNK as u64) as usize;
        let whole = threads.min(missing / CHUNK);
        if within == 0 && whole > 1 {
            return self.grow_side_by_side(whole, stop);
        }
        if within == 0 {
            self.chunks.push(new_chunk()?);
        }
        let Some(chunk) = self.chunks.last_mut() else {
            return Ok(Work::default());
        };
        let end = (within + missing.min(PIECE)).min(CHUNK);
        let filling = &self.filling;
        let (work, ()) = Work::of(|| filling.fill(chunk, within, end));
        self.touched += (end - within) as u64;
        Ok(work)
    }

    /// Touches `count` whole chunks, each on a thread of its own; fewer where the system refuses a thread.
    fn grow_side_by_side(&mut self, count: usize, stop: &StopFlag) -> std::io::Result<Work> {
        let mut fresh = Vec::with_capacity(count);
        for _ in 0..count {
            fresh.push(new_chunk()?);
        }
        let filling = &self.filling;
        let mut work = Work::default();
        let filled = std::thread::scope(|scope| {
            let mut chunks = fresh.iter_mut();
            let own = chunks.next();
            let spawn = |chunk| {
                let thread = Builder::new().name(threads::name("heap"));
                thread
                    .spawn_scoped(scope, move || filling.fill_chunk(chunk, stop))
                    .ok()
            };
            let others: Vec<_> = chunks.map_while(spawn).collect();
            let filled = 1 + others.len();
            work.join(own.map_or_else(Work::default, |chunk| filling.fill_chunk(chunk, stop)));
            for other in others {
                work.join(other.join().unwrap_or_default());
            }
            filled
        });
        fresh.truncate(filled);
        self.touched += (filled * CHUNK) as u64;
        self.chunks.append(&mut fresh);
        Ok(work)
    }

    /// Gives back what exceeds `most` bytes.
    pub(super) fn shrink(&mut self, most: u64) {
        if most >= self.touched {
            return;
        }
        let within = (most % CHUNK as u64) as usize;
        let kept = usize::try_from(most.div_ceil(CHUNK as u64)).unwrap_or(usize::MAX);
        self.chunks.truncate(kept);
        if let Some(chunk) = self.chunks.last_mut().filter(|_| within > 0) {
            let unused = within.next_multiple_of(PAGE);
            #[expect(unsafe_code, reason = "memmap2 has no safe form of it")]
            // SAFETY: the pages are private, nothing refers to them, and they read as zeros from now on.
            let given_back = unsafe {
                chunk.unchecked_advise_range(UncheckedAdvice::DontNeed, unused, CHUNK - unused)
            };
            // Cannot fail for pages that are mapped; if it does, they are touched again with the next growth.
            given_back.ok();
        }
        self.touched = most;
    }
}

fn new_chunk() -> std::io::Result<MmapMut> {
    let chunk = MmapOptions::new().len(CHUNK).map_anon()?;
    // Huge pages would turn the line into steps of two mebibytes. A kernel without them refuses the advice; that is
    // fine.
    chunk.advise(Advice::NoHugePage).ok();
    Ok(chunk)
}

/// What pages are filled with: random bytes, and at the start of each page a number that no other page has. So they can
/// be neither compressed nor merged nor left unbacked, at the cost of a copy.
#[derive(Debug)]
struct Filling {
    /// Mapped too: the allocator would keep it for long.
    block: MmapMut,
    stamps: AtomicU64,
}

impl Filling {
    fn new() -> std::io::Result<Self> {
        let mut random = SmallRng::seed_from_u64(rand::random());
        let mut block = MmapOptions::new().len(PIECE).map_anon()?;
        random.fill_bytes(&mut block);
        Ok(Self {
            block,
            stamps: AtomicU64::new(random.next_u64()),
        })
    }

    /// Fills a whole chunk, or less of it when a stop comes. Returns the work that it was.
    fn fill_chunk(&self, chunk: &mut MmapMut, stop: &StopFlag) -> Work {
        let fill = || {
            let mut pieces = (0..CHUNK).step_by(PIECE);
            while let Some(start) = pieces.next().filter(|_| !stop.is_set()) {
                self.fill(chunk, start, start + PIECE);
            }
        };
        Work::of(fill).0
    }

    /// Fills the bytes from `start` to `end`, which lie in one piece of the chunk or in two.
    fn fill(&self, chunk: &mut MmapMut, start: usize, end: usize) {
        // One call to the kernel instead of a fault for each page. Where it cannot do that, the faults come.
        chunk
            .advise_range(Advice::PopulateWrite, start, end - start)
            .ok();
        let mut at = start;
        while at < end {
            let of_block = &self.block[at % PIECE..];
            let length = of_block.len().min(end - at);
            chunk[at..at + length].copy_from_slice(&of_block[..length]);
            at += length;
        }
        for page in (start.next_multiple_of(PAGE)..end).step_by(PAGE) {
            let stamp = self.stamps.fetch_add(1, Ordering::Relaxed).to_ne_bytes();
            let length = stamp.len().min(end - page);
            chunk[page..page + length].copy_from_slice(&stamp[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn grown(due: u64, threads: usize) -> HeldMemory {
        let mut held = HeldMemory::new().expect("memory");
        grow(&mut held, due, threads);
        held
    }

    fn grow(held: &mut HeldMemory, due: u64, threads: usize) {
        while held.touched() < due {
            held.grow(due, threads, &StopFlag::default())
                .expect("memory");
        }
    }

    #[test]
    fn memory_grows_across_chunks_by_exactly_the_bytes_due() {
        for threads in [1, 3] {
            let due = 4 * CHUNK as u64 + 12_345;
            let held = grown(due, threads);
            assert_eq!((held.touched(), held.chunks.len()), (due, 5));
            for chunk in &held.chunks[..4] {
                // Random bytes: about half of the bits are set.
                let ones: u64 = chunk.iter().map(|byte| u64::from(byte.count_ones())).sum();
                let half = CHUNK as u64 * 4;
                assert!(
                    ones.abs_diff(half) < half / 100,
                    "{ones} of {half} bits are set"
                );
            }
            assert!(held.chunks[4][12_345..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn no_two_pages_are_alike_however_small_the_steps_are() {
        let mut held = HeldMemory::new().expect("memory");
        for due in (0..=2 * CHUNK as u64).step_by(5_000) {
            grow(&mut held, due, 1);
        }
        let pages = held.chunks.iter().flat_map(|chunk| chunk.chunks(PAGE));
        let touched = (held.touched() / PAGE as u64) as usize;
        let distinct: HashSet<&[u8]> = pages.take(touched).collect();
        assert_eq!(distinct.len(), touched);
    }

    #[test]
    fn what_is_given_back_is_touched_again_by_growth() {
        let mut held = grown(3 * CHUNK as u64, 1);
        let most = CHUNK as u64 + 10_000;
        held.shrink(most);
        assert_eq!((held.touched(), held.chunks.len()), (most, 2));
        let kept = &held.chunks[1];
        assert!(kept[..10_000].iter().any(|byte| *byte != 0));
        assert!(kept[3 * PAGE..].iter().all(|byte| *byte == 0));
        grow(&mut held, 2 * CHUNK as u64, 1);
        assert!(held.chunks[1][CHUNK - PAGE..].iter().any(|byte| *byte != 0));
        held.shrink(0);
        assert_eq!((held.touched(), held.chunks.len()), (0, 0));
        held.shrink(1);
        assert_eq!(held.touched(), 0);
    }
}
