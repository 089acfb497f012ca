//! Both README files hold: their commands are run, their tables are compared with the code, and the two
//! say the same.
//!
//! A line `<!-- ... -->` right above a fence tells how its block is run: `answers 422` is the status of
//! its last command (every other answer must be below 400), `with NAME=VALUE` is the daemon's
//! environment. A JSON block right below a block of commands shows the last answer.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use mockserver::config::{Config, Env, Flags};
use mockserver::plugin::Plugin;
use mockserver::scenarios;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::common::Daemon;

/// The example scenario of the README files, compiled as it stands there.
#[path = "readme_scenario.rs"]
mod example;

const ENGLISH: &str = include_str!("../../README.md");
const CHINESE: &str = include_str!("../../README_zh.md");
const BOTH: [(&str, &str); 2] = [("README.md", ENGLISH), ("README_zh.md", CHINESE)];

/// Commands that are not run from here, each with the reason and the place where it is run instead.
const NOT_RUN_HERE: &[(&str, &str)] = &[
    (
        "cargo run --release",
        "a build within a test of the build; every test here starts the same binary",
    ),
    (
        "MOCKSERVER_OTEL_ENDPOINT=http://127.0.0.1:4318 cargo run --release",
        "the same; tests/it/traces.rs starts it with a collector",
    ),
    ("cargo build --release", "the same; tests/run builds it"),
    ("tests/run", "it runs this very test"),
    (
        "cargo bench --bench fidelity",
        "takes minutes, and figures belong to a quiet machine; tests/it/fidelity.rs holds the bounds",
    ),
    (
        "cargo bench --bench fidelity -- memory",
        "a group of the same",
    ),
    (
        "cargo bench --bench overhead",
        "figures belong to a quiet machine, as above",
    ),
    (
        "cargo bench --bench survival",
        "the same, and it needs root and containers",
    ),
    (
        "cargo bench --bench soak -- --seconds 3600",
        "takes an hour; tests/run does it for a minute",
    ),
    (
        "docker build -t mockserver:latest .",
        "takes minutes and a container engine; run by tests/run",
    ),
    (
        "docker buildx build --platform linux/amd64,linux/arm64 -t mockserver:latest .",
        "takes an emulator and half an hour; tests/arm64 builds the program and emulates it, and CI \
         builds the image on an arm64 machine",
    ),
    (
        "docker run -p 8888:8888 mockserver:latest",
        "needs the image; run by tests/run",
    ),
    (
        "docker run --memory=512m --cpus=0.5 -p 8888:8888 mockserver:latest",
        "needs the image; run by tests/run",
    ),
    (
        "docker run --memory=\"4g\" -p 8888:8888 mockserver:latest",
        "as above with another figure",
    ),
    (
        "curl -N http://localhost:8888/api/v1/events/stream",
        "never ends by itself; read by the tests of the ledger",
    ),
    (
        "prometheus --config.file=etc/prometheus/prometheus.yml",
        "needs Prometheus and never ends; run by tests/prometheus",
    ),
    (
        "docker run -d --name leak --memory=256m -e MOCKSERVER_BOOT='{\"scenarios\": [{\"name\": \"memory_leaker\", \"params\": {\"leak_rate_mb\": 20}, \"when_ready\": true, \"after\": 10}]}' mockserver:latest",
        "needs the image; run by tests/run",
    ),
    (
        "docker run -d --name loop --restart=on-failure -e MOCKSERVER_BOOT='{\"crash_loop\": {\"boots\": 3, \"after\": 5}}' mockserver:latest",
        "as above",
    ),
    (
        "docker run -d --name slow -e MOCKSERVER_BOOT='{\"start_delay\": 20}' mockserver:latest",
        "as above",
    ),
    (
        "watch -n 1 docker ps -a",
        "never ends by itself; for people",
    ),
    (
        "docker stats",
        "looks at a running container and never ends; for people",
    ),
    (
        "top -p \"$(pgrep -x mockserver)\"",
        "never ends by itself; for people",
    ),
    (
        "kubectl apply -k etc/kubernetes/overlays/good",
        "needs a cluster; rendered, checked and run by tests/kubernetes, as are all the overlays",
    ),
    (
        "kubectl apply -k etc/kubernetes/overlays/never-ready",
        "the same",
    ),
    (
        "kubectl apply -k etc/kubernetes/overlays/bad-canary-leak",
        "the same",
    ),
    (
        "kubectl rollout status deploy/mockserver --timeout=60s",
        "needs a cluster; for people",
    ),
    (
        "kubectl rollout undo deploy/mockserver",
        "needs a cluster; for people",
    ),
    (
        "kubectl scale deploy/mockserver --replicas=3",
        "needs a cluster; for people",
    ),
    (
        "kubectl port-forward deploy/mockserver 8889",
        "needs a cluster; for people",
    ),
    (
        "kubectl apply -k etc/kubernetes/every-pod",
        "needs a cluster; its jobs are run by tests/kubernetes",
    ),
    (
        "kubectl create job --from=cronjob/mockserver-start start-1",
        "the same",
    ),
    (
        "kubectl create job --from=cronjob/mockserver-stop stop-1",
        "the same",
    ),
    (
        "kubectl set env cronjob/mockserver-start PODS=mockserver-pods",
        "the same",
    ),
    ("etc/ci/fault-injection", "needs the image; run by tests/ci"),
    (
        "pip install chaostoolkit",
        "installs a program; done by tests/chaostoolkit",
    ),
    (
        "chaos run etc/chaostoolkit/failing-dependency.json",
        "needs the Chaos Toolkit; run by tests/chaostoolkit",
    ),
];

