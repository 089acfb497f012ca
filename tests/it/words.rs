//! The code and the documents are written in plain words.

use std::fs;
use std::path::{Path, PathBuf};

/// Words, each with what to write instead.
const AVOIDED: [(&str, &str); 4] = [
    ("told", "reported, logged, returned, accepted"),
    ("tells", "reports, logs, returns, says"),
    ("whoever", "the client, the caller, the reader"),
    ("nobody", "no caller, no client, nothing"),
];

fn texts(at: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let is_text = path
            .extension()
            .is_some_and(|end| end == "rs" || end == "md");
        if path.is_dir() {
            texts(&path, found);
        } else if is_text && !path.ends_with("words.rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_avoided_word_is_used() {
    let mut files = vec!["README.md".into()];
    for folder in ["src", "tests", "benches", "etc", ".github"] {
        texts(Path::new(folder), &mut files);
    }
    assert!(files.len() > 200, "only {} files were found", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric());
            for (avoided, instead) in AVOIDED {
                if words.clone().any(|word| word.eq_ignore_ascii_case(avoided)) {
                    let at = format!("{}:{}", file.display(), number + 1);
                    wrong.push(format!("{at}: {avoided}; write {instead}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
