//! The folders of `src` are floors, listed from top to bottom in the documentation of `src/lib.rs`: each uses those
//! below it and none above it, so that there is no cycle of imports between folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of `src`, from top to bottom.
fn floors() -> Vec<String> {
    let lib = fs::read_to_string("src/lib.rs").expect("the library");
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let names = rows.filter_map(|row| row.split_once('`'));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// Every source file below `folder` that is not a test.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of it").path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        match path.is_dir() {
            _ if is_test => {}
            true => found.extend(sources(&path)),
            false => found.push(path),
        }
    }
    found
}

/// The code without comments, and without modules of tests.
fn code(text: &str) -> String {
    let (mut code, mut closing) = (String::new(), None);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(end) = &closing {
            if line == end {
                closing = None;
            }
        } else if line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.ends_with('{'))
        {
            closing = Some(format!("{indent}}}"));
        } else if !line.trim_start().starts_with("//") {
            code += line;
            code.push('\n');
        }
    }
    code
}

/// The folder of `src` that the module path `at` (of the file) plus a path of `supers` levels up leads to.
fn folder_of(file: &Path) -> String {
    let below = file.strip_prefix("src").expect("a source");
    let first = below.components().next().expect("a name");
    let first = Path::new(first.as_os_str());
    first
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

/// How many modules deep the module of `file` lies: 1 for a folder's `mod.rs`.
fn depth(file: &Path) -> usize {
    let below = file.strip_prefix("src").expect("a source");
    below.components().count() - usize::from(below.ends_with("mod.rs"))
}

/// The first names of the paths that follow each `prefix` in `code`, grouped imports included.
fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(name(rest));
            continue;
        };
        let (mut nested, mut start) = (0, 0);
        for (i, c) in group.char_indices() {
            match c {
                '{' => nested += 1,
                '}' if nested == 0 => {
                    names.push(name(group[start..i].trim()));
                    break;
                }
                '}' => nested -= 1,
                ',' if nested == 0 => {
                    names.push(name(group[start..i].trim()));
                    start = i + 1;
                }
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The folders that `file` uses beside its own.
fn used_by(file: &Path, code: &str) -> Vec<String> {
    let mut used = names_after(code, "crate::");
    // As many `super`s as the module is deep lead to the root of the crate.
    let to_root = "super::".repeat(depth(file));
    used.extend(names_after(code, &to_root));
    used
}

#[test]
fn every_folder_of_src_is_a_floor() {
    let mut expected = floors();
    expected.sort();
    let mut found: Vec<String> = fs::read_dir("src")
        .expect("the sources")
        .map(|entry| entry.expect("an entry").path())
        // Others have no code of Rust, as the console.
        .filter(|path| path.is_file() || path.join("mod.rs").exists())
        .map(|path| folder_of(&path))
        .filter(|name| name != "lib" && name != "main")
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn imports_go_down_and_never_up() {
    let order: BTreeMap<String, usize> = floors().into_iter().zip(0..).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in sources(Path::new("src")) {
        let from = folder_of(&file);
        let Some(floor) = order.get(&from) else {
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source");
        for to in used_by(&file, &code(&text)) {
            let Some(below) = order.get(&to).filter(|_| to != from) else {
                continue;
            };
            seen += 1;
            if below < floor {
                wrong.push(format!(
                    "{} uses {to}, which is above {from}",
                    file.display()
                ));
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were found");
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn grouped_imports_and_paths_in_code_are_seen_and_tests_are_not() {
    let text = "\
use crate::{host::{cgroup, process}, run::Reading};
use crate::input::Fields;
// crate::comment::Not
fn f() { crate::ledger::g(); my_crate::not::g(); }
#[cfg(test)]
mod tests {
    use crate::manager::Not;
}
use crate::plugin::Plan;
";
    let names = names_after(&code(text), "crate::");
    assert_eq!(names, ["host", "run", "input", "ledger", "plugin"]);
}