/// What the requirement document promises to answer.
const API: &[(&str, &str)] = &[
    ("POST", "/api/v1/composite/start"),
    ("POST", "/api/v1/composite/stop"),
    ("GET", "/api/v1/composite/status"),
    ("POST", "/api/v1/scenarios/cpu_burner/start"),
    ("POST", "/api/v1/scenarios/memory_leaker/start"),
    ("POST", "/api/v1/scenarios/network_latency/start"),
    ("POST", "/api/v1/scenarios/health_check/start"),
    ("POST", "/api/v1/scenarios/goroutine_leak/start"),
    ("POST", "/api/v1/scenarios/disk_io/start"),
    ("POST", "/api/v1/scenarios/crash/start"),
    ("POST", "/api/v1/scenarios/dependency/start"),
    ("GET", "/api/v1/mock-service"),
    ("GET", "/api/v1/test/sleep10ms"),
    ("GET", "/api/v1/test/sleep30ms"),
    ("GET", "/api/v1/scenarios"),
    ("GET", "/api/v1/scenarios/cpu_burner/status"),
    ("POST", "/api/v1/scenarios/cpu_burner/stop"),
    ("GET", "/health"),
    ("GET", "/ready"),
];

// === Running the commands ===

#[test]
fn every_command_of_the_english_readme_does_what_it_says() {
    run_all(ENGLISH);
}

#[test]
fn every_command_of_the_chinese_readme_does_what_it_says() {
    run_all(CHINESE);
}

#[test]
fn no_command_is_excused_that_stands_nowhere() {
    let commands: Vec<String> = blocks(ENGLISH).iter().flat_map(Block::commands).collect();
    for (command, _) in NOT_RUN_HERE {
        assert!(commands.iter().any(|known| known == command), "{command}");
    }
}

#[test]
fn every_route_of_the_requirement_is_shown_with_curl() {
    for (file, text) in BOTH {
        let commands: Vec<String> = blocks(text).iter().flat_map(Block::commands).collect();
        for (method, path) in API {
            let url = format!("http://localhost:8888{path}");
            let shown = commands.iter().any(|command| {
                command.split_whitespace().any(|word| word == url)
                    && command.contains("-X POST") == (*method == "POST")
            });
            assert!(shown, "{file} shows no curl for {method} {path}");
        }
    }
}

fn run_all(text: &str) {
    require_curl();
    let blocks = blocks(text);
    let mut run = 0;
    for (i, block) in blocks.iter().enumerate() {
        if !block.is_shell() {
            continue;
        }
        let commands: Vec<String> = block.commands().filter(|c| !is_excused(c)).collect();
        if commands.is_empty() {
            continue;
        }
        let answer = block.run(&commands);
        if let Some(shown) = blocks.get(i + 1).filter(|next| next.language == "json") {
            let shown = serde_json::from_str(&shown.text).expect("checked by another test");
            assert_same_shape(&shown, &answer, &block.place());
        }
        run += commands.len();
    }
    assert!(run >= API.len(), "only {run} commands were found");
}

fn is_excused(command: &str) -> bool {
    NOT_RUN_HERE.iter().any(|(known, _)| *known == command)
}

