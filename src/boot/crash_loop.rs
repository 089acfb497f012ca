//! Counts the boots of a crash loop, in a file that survives the process.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The file under `DataDir` that holds the count. Without it a crash loop starts over.
const FILE: &str = "crash-loop-boots";

/// Returns how many boots there were before this one, and counts this one durably, up to `most`.
///
/// # Errors
/// The file cannot be read, is not a number, or cannot be written.
pub(super) fn count(data_dir: &Path, most: u32) -> io::Result<u32> {
    let with_file = |error: io::Error| {
        let file = data_dir.join(FILE);
        let reason = format!(
            "Boot.crash_loop cannot count its boots in {}: {error}",
            file.display()
        );
        io::Error::new(error.kind(), reason)
    };
    let before = read(data_dir).map_err(with_file)?;
    if before < most {
        write(data_dir, before + 1).map_err(with_file)?;
    }
    Ok(before)
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
    fn boots_are_counted_up_to_the_limit_and_never_beyond() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let counts: Vec<u32> = (0..5).map(|_| count(&data, 3).expect("a count")).collect();
        assert_eq!(counts, [0, 1, 2, 3, 3]);
        let files = fs::read_dir(&data).expect("a folder").count();
        assert_eq!(files, 1, "nothing else is left");
    }

    #[test]
    fn a_count_that_cannot_be_kept_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let no_folder = folder.path().join("file");
        fs::write(&no_folder, "").expect("a file");
        let error = count(&no_folder, 3).expect_err("not a folder").to_string();
        assert!(error.contains("file/crash-loop-boots"), "{error}");
        fs::write(folder.path().join(FILE), "many").expect("a file");
        let error = count(folder.path(), 3).expect_err("no count").to_string();
        assert!(error.ends_with("delete it to restart the loop"), "{error}");
    }
}
