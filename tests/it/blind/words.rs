//! Words that would give a fault or this program away.

use std::sync::LazyLock;

use crate::support::scenario_names;

/// Any of them, as a whole word or as a part of an identifier; a longer form of one counts too.
const WORDS: [&str; 10] = [
    "mockserver",
    "scenario",
    "fault",
    "inject",
    "chaos",
    "burner",
    "leaker",
    "goroutine",
    "simulate",
    "simulation",
];
/// These as they are: `example` is no `exam`.
const EXACT: [&str; 2] = ["drill", "exam"];

/// The words of `text`, in lower case: identifiers are taken apart.
fn words_of(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for c in text.chars() {
        let begins = c.is_ascii_uppercase() && before_is_lower;
        if !c.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        before_is_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What `text` gives away.
pub(super) fn found_in(text: &str) -> Vec<String> {
    static NAMES: LazyLock<Vec<(&str, Vec<String>)>> = LazyLock::new(|| {
        let names = scenario_names().chain(WORDS);
        names.map(|name| (name, words_of(name))).collect()
    });
    let words = words_of(text);
    let has = |name: &[String]| {
        words.windows(name.len()).any(|some| {
            let (last, first) = (some.len() - 1, &some[..some.len() - 1]);
            first == &name[..last] && some[last].starts_with(&name[last])
        })
    };
    let names = NAMES.iter().filter(|(_, words)| has(words));
    let names = names.map(|(name, _)| *name);
    let exact = EXACT
        .into_iter()
        .filter(|exact| words.iter().any(|word| word == exact));
    names.chain(exact).map(str::to_owned).collect()
}

#[test]
fn words_are_found_in_identifiers_and_not_within_other_words() {
    for (text, word) in [
        ("urn:mockserver:problem", "mockserver"),
        ("mockserver_fault_active", "fault"),
        ("CpuBurner", "cpu_burner"),
        ("disk-io", "disk_io"),
        ("2 faults", "fault"),
        ("an exam", "exam"),
        ("src/scenarios/crash.rs", "crash"),
        ("injected", "inject"),
    ] {
        assert!(found_in(text).contains(&word.to_owned()), "{text}");
    }
    for text in [
        "the default of an example",
        "process_disk_write_bytes",
        "http_server_request_duration_seconds",
        "the health of a checkout",
        "network",
    ] {
        assert_eq!(found_in(text), [""; 0], "{text}");
    }
}
