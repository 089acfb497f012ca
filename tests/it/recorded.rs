//! What earlier versions wrote is read by this one. The folder `recorded` holds, version by version, a ledger
//! with what was answered about it, and configurations with what `--check` printed; `record.py` there
//! made them. This version may add keys and columns. It may change nothing that was recorded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::Daemon;

/// The folder of each recorded version.
fn recordings() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recorded");
    let entries = fs::read_dir(all).expect("recordings");
    let folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    assert!(!folders.is_empty());
    folders
}

fn read(recording: &Path, file: &str) -> String {
    fs::read_to_string(recording.join(file)).expect(file)
}

fn read_json(recording: &Path, file: &str) -> Value {
    serde_json::from_str(&read(recording, file)).expect(file)
}

/// The lines of the ledger as its last life left it, and the name of its file.
fn ledger(recording: &Path) -> (String, Vec<Value>) {
    let mut files = fs::read_dir(recording.join("ledger")).expect("a ledger");
    let file = files.next().expect("a file").expect("an entry");
    assert!(files.next().is_none(), "one file is all that is read here");
    let name = file.file_name().into_string().expect("a text");
    let text = fs::read_to_string(file.path()).expect("a ledger");
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    // So that a ledger made of these is this one, byte for byte.
    assert_eq!(lines_of(&events), text);
    (name, events)
}