fn require_curl() {
    let found = Command::new("curl").arg("--version").output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "install curl"
    );
}

impl Block {
    /// Runs the commands against a daemon of their own; returns the last answer.
    fn run(&self, commands: &[String]) -> Value {
        let place = self.place();
        let env: Vec<(&str, &str)> = self
            .notes("with ")
            .map(|set| set.split_once('=').expect("a variable and its value"))
            .collect();
        let refusal: Option<u16> = self
            .notes("answers ")
            .map(|status| status.parse().expect("a status"))
            .next();
        let mut daemon = Daemon::start_with("", &env);
        let mut answer = Value::Null;
        for (i, command) in commands.iter().enumerate() {
            let last = i + 1 == commands.len();
            let expected = refusal.filter(|_| last);
            answer = run(&daemon, command, expected, &place);
        }
        if let Some((_, rest)) = self.text.split_once("\"exit_code\": ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            assert_eq!(daemon.ended().code(), digits.parse().ok(), "{place}");
        } else {
            let ended = daemon.child.try_wait().expect("its state");
            assert_eq!(ended, None, "{place} ended the daemon");
        }
        answer
    }
}

/// Runs one command as it is printed, except for the ports; returns what it prints.
fn run(daemon: &Daemon, command: &str, expected: Option<u16>, place: &str) -> Value {
    if let Some(arguments) = command.strip_prefix("target/release/mockserver ") {
        let output = shell(daemon, &format!("\"$MOCKSERVER\" {arguments}"));
        assert!(
            output.status.success(),
            "{place}: {command} gave {output:?}"
        );
        return Value::Null;
    }
    assert!(
        command.starts_with("curl "),
        "{place}: {command:?} is neither run nor excused: add it to NOT_RUN_HERE with its reason"
    );
    let headers = daemon.folder.path().join("headers");
    std::fs::write(&headers, "").expect("a file for the headers");
    let output = shell(daemon, command);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{place}: {command} gave {}: {told}",
        output.status
    );
    let status: u16 = std::fs::read_to_string(&headers)
        .expect("the headers")
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .next_back()
        .expect("a status line");
    let body = String::from_utf8(output.stdout).expect("UTF-8");
    match expected {
        Some(expected) => assert_eq!(status, expected, "{place}: {command} gave {body}"),
        None => assert!(status < 400, "{place}: {command} gave {status} {body}"),
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    if expected.is_none() && command.contains("/start") && !command.ends_with("/startup") {
        let dry_run = command.contains("\"dry_run\": true");
        let done = if dry_run { "dry_run" } else { "success" };
        assert_eq!(body["status"], done, "{place}: {command} gave {body}");
    }
    body
}

