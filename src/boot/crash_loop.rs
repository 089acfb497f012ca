//! Counts the crashes of a crash loop, in a file that survives the process.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The file under `DataDir` that holds the count. Without it a crash loop starts over.
const FILE: &str = "crash-loop-boots";

/// How many boots have crashed so far. Only a crash counts: a boot may end before it, by a signal or a taken port.
///
/// # Errors
/// The count cannot be read or is not a number, or the next crash could not be counted.
pub(super) fn crashed(data_dir: &Path) -> io::Result<u32> {
    let counted = || {
        let crashed = read(data_dir)?;
        fs::create_dir_all(data_dir)?;
        // It is gone at once: only the folder must be writable.
        tempfile::NamedTempFile::new_in(data_dir)?;
        Ok(crashed)
    };
    counted().map_err(|error| with_file(data_dir, &error))
}

/// Counts one more crash durably.
///
/// # Errors
/// The count cannot be read or written.
pub(super) fn count(data_dir: &Path) -> io::Result<()> {
    let counted = read(data_dir).and_then(|crashed| write(data_dir, crashed.saturating_add(1)));
    counted.map_err(|error| with_file(data_dir, &error))
}

fn with_file(data_dir: &Path, error: &io::Error) -> io::Error {
    let file = data_dir.join(FILE);
    let reason = format!(
        "Boot.crash_loop cannot count its boots in {}: {error}",
        file.display()
    );
    io::Error::new(error.kind(), reason)
}

fn read(data_dir: &Path) -> io::Result<u32> {
    match fs::read_to_string(data_dir.join(FILE)) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| io::Error::other("it is not a number; delete it to restart the loop")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Replaces the file: a kill at any time leaves the old one or the new one, whole.
fn write(data_dir: &Path, boots: u32) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
    writeln!(file, "{boots}")?;
    file.as_file().sync_all()?;
    file.persist(data_dir.join(FILE))?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_are_counted_and_looking_at_the_count_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        for crashes in 0..3 {
            for _ in 0..2 {
                assert_eq!(crashed(&data).expect("a count"), crashes);
            }
            count(&data).expect("a count");
        }
        let files = fs::read_dir(&data).expect("a folder").count();
        assert_eq!(files, 1, "nothing else is left");
    }

    #[test]
    fn a_count_that_cannot_be_kept_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let no_folder = folder.path().join("file");
        fs::write(&no_folder, "").expect("a file");
        let error = crashed(&no_folder).expect_err("not a folder").to_string();
        assert!(error.contains("file/crash-loop-boots"), "{error}");
        fs::write(folder.path().join(FILE), "many").expect("a file");
        let error = crashed(folder.path()).expect_err("no count").to_string();
        assert!(error.ends_with("delete it to restart the loop"), "{error}");
    }
}