fn lines_of(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// Boots this version on a ledger of these lines.
fn boot_on(file: &str, events: &[Value]) -> Daemon {
    let folder = TempDir::new().expect("a folder");
    fs::write(
        folder.path().join("mockserver.yaml"),
        "Host: 127.0.0.1\nPort: 0\n",
    )
    .expect("a configuration");
    let ledger = folder.path().join("data/ledger");
    fs::create_dir_all(&ledger).expect("a folder");
    fs::write(ledger.join(file), lines_of(events)).expect("a ledger");
    Daemon::builder().folder(&Arc::new(folder)).start()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// All that is kept, in order.
fn events(daemon: &Daemon) -> Vec<Value> {
    let page = daemon.admin_get("/api/v1/events?limit=10000").body;
    list(&page["events"]).to_vec()
}

/// Fails unless `now` has all that `recorded` has, with the same values in the same order.
fn assert_keeps(now: &Value, recorded: &Value, at: &str) {
    match recorded {
        Value::Object(members) => {
            for (key, value) in members {
                let at = format!("{at}/{key}");
                let kept = now
                    .get(key)
                    .unwrap_or_else(|| panic!("{at} is gone: {now}"));
                assert_keeps(kept, value, &at);
            }
        }
        Value::Array(items) => {
            assert_eq!(list(now).len(), items.len(), "{at}: {now}");
            for (i, (now, item)) in list(now).iter().zip(items).enumerate() {
                assert_keeps(now, item, &format!("{at}/{i}"));
            }
        }
        _ => assert_eq!(now, recorded, "{at}"),
    }
}

/// Fails unless this boot found of the life before it what `recorded` says.
fn assert_finds(boot: &Value, recorded: &Value) {
    assert_eq!(boot["kind"], "boot", "{boot}");
    let facts = &boot["boot"];
    assert_eq!(facts.get("unreadable_lines"), None, "{boot}");
    let found = &facts["previous"];
    for key in ["boot_id", "last_seq"] {
        assert_eq!(found[key], recorded[key], "{boot}");
    }
    // This machine's own count of kills for want of memory may be above the recorded one.
    let suspected = recorded["end"] == "unclean" && found["end"] == "suspected_out_of_memory";
    assert!(suspected || found["end"] == recorded["end"], "{boot}");
}

#[test]
fn a_recorded_ledger_is_served_as_it_was() {
    for recording in recordings() {
        let (file, kept) = ledger(&recording);
        let daemon = boot_on(&file, &kept);
        let served = events(&daemon);
        let answered = read_json(&recording, "events.json");
        let answered = list(&answered["events"]);
        // What was answered had one event more, as it has now: the boot that answered.
        let (recorded_boot, boot) = (&answered[kept.len()], &served[kept.len()]);
        assert_eq!(&answered[..kept.len()], kept);
        for (now, event) in served.iter().zip(&kept) {
            assert_keeps(now, event, &format!("event {}", event["seq"]));
        }
        assert_finds(boot, &recorded_boot["boot"]["previous"]);

        // The runs that lived on the ledger's last line were over by the boot that answered.
        let time = |boot: &Value| boot["time"].as_str().expect("a time").to_owned();
        let of_this_boot = |text: &str| text.replace(&time(recorded_boot), &time(boot));
        let sessions = of_this_boot(&read(&recording, "sessions.json"));
        let sessions = serde_json::from_str(&sessions).expect("sessions");
        assert_keeps(&daemon.get("/api/v1/sessions").body, &sessions, "sessions");

        let table = daemon.get("/api/v1/sessions?format=csv").body;
        let table = table.as_str().expect("a table");
        let recorded = of_this_boot(&read(&recording, "sessions.csv"));
        assert_eq!(table.lines().count(), recorded.lines().count());
        for (now, row) in table.lines().zip(recorded.lines()) {
            let added = now.strip_prefix(row);
            // Columns are added at the end.
            let kept = added.is_some_and(|added| added.is_empty() || added.starts_with(','));
            assert!(kept, "now {now}\nrecorded {row}");
        }
    }
}

#[test]
fn the_end_of_each_recorded_life_is_found_again() {
    for recording in recordings() {
        let (file, kept) = ledger(&recording);
        let mut lives = 0;
        for (at, event) in kept.iter().enumerate().skip(1) {
            if event["kind"] == "boot" {
                let served = events(&boot_on(&file, &kept[..at]));
                assert_finds(&served[at], &event["boot"]["previous"]);
                lives += 1;
            }
        }
        assert!(lives >= 5, "only {lives} lives in {}", recording.display());
    }
}

#[test]
fn a_recorded_time_may_have_fewer_digits() {
    for recording in recordings() {
        let (file, mut kept) = ledger(&recording);
        let mut expected = Vec::new();
        for (i, event) in kept.iter_mut().enumerate() {
            // 2026-01-01T00:00:00.123456Z without its last 1 to 6 digits; without all, no point.
            let time = event["time"].as_str().expect("a time");
            let (second, micros) = time.split_once('.').expect("six digits");
            let digits = &micros[..5 - i % 6];
            let point = if digits.is_empty() { "" } else { "." };
            expected.push(format!("{second}.{digits:0<6}Z"));
            event["time"] = format!("{second}{point}{digits}Z").into();
        }
        let served = events(&boot_on(&file, &kept));
        let times: Vec<&str> = served[..kept.len()]
            .iter()
            .map(|event| event["time"].as_str().expect("a time"))
            .collect();
        assert_eq!(times, expected);
        assert_eq!(served[kept.len()]["boot"].get("unreadable_lines"), None);
    }
}

#[test]
fn a_recorded_configuration_is_read_as_it_was() {
    for recording in recordings() {
        let mut configurations = 0;
        for entry in fs::read_dir(&recording).expect("files") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("a text");
            let Some(stem) = name.strip_suffix(".yaml") else {
                continue;
            };
            if stem.ends_with(".check") {
                continue;
            }
            // Where it was recorded: a path in it is relative.
            let checked = Command::new(env!("CARGO_BIN_EXE_mockserver"))
                .args(["--check", "-f", name])
                .current_dir(&recording)
                .output()
                .expect("it runs");
            let errors = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{name}: {errors}");
            let now: Value = serde_yaml::from_slice(&checked.stdout).expect("YAML");
            let recorded = read(&recording, &format!("{stem}.check.yaml"));
            let recorded: Value = serde_yaml::from_str(&recorded).expect("YAML");
            assert_keeps(&now, &recorded, name);
            configurations += 1;
        }
        assert!(configurations > 0, "{}", recording.display());
    }
}
