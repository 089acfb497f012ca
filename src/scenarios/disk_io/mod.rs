//! `disk_io`: a steady stream of writes that really reach the disk, of reads that really come from it, or both.
//!
//! The bytes go to one unnamed file, which the kernel frees however the process ends. Writes wrap around in it, so the
//! space it takes is bounded at any rate. What is read is another such file, which is written at the start.

mod stream;
mod transfer;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use self::stream::{Stream, Surroundings};
use self::transfer::{Reads, Writes};
use super::{MIB, metrics};
use crate::input::{Fields, Resource, Shape, above};
use crate::plugin::guard::{StopFlag, ThreadGroup};
use crate::plugin::shaped::Shaped;
use crate::plugin::{Active, Group, Probe, Reading, RunContext, Scenario, StartError};

const KIB: u64 = 1024;
/// The sizes of a block in KiB.
const BLOCKS_KB: [u64; 9] = [4, 8, 16, 32, 64, 128, 256, 512, 1024];
/// The bytes of an operation where only their number is given.
const USUAL_BLOCK: u64 = 4 * KIB;
const MOST_MB: f64 = 100_000.0;

/// Writes to disk, reads from it, or both.
#[derive(Debug)]
pub(super) struct DiskIo {
    writes: Option<WriteRate>,
    read_rate_mb: Option<Shape>,
    block: Option<u64>,
    is_synced: bool,
}

#[derive(Debug)]
enum WriteRate {
    Mb(Shape),
    Iops(Shape),
}

impl Scenario for DiskIo {
    const NAME: &'static str = "disk_io";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Writes to disk at the specified rate";
    const EXAMPLE: &'static str = r#"{"write_rate_mb": 20}"#;

    fn read(fields: &mut Fields) -> Self {
        fields.either("write_rate_mb", "iops");
        let (writes_mb, reads) = (fields.has("write_rate_mb"), fields.has("read_rate_mb"));
        let about = "How much is written and synced in each second; nothing by default beside read_rate_mb.";
        let field = fields.field("write_rate_mb", about).unit("MiB/s");
        let field = field.asks_for(Resource::DiskMbPerSecond);
        let write_rate_mb = field.shape(above(0.0, MOST_MB), 50.0);
        let about = "How much is read from the disk, past the page cache, in each second.";
        let field = fields.field("read_rate_mb", about).unit("MiB/s");
        let field = field.asks_for(Resource::DiskMbPerSecond).optional();
        let read_rate_mb = field.shape(above(0.0, MOST_MB));
        let about = "How many blocks are written in each second, instead of write_rate_mb.";
        let field = fields.field("iops", about).unit("operations/s").optional();
        let iops = field.shape(above(0.0, 1_000_000.0));
        let about = "The size of each write and read; 4 by default with iops.";
        let block = fields.field("block_kb", about).unit("KiB").optional();
        let sizes = "must be one of 4, 8, 16, 32, 64, 128, 256, 512, 1024";
        let block = block.value(json!({ "enum": BLOCKS_KB }), sizes, |value| {
            let kb = value.as_f64()?;
            BLOCKS_KB.into_iter().find(|known| *known as f64 == kb)
        });
        let about = "Whether each write is synced to the disk, which it is by default.";
        let sync = fields.field("sync", about).optional();
        let sync = sync.value(
            json!({ "type": "boolean" }),
            "must be true or false",
            Value::as_bool,
        );
        let block = block.map(|kb| kb * KIB);
        let writes = match iops {
            Some(iops) => Some(WriteRate::Iops(iops)),
            None if reads && !writes_mb => None,
            None => Some(WriteRate::Mb(write_rate_mb)),
        };
        if !matches!(writes, Some(WriteRate::Mb(_))) {
            fields.withdraw("write_rate_mb");
        }
        let this = Self {
            writes,
            read_rate_mb,
            block,
            is_synced: sync.unwrap_or(true),
        };
        if let (Some(most), Some(WriteRate::Iops(iops))) = (
            fields.lasting_ceiling(Resource::DiskMbPerSecond),
            &this.writes,
        ) && iops.largest() * this.bytes_of_an_operation() as f64 > most * MIB as f64
        {
            let detail = format!("must write at most {most} MiB/s (Limits.DiskMbPerSecond)");
            fields.reject("iops", detail);
        }
        this
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let total = Arc::new(AtomicU64::new(0));
        let stream = |rate, scale| {
            let rate = Shaped::begin(rate, cx.lived());
            Arc::new(Stream::new(rate, scale, &total))
        };
        let operation = match self.writes {
            Some(WriteRate::Iops(_)) => Some(self.bytes_of_an_operation()),
            _ => None,
        };
        let (block, is_synced) = (self.block.or(operation), self.is_synced);
        let writes = self.writes.map(|rate| match rate {
            WriteRate::Mb(rate) => stream(rate, MIB as f64),
            WriteRate::Iops(rate) => stream(rate, block.unwrap_or(USUAL_BLOCK) as f64),
        });
        let streams = Streams {
            operation,
            writes,
            reads: self.read_rate_mb.map(|rate| stream(rate, MIB as f64)),
        };
        let mut threads = cx.threads();
        let mut made = Vec::new();
        if let Some(stream) = streams.writes.clone() {
            made.push(on_a_file(
                &cx,
                &mut threads,
                "flush",
                move |file, around| {
                    let mut writes = Writes::new(file, block, is_synced).map_err(refused_write)?;
                    stream.run(&mut writes, around).map_err(refused_write)
                },
            )?);
        }
        if let Some(stream) = streams.reads.clone() {
            made.push(on_a_file(
                &cx,
                &mut threads,
                "fetch",
                move |file, around| {
                    let mut reads =
                        Reads::prepare(file, block, around.stop).map_err(refused_write)?;
                    let outcome = stream.run(&mut reads, around);
                    outcome.map_err(|error| format!("the disk refused a read: {error}"))
                },
            )?);
        }
        for made in made {
            match made.await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return Err(StartError::new(reason)),
                Err(_) => return Err(StartError::new("the writing thread ended at its start")),
            }
        }
        Ok(Active::new(Arc::new(streams), threads.run_until(cx.stop)))
    }
}