/// Runs `script` with a `curl` that is quiet, keeps the headers and knows no settings of its user.
fn shell(daemon: &Daemon, script: &str) -> Output {
    let script = script
        .replace("localhost:8888", &daemon.service.to_string())
        .replace("localhost:8889", &daemon.admin.to_string());
    let curl = "curl() { command curl -q -sS --max-time 60 --dump-header \"$HEADERS\" \"$@\"; }";
    Command::new("sh")
        .arg("-c")
        .arg(format!("{curl}\n{script}"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("HEADERS", daemon.folder.path().join("headers"))
        .env("MOCKSERVER", env!("CARGO_BIN_EXE_mockserver"))
        .env("no_proxy", "*")
        .output()
        .expect("a shell")
}

/// The same keys and kinds; values may differ, and a null may stand for anything.
fn assert_same_shape(shown: &Value, real: &Value, place: &str) {
    match (shown, real) {
        (Value::Object(shown), Value::Object(real)) => {
            let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(shown), keys(real), "keys of the answer at {place}");
            for (key, value) in shown {
                assert_same_shape(value, &real[key], &format!("{place}, {key}"));
            }
        }
        (Value::Array(shown), Value::Array(real)) => {
            assert_eq!(shown.len(), real.len(), "length of the list at {place}");
            for (shown, real) in shown.iter().zip(real) {
                assert_same_shape(shown, real, place);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        _ => assert_eq!(
            std::mem::discriminant(shown),
            std::mem::discriminant(real),
            "{shown} and {real} at {place}"
        ),
    }
}

// === The two files beside each other ===

#[test]
fn both_readmes_have_the_same_headings_and_blocks_of_code() {
    assert_eq!(heading_levels(ENGLISH), heading_levels(CHINESE));
    let (english, chinese) = (blocks(ENGLISH), blocks(CHINESE));
    assert_eq!(english.len(), chinese.len());
    for (english, chinese) in english.iter().zip(&chinese) {
        assert_eq!(
            (&english.language, &english.note),
            (&chinese.language, &chinese.note)
        );
        // A diagram is text and is translated.
        if english.language != "text" {
            assert_eq!(
                english.without_comments(),
                chinese.without_comments(),
                "{}",
                english.place()
            );
        }
    }
}

#[test]
fn both_readmes_have_the_same_tables_in_their_codes_and_figures() {
    let codes = |text: &str| -> Vec<Vec<String>> {
        table_rows(text)
            .map(|row| row.iter().flat_map(|cell| codes_in(cell)).collect())
            .collect()
    };
    let (english, chinese) = (codes(ENGLISH), codes(CHINESE));
    for (english, chinese) in english.iter().zip(&chinese) {
        assert_eq!(english, chinese);
    }
    assert_eq!(english.len(), chinese.len());
}

#[test]
fn links_to_files_lead_somewhere() {
    assert!(ENGLISH.contains("(README_zh.md)") && CHINESE.contains("(README.md)"));
    for (file, text) in BOTH {
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
            assert!(path.exists(), "{file} links to {target}");
        }
    }
}

// === The snippets that are no commands ===

#[test]
fn json_and_yaml_snippets_parse() {
    for (file, text) in BOTH {
        for block in blocks(text) {
            match block.language.as_str() {
                "json" => drop(serde_json::from_str::<Value>(&block.text).expect(file)),
                "yaml" => drop(yaml_documents(&block.text)),
                "bash" | "rust" | "text" => {}
                other => panic!("{file}: nothing checks a block of {other:?}"),
            }
        }
    }
}

#[test]
fn the_configuration_shown_is_accepted() {
    for (file, text) in BOTH {
        let yaml = blocks(text).into_iter().find(|block| {
            block.language == "yaml" && yaml_documents(&block.text)[0]["Name"].is_string()
        });
        let yaml = yaml.expect("a configuration is shown").text;
        load(&yaml).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn the_example_scenario_is_the_code_that_is_compiled_here() {
    let compiled = include_str!("readme_scenario.rs").replace("mockserver::", "crate::");
    for (file, text) in BOTH {
        let shown = blocks(text)
            .into_iter()
            .find(|block| block.text.contains("impl Scenario"));
        assert_eq!(shown.expect("an example").text, compiled, "{file}");
    }
    let plugin: &dyn Plugin = &example::ErrorRate;
    let plan = plugin
        .plan("", Map::new())
        .expect("its default lies in its range");
    assert_eq!(
        (plan.name, plan.params.get("share")),
        ("error_rate", Some(&json!(0.1)))
    );
    let bad = Map::from_iter([("share".to_owned(), json!(1.5))]);
    assert!(plugin.plan("", bad).is_err());
}

// === The tables beside the code ===

#[test]
fn every_parameter_is_documented_with_its_default_and_range() {
    for (file, text) in BOTH {
        for plugin in scenarios::ALL {
            let name = plugin.name();
            let rows = rows_below(text, &format!("`{name}`"));
            let schema = plugin.schema();
            let specs = schema["properties"].as_object().expect("properties");
            let documented: Vec<String> = rows.iter().map(|row| row[0].replace('`', "")).collect();
            let known: Vec<&String> = specs.keys().collect();
            assert_eq!(
                documented.iter().collect::<Vec<_>>(),
                known,
                "{file}: {name}"
            );
            for (row, (parameter, spec)) in rows.iter().zip(specs) {
                let place = format!("{file}: {name}.{parameter}");
                assert_eq!(codes_in(&row[1]), default_of(spec), "{place}: default");
                assert_eq!(codes_in(&row[2]), range_of(spec), "{place}: range");
                assert_eq!(
                    row[3].is_empty() && !matches!(parameter.as_str(), "seed" | "exit_code"),
                    spec["enum"].is_array(),
                    "{place}: unit"
                );
                assert!(!row[4].is_empty(), "{place}: meaning");
            }
        }
    }
}

#[test]
fn the_metrics_of_every_scenario_are_documented() {
    let daemon = Daemon::start();
    let starts: Vec<Value> = scenarios::ALL
        .iter()
        .map(|plugin| match plugin.name() {
            "crash" => json!({ "name": "crash", "params": { "crash_delay": 3600 } }),
            "memory_leaker" => json!({ "name": "memory_leaker", "params": { "target_mb": 1 } }),
            "disk_io" => json!({ "name": "disk_io", "params": { "write_rate_mb": 1 } }),
            "cpu_burner" => json!({ "name": "cpu_burner", "params": { "target_percent": 1 } }),
            name => json!({ "name": name }),
        })
        .collect();
    let started = daemon.post(
        "/api/v1/composite/start",
        json!({ "scenarios": starts }).to_string(),
    );
    assert_eq!(started.body["status"], "success", "{started:?}");
    for plugin in scenarios::ALL {
        let status = daemon.status(plugin.name());
        let metrics = status["metrics"].as_object().expect("metrics");
        for (file, text) in BOTH {
            let name = format!("`{}`", plugin.name());
            let row = table_rows(text).find(|row| row[0] == name && row.len() == 2);
            let documented = codes_in(&row.expect("a row")[1]);
            assert_eq!(
                documented,
                metrics.keys().cloned().collect::<Vec<_>>(),
                "{file}"
            );
        }
    }
}

#[test]
fn every_key_variable_and_flag_of_the_configuration_is_documented() {
    let defaults = load("").expect("the defaults are good");
    for (file, text) in BOTH {
        let rows: Vec<Vec<String>> = table_rows(text).filter(|row| row.len() == 5).collect();
        let mut seen = 0;
        for (key, named) in shipped_keys() {
            let row = rows.iter().find(|row| row[0] == format!("`{key}`"));
            let row = row.unwrap_or_else(|| panic!("{file}: {key} has no row"));
            let told: Vec<String> = [&row[1], &row[2]]
                .iter()
                .flat_map(|cell| codes_in(cell))
                .collect();
            assert_eq!(told, named, "{file}: {key}");
            let default = key
                .split('.')
                .fold(&defaults, |at, part| at.get(part).unwrap_or(&Value::Null));
            let default = match default {
                Value::Null => Vec::new(),
                Value::String(text) => vec![text.clone()],
                other => vec![other.to_string()],
            };
            assert_eq!(codes_in(&row[3]), default, "{file}: default of {key}");
            seen += 1;
        }
        assert!(seen >= 12, "only {seen} keys were seen");
    }
}

#[test]
fn every_option_of_the_command_line_is_documented() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .args(arguments)
            .output();
        String::from_utf8(output.expect("it runs").stdout).expect("UTF-8")
    };
    let told = help(&["--help"]) + &help(&["healthcheck", "--help"]);
    let options: BTreeSet<&str> = told
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .filter(|word| !["--help", "--version"].contains(word))
        .collect();
    assert!(options.len() >= 6, "{options:?}");
    for (file, text) in BOTH {
        for option in &options {
            assert!(text.contains(option), "{file}: {option}");
        }
    }
}

/// The default as it stands in a table; nothing where there is none.
fn default_of(spec: &Value) -> Vec<String> {
    match spec.get("default") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => texts(items),
        Some(number) => vec![number.to_string()],
    }
}

/// The range as it stands in a table: `0–100`, `>0–100` or the choices.
fn range_of(spec: &Value) -> Vec<String> {
    let choices = spec["enum"]
        .as_array()
        .or_else(|| spec["items"]["enum"].as_array());
    if let Some(choices) = choices {
        return texts(choices);
    }
    let low = match spec.get("exclusiveMinimum") {
        Some(low) => format!(">{low}"),
        None => spec["minimum"].to_string(),
    };
    vec![format!("{low}–{}", spec["maximum"])]
}

fn texts(items: &[Value]) -> Vec<String> {
    items
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Each key of the shipped configuration with the variable and the flag that its comment names.
fn shipped_keys() -> Vec<(String, Vec<String>)> {
    let (mut keys, mut named, mut section) = (Vec::new(), Vec::new(), String::new());
    for line in include_str!("../../etc/mockserver.yaml").lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        let key = bare.split_once(':').map(|(key, _)| key);
        let key = key.filter(|key| {
            key.starts_with(|c: char| c.is_ascii_uppercase()) && !key.contains([' ', '('])
        });
        let Some(key) = key else {
            let words = line.split([' ', '(', ')', ',', '.']);
            let is_name = |word: &&str| {
                word.starts_with("--") || word.starts_with("MOCKSERVER_") && !word.contains('*')
            };
            named.extend(words.filter(is_name).map(str::to_owned));
            continue;
        };
        if !line.starts_with(' ') {
            section.clear();
        }
        if bare == format!("{key}:") {
            section = format!("{key}.");
            named.clear();
        } else {
            keys.push((format!("{section}{key}"), std::mem::take(&mut named)));
        }
    }
    keys
}

/// The effective values of a configuration file, read without an environment.
fn load(yaml: &str) -> Result<Value, String> {
    struct Nothing;
    impl Env for Nothing {
        fn get(&self, _: &str) -> Option<std::ffi::OsString> {
            None
        }

        fn names(&self) -> Vec<std::ffi::OsString> {
            Vec::new()
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mockserver.yaml");
    std::fs::write(&file, yaml).expect("a file");
    let flags = Flags {
        file: Some(file),
        ..Flags::default()
    };
    let loaded = Config::load(&flags, &Nothing).map_err(|error| error.to_string())?;
    Ok(Value::Object(loaded.effective))
}

// === Reading Markdown ===

/// A fenced block.
#[derive(Debug)]
struct Block {
    language: String,
    text: String,
    /// What the comment above it says.
    note: String,
    line: usize,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut above = "";
    for (i, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(language)) => {
                let note = above
                    .strip_prefix("<!-- ")
                    .and_then(|note| note.strip_suffix(" -->"));
                open = Some(Block {
                    language: language.to_owned(),
                    text: String::new(),
                    note: note.unwrap_or_default().to_owned(),
                    line: i + 1,
                });
            }
            (None, None) => {}
        }
        above = line;
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

impl Block {
    fn is_shell(&self) -> bool {
        ["bash", "sh"].contains(&self.language.as_str())
    }

    fn place(&self) -> String {
        format!("line {}", self.line)
    }

    /// What the note says after `kind`.
    fn notes<'n>(&'n self, kind: &'n str) -> impl Iterator<Item = &'n str> {
        self.note
            .split(", ")
            .filter_map(move |note| note.strip_prefix(kind))
    }

    /// The commands of a shell block. One goes on over a line that ends in a backslash or within a
    /// quote.
    fn commands(&self) -> impl Iterator<Item = String> + use<> {
        let mut commands = Vec::new();
        let mut command = String::new();
        for line in self.text.lines().filter(|_| self.is_shell()) {
            if command.is_empty() && (line.starts_with('#') || line.trim().is_empty()) {
                continue;
            }
            command.push_str(line);
            let inside_quotes = command.matches('\'').count() % 2 == 1;
            if inside_quotes || line.ends_with('\\') {
                command.push('\n');
            } else {
                commands.push(std::mem::take(&mut command));
            }
        }
        assert_eq!(command, "", "{}: a command does not end", self.place());
        commands.into_iter()
    }

    fn without_comments(&self) -> Vec<&str> {
        let mark = if self.language == "rust" { "//" } else { "#" };
        let lines = self.text.lines();
        lines
            .filter(|line| !line.trim_start().starts_with(mark))
            .collect()
    }
}

/// The lines outside of every fence.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

fn heading_levels(text: &str) -> Vec<usize> {
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| line.chars().take_while(|c| *c == '#').count())
        .collect()
}

/// The cells of each table row that is no rule.
fn table_rows(text: &str) -> impl Iterator<Item = Vec<String>> {
    prose(text).filter_map(cells)
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let is_rule = inner.chars().all(|c| "-|: ".contains(c));
    (!is_rule).then(|| {
        inner
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
}

/// The rows, the head left out, of the first table below the heading that names `name`.
fn rows_below(text: &str, name: &str) -> Vec<Vec<String>> {
    prose(text)
        .skip_while(|line| !(line.starts_with("###") && line.contains(name)))
        .skip_while(|line| !line.starts_with('|'))
        .map_while(|line| line.starts_with('|').then(|| cells(line)))
        .flatten()
        .skip(1)
        .collect()
}

/// What a cell says that no translation changes: all in backticks, or else a bare figure or range.
fn codes_in(cell: &str) -> Vec<String> {
    let codes: Vec<String> = cell
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let is_figure = cell.chars().any(|c| c.is_ascii_digit())
        && cell
            .chars()
            .all(|c| c.is_ascii_digit() || ">–.".contains(c));
    if codes.is_empty() && is_figure {
        return vec![cell.to_owned()];
    }
    codes
}

fn yaml_documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("valid YAML"))
        .collect()
}
