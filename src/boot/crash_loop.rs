//! Counts the crashes of a crash loop, in a file that survives the process. Without it a crash loop starts over.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// How many boots have crashed so far. Only a crash counts: a boot may end before it, by a signal or a taken port.
///
/// # Errors
/// The count cannot be read or is not a number, or the next crash could not be counted.
pub(super) fn crashed(file: &Path) -> io::Result<u32> {
    let counted = || {
        let crashed = read(file)?;
        fs::create_dir_all(folder_of(file))?;
        // It is gone at once: only the folder must be writable.
        tempfile::NamedTempFile::new_in(folder_of(file))?;
        Ok(crashed)
    };
    counted().map_err(|error| with_file(file, &error))
}

/// Counts one more crash durably.
///
/// # Errors
/// The count cannot be read or written.
pub(super) fn count(file: &Path) -> io::Result<()> {
    let counted = read(file).and_then(|crashed| write(file, crashed.saturating_add(1)));
    counted.map_err(|error| with_file(file, &error))
}

/// Only the root has none.
fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

fn with_file(file: &Path, error: &io::Error) -> io::Error {
    let reason = format!(
        "Boot.crash_loop cannot count its boots in {}: {error}",
        file.display()
    );
    io::Error::new(error.kind(), reason)
}

fn read(file: &Path) -> io::Result<u32> {
    match fs::read_to_string(file) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| io::Error::other("it is not a number; delete it to restart the loop")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Replaces the file: a kill at any time leaves the old one or the new one, whole.
fn write(file: &Path, boots: u32) -> io::Result<()> {
    let folder = folder_of(file);
    fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(new, "{boots}")?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_are_counted_and_looking_at_the_count_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let file = data.join("count");
        for crashes in 0..3 {
            for _ in 0..2 {
                assert_eq!(crashed(&file).expect("a count"), crashes);
            }
            count(&file).expect("a count");
        }
        let files = fs::read_dir(&data).expect("a folder").count();
        assert_eq!(files, 1, "nothing else is left");
    }

    #[test]
    fn a_count_that_cannot_be_kept_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let no_folder = folder.path().join("file");
        fs::write(&no_folder, "").expect("a file");
        let error = crashed(&no_folder.join("count"))
            .expect_err("not a folder")
            .to_string();
        assert!(error.contains("file/count"), "{error}");
        let file = folder.path().join("count");
        fs::write(&file, "many").expect("a file");
        let error = crashed(&file).expect_err("no count").to_string();
        assert!(error.ends_with("delete it to restart the loop"), "{error}");
    }
}