impl DiskIo {
    fn bytes_of_an_operation(&self) -> u64 {
        self.block.unwrap_or(USUAL_BLOCK)
    }
}

fn refused_write(error: std::io::Error) -> String {
    format!("the disk refused a write: {error}")
}

/// Whether a file could be made.
type Made = oneshot::Receiver<Result<(), String>>;

/// Lets a thread `work` on a file of its own, which it makes: even that takes long on a disk that is busy or hangs.
fn on_a_file(
    cx: &RunContext,
    threads: &mut ThreadGroup,
    purpose: &str,
    work: impl FnOnce(File, &Surroundings<'_>) -> Result<(), String> + Send + 'static,
) -> Result<Made, StartError> {
    let (send_made, made) = oneshot::channel();
    let data_dir = cx.data_dir().to_owned();
    let (lived, cgroup) = (cx.lived().clone(), cx.cgroup().clone());
    threads.spawn(purpose, move |stop: &StopFlag| {
        let file = unnamed_file(&data_dir).map_err(|error| {
            let dir = data_dir.display();
            format!("no file can be made under DataDir {dir}: {error}")
        });
        let outcome = file.as_ref().map(drop).map_err(Clone::clone);
        send_made.send(outcome).ok();
        let around = Surroundings {
            lived: &lived,
            cgroup: &cgroup,
            stop,
        };
        work(file?, &around)
    })?;
    Ok(made)
}

/// A file in `directory` that has no name and is gone with its last handle.
pub(super) fn unnamed_file(directory: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory)
}

/// What a run does.
#[derive(Debug)]
struct Streams {
    /// The bytes of an operation, where their number is what is asked.
    operation: Option<u64>,
    writes: Option<Arc<Stream>>,
    reads: Option<Arc<Stream>>,
}

impl Streams {
    fn all(&self) -> impl Iterator<Item = &Stream> {
        let both = self.writes.iter().chain(&self.reads);
        both.map(|stream| &**stream)
    }

    fn metrics(&self) -> Map<String, Value> {
        let mut figures = Map::new();
        let mb = |bytes: f64| bytes / MIB as f64;
        let rounded = |figure: f64| Value::from((figure * 100.0).round() / 100.0);
        let named = [
            (&self.writes, "current_write_rate_mb", "written_mb"),
            (&self.reads, "current_read_rate_mb", "read_mb"),
        ];
        for (stream, rate, total) in named {
            let Some(stream) = stream else { continue };
            let recent = stream.achieved().unwrap_or(0.0);
            figures.extend(metrics([
                (rate, rounded(mb(recent))),
                (total, mb(stream.total() as f64).floor().into()),
            ]));
            if let (Some(bytes), "written_mb") = (self.operation, total) {
                figures.extend(metrics([(
                    "current_write_iops",
                    rounded(recent / bytes as f64),
                )]));
            }
        }
        figures
    }
}

impl Probe for Streams {
    fn read(&self) -> Reading {
        let achieved: Option<Vec<f64>> = self.all().map(Stream::achieved).collect();
        // Beside reads, all is in one unit.
        let (unit, bytes) = match self.operation.filter(|_| self.reads.is_none()) {
            Some(bytes) => ("operations/s", bytes),
            None => ("MiB/s", MIB),
        };
        let of_bytes = |figure: f64| figure / bytes as f64;
        Reading {
            asked: of_bytes(self.all().map(Stream::asked).sum()),
            achieved: achieved.map(|rates| of_bytes(rates.iter().sum())),
            unit,
            shortfall: self.all().find_map(Stream::shortfall),
            metrics: self.metrics(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, read, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<DiskIo>(json!({ "write_rate_mb": 50 }));
    }

    #[tokio::test]
    async fn the_lowest_rate_starts_and_stops() {
        starts_and_stops::<DiskIo>(json!({ "write_rate_mb": 1e-9 })).await;
    }

    #[tokio::test]
    async fn reads_and_operations_start_and_stop() {
        let params = json!({ "read_rate_mb": 1, "iops": 10, "block_kb": 8, "sync": false });
        starts_and_stops::<DiskIo>(params).await;
    }

    #[test]
    fn beside_reads_and_operations_there_is_no_default_to_write() {
        for given in [
            json!({ "read_rate_mb": 5 }),
            json!({ "iops": 100, "block_kb": 4 }),
            json!({ "read_rate_mb": 5, "write_rate_mb": 1 }),
        ] {
            let (_, effective) = read::<DiskIo>(given.clone()).expect("good");
            assert_eq!(Value::Object(effective), given);
        }
        read::<DiskIo>(json!({ "iops": 100, "write_rate_mb": 1 })).expect_err("two rates");
        read::<DiskIo>(json!({ "block_kb": 5 })).expect_err("no such size");
    }

    #[test]
    fn an_unnamed_file_leaves_no_entry_in_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("made/on/demand");
        let file = unnamed_file(&data_dir).expect("a file");
        file.write_all_at(b"x", 0).expect("a write");
        assert_eq!(std::fs::read_dir(&data_dir).expect("the folder").count(), 0);
    }
}
