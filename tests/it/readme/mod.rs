//! The documents hold: their commands are run, their links lead somewhere, and both READMEs say the same.
//!
//! A line `<!-- ... -->` right above a fence says how its block is run: `answers 422` is the status of
//! its last command (every other answer must be below 400), `with NAME=VALUE` is the daemon's
//! environment. A JSON block right below a block of commands shows the last answer. A `console` block
//! shows commands behind `$ ` and what they print below.

/// The example scenario of CONTRIBUTING.md, compiled as it is printed.
mod example_scenario;
mod excused;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mockserver::{plugin, scenarios};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::excused::NOT_RUN_HERE;
use crate::support::Daemon;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const READMES: [&str; 2] = ["README.md", "README_zh.md"];
const MOST_LINES: usize = 350;
const MOST_COLUMNS: usize = 120;

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
    let run = run_all(&Document::read(READMES[0]));
    assert!(run >= API.len(), "only {run} commands were found");
}

#[test]
fn every_command_of_the_chinese_readme_does_what_it_says() {
    let run = run_all(&Document::read(READMES[1]));
    assert!(run >= API.len(), "only {run} commands were found");
}

#[test]
fn every_command_of_the_other_documents_does_what_it_says() {
    let run: usize = documents()
        .iter()
        .filter(|document| !READMES.contains(&document.path.as_str()))
        .map(run_all)
        .sum();
    assert!(run >= 30, "only {run} commands were found");
}

#[test]
fn every_excused_command_is_in_a_document() {
    let commands: Vec<String> = documents().iter().flat_map(Document::commands).collect();
    for (command, _) in NOT_RUN_HERE {
        assert!(commands.iter().any(|known| known == command), "{command}");
    }
}

#[test]
fn every_route_of_the_requirement_is_shown_with_curl() {
    for file in READMES {
        let commands = Document::read(file).commands();
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

/// Runs what is not excused; returns how many commands that were.
fn run_all(document: &Document) -> usize {
    require_curl();
    let blocks = document.blocks();
    let mut run = 0;
    for (i, block) in blocks.iter().enumerate() {
        let place = format!("{}:{}", document.path, block.line);
        let steps: Vec<Step> = block
            .steps()
            .into_iter()
            .filter(|step| !is_excused(&step.command))
            .collect();
        if steps.is_empty() {
            continue;
        }
        let answer = block.run(&steps, &place);
        if let Some(shown) = blocks.get(i + 1).filter(|next| next.language == "json") {
            assert_same_output(&shown.text, &answer, &place);
        }
        run += steps.len();
    }
    run
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
    /// Runs the steps against a fresh daemon; returns what the last one prints.
    fn run(&self, steps: &[Step], place: &str) -> String {
        let env: Vec<(&str, &str)> = self
            .notes("with ")
            .map(|set| set.split_once('=').expect("a variable and its value"))
            .collect();
        let refusal: Option<u16> = self
            .notes("answers ")
            .map(|status| status.parse().expect("a status"))
            .next();
        let mut daemon = Daemon::start_with("", &env);
        let mut printed = String::new();
        for (i, step) in steps.iter().enumerate() {
            let last = i + 1 == steps.len();
            printed = run(&daemon, &step.command, refusal.filter(|_| last), place);
            if !step.shown.is_empty() {
                assert_same_output(&step.shown, &printed, place);
            }
        }
        if let Some((_, rest)) = self.text.split_once("\"exit_code\": ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            assert_eq!(daemon.ended().code(), digits.parse().ok(), "{place}");
        } else {
            let ended = daemon.child.try_wait().expect("its state");
            assert_eq!(ended, None, "{place} ended the daemon");
        }
        printed
    }
}

/// Runs one command as it is printed, except for the ports; returns what it prints.
fn run(daemon: &Daemon, command: &str, expected: Option<u16>, place: &str) -> String {
    let of_program = ["target/release/mockserver ", "cargo run --release -- "];
    let mut of_program = of_program.iter();
    if let Some(arguments) = of_program.find_map(|program| command.strip_prefix(program)) {
        let output = shell(daemon, &format!("\"$MOCKSERVER\" {arguments}"));
        assert!(
            output.status.success(),
            "{place}: {command} gave {output:?}"
        );
        return String::new();
    }
    assert!(
        command.starts_with("curl "),
        "{place}: {command:?} is neither run nor excused: add it to NOT_RUN_HERE with its reason"
    );
    let headers = daemon.folder.path().join("headers");
    std::fs::write(&headers, "").expect("a file for the headers");
    let output = shell(daemon, command);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{place}: {command} gave {}: {complaint}",
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
    if expected.is_none() && command.contains("/start") && !command.ends_with("/startup") {
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let dry_run = command.contains("\"dry_run\": true");
        let done = if dry_run { "dry_run" } else { "success" };
        assert_eq!(answer["status"], done, "{place}: {command} gave {body}");
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
        .env("MOCKSERVER_URL", format!("http://{}", daemon.admin))
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

/// The same shape, or the same text but for its figures.
fn assert_same_output(shown: &str, real: &str, place: &str) {
    let parse = |text| serde_json::from_str::<Value>(text).ok();
    match (parse(shown), parse(real)) {
        (Some(shown), Some(real)) => assert_same_shape(&shown, &real, place),
        _ => assert_eq!(
            without_figures(shown),
            without_figures(real),
            "{shown} and {real} at {place}"
        ),
    }
}

fn without_figures(text: &str) -> String {
    let is_figure = |c: char| c.is_ascii_digit() || c == '.';
    text.trim_end()
        .split(is_figure)
        .filter(|part| !part.is_empty())
        .collect()
}

// === The two READMEs ===

#[test]
fn both_readmes_are_short() {
    for file in READMES {
        let document = Document::read(file);
        let lines = document.text.lines().count();
        assert!(
            lines <= MOST_LINES,
            "{file} has {lines} lines, more than {MOST_LINES}"
        );
        for line in document.text.lines().filter(|line| !line.starts_with('|')) {
            assert!(columns(line) <= MOST_COLUMNS, "{file}: too wide: {line}");
        }
    }
}

#[test]
fn both_readmes_have_the_same_headings_and_blocks_of_code() {
    let [english, chinese] = READMES.map(Document::read);
    assert_eq!(english.heading_levels(), chinese.heading_levels());
    let (english, chinese) = (english.blocks(), chinese.blocks());
    assert_eq!(english.len(), chinese.len());
    for (english, chinese) in english.iter().zip(&chinese) {
        assert_eq!(
            (&english.language, &english.note),
            (&chinese.language, &chinese.note)
        );
        // A diagram is text and is translated.
        if english.language != "text" {
            assert_eq!(english.text, chinese.text);
        }
    }
}

#[test]
fn both_readmes_have_the_same_tables_in_their_codes_and_figures() {
    let [english, chinese] = READMES.map(|file| -> Vec<Vec<String>> {
        let codes = |row: Vec<String>| row.iter().flat_map(|cell| codes_in(cell)).collect();
        Document::read(file).table_rows().map(codes).collect()
    });
    for (english, chinese) in english.iter().zip(&chinese) {
        assert_eq!(english, chinese);
    }
    assert_eq!(english.len(), chinese.len());
}

#[test]
fn both_readmes_list_every_scenario_with_parameters_that_it_takes() {
    for file in READMES {
        let document = Document::read(file);
        let rows: Vec<Vec<String>> = document
            .table_rows()
            .skip_while(|row| codes_in(&row[0]) != [scenarios::ALL[0].name()])
            .take(scenarios::ALL.len())
            .collect();
        assert_eq!(rows.len(), scenarios::ALL.len(), "{file}");
        for (row, plugin) in rows.iter().zip(scenarios::ALL) {
            assert_eq!(codes_in(&row[0]), [plugin.name()], "{file}");
            let schema = plugin.schema();
            for parameter in codes_in(&row[2]) {
                let known = schema["properties"].get(&parameter).is_some();
                assert!(known, "{file}: {}.{parameter}", plugin.name());
            }
        }
    }
}

// === Links ===

#[test]
fn links_lead_to_files_and_headings() {
    for document in documents() {
        for target in document.links() {
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = match path {
                "" => document.path.clone(),
                path => document.folder().join(path).to_string_lossy().into_owned(),
            };
            let exists = Path::new(ROOT).join(&file).exists();
            assert!(exists, "{} links to {target}", document.path);
            if !heading.is_empty() {
                let headings = Document::read(&file).anchors();
                let known = headings.iter().any(|anchor| anchor == heading);
                assert!(known, "{} links to {target}: {headings:?}", document.path);
            }
        }
    }
}

// === The snippets that are no commands ===

#[test]
fn json_and_yaml_snippets_parse() {
    for document in documents() {
        for block in document.blocks() {
            match block.language.as_str() {
                "json" => drop(serde_json::from_str::<Value>(&block.text).expect(&document.path)),
                "yaml" => parse_yaml(&block.text),
                "bash" | "console" | "rust" | "text" => {}
                other => panic!("{}: nothing checks a block of {other:?}", document.path),
            }
        }
    }
}

#[test]
fn the_configurations_shown_are_accepted() {
    let blocks = Document::read("etc/README.md").blocks();
    let shown = blocks.iter().filter(|block| block.language == "yaml");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mockserver.yaml");
    let mut seen = 0;
    for block in shown {
        std::fs::write(&file, &block.text).expect("a file");
        let output = mockserver(&["--check", "-f", &file.to_string_lossy()]);
        assert!(output.status.success(), "{}: {output:?}", block.text);
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn every_option_of_the_command_line_is_documented() {
    let help = |arguments: &[&str]| String::from_utf8(mockserver(arguments).stdout).expect("UTF-8");
    let text = help(&["--help"]) + &help(&["healthcheck", "--help"]) + &help(&["ctl", "--help"]);
    let options: BTreeSet<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .filter(|word| !["--help", "--version"].contains(word))
        .collect();
    assert!(options.len() >= 6, "{options:?}");
    let document = Document::read("etc/README.md");
    for option in &options {
        assert!(document.text.contains(option), "{option}");
    }
}

#[test]
fn the_example_scenario_is_the_code_that_is_compiled_here() {
    let compiled = include_str!("example_scenario.rs").replace("mockserver::", "crate::");
    let blocks = Document::read(".github/CONTRIBUTING.md").blocks();
    let shown = blocks
        .iter()
        .find(|block| block.text.contains("impl Scenario"));
    assert_eq!(shown.expect("an example").text, compiled);
    let plugin = plugin::plugin::<example_scenario::ErrorRate>();
    let plan = plugin
        .plan("", Map::new())
        .expect("its default lies in its range");
    assert_eq!(
        (plan.name, plan.params.get("status_code")),
        ("error_rate", Some(&json!(502)))
    );
    let matching = |conditions: Value| Map::from_iter([("match".to_owned(), conditions)]);
    let orders = json!({ "routes": ["/api/v1/orders/*"], "methods": ["GET"], "share": 0.1 });
    assert!(plugin.plan("", matching(orders)).is_ok());
    assert!(plugin.plan("", matching(json!({ "share": 1.5 }))).is_err());
}

/// Runs the built program in an empty environment, so that no variable counts.
fn mockserver(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mockserver"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("it runs")
}

fn parse_yaml(text: &str) {
    for document in serde_yaml::Deserializer::from_str(text) {
        Value::deserialize(document).expect("valid YAML");
    }
}

// === Reading Markdown ===

/// A document by its path from the root.
struct Document {
    path: String,
    text: String,
}

/// A fenced block.
#[derive(Debug)]
struct Block {
    language: String,
    text: String,
    /// What the comment above it says.
    note: String,
    line: usize,
}

/// A command, and in a `console` block what it prints.
#[derive(Default)]
struct Step {
    command: String,
    shown: String,
}

/// Both READMEs, and every document in the folders that have some.
fn documents() -> Vec<Document> {
    let mut paths: Vec<PathBuf> = READMES.iter().map(PathBuf::from).collect();
    let mut folders: Vec<PathBuf> = [".github", "benches", "etc"].map(PathBuf::from).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(Path::new(ROOT).join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                paths.push(path);
            }
        }
    }
    paths
        .iter()
        .map(|path| Document::read(path.to_str().expect("UTF-8")))
        .collect()
}

impl Document {
    fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(Path::new(ROOT).join(path));
        Self {
            path: path.to_owned(),
            text: text.unwrap_or_else(|error| panic!("{path}: {error}")),
        }
    }

    fn folder(&self) -> &Path {
        Path::new(&self.path).parent().expect("a file has one")
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        let mut above = "";
        for (i, line) in self.text.lines().enumerate() {
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
        assert!(open.is_none(), "{}: a fence is not closed", self.path);
        blocks
    }

    fn commands(&self) -> Vec<String> {
        let blocks = self.blocks();
        let steps = blocks.iter().flat_map(Block::steps);
        steps.map(|step| step.command).collect()
    }

    /// The lines outside of every fence.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let fence = line.starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
    }

    fn heading_levels(&self) -> Vec<usize> {
        self.prose()
            .filter(|line| line.starts_with('#'))
            .map(|line| line.chars().take_while(|c| *c == '#').count())
            .collect()
    }

    /// What a link to each heading says behind its `#`.
    fn anchors(&self) -> Vec<String> {
        self.prose()
            .filter(|line| line.starts_with('#'))
            .map(|line| {
                line.trim_start_matches('#')
                    .trim()
                    .to_lowercase()
                    .replace(' ', "-")
                    .chars()
                    .filter(|c| c.is_alphanumeric() || "-_".contains(*c))
                    .collect()
            })
            .collect()
    }

    /// The targets of all links within the project.
    fn links(&self) -> Vec<String> {
        self.prose()
            .flat_map(|line| line.split("](").skip(1))
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target.to_owned())
            .filter(|target| !target.contains("://"))
            .collect()
    }

    /// The cells of each table row that is no rule.
    fn table_rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.prose().filter_map(cells)
    }
}

impl Block {
    /// What the note says after `kind`.
    fn notes<'n>(&'n self, kind: &'n str) -> impl Iterator<Item = &'n str> {
        self.note
            .split(", ")
            .filter_map(move |note| note.strip_prefix(kind))
    }

    /// The commands of a block, none if it has no commands. One goes on over a line that ends in a
    /// backslash or within a quote.
    fn steps(&self) -> Vec<Step> {
        let is_console = self.language == "console";
        let mut steps: Vec<Step> = Vec::new();
        let mut open = false;
        if self.language != "bash" && !is_console {
            return steps;
        }
        for line in self.text.lines() {
            let begins = match line.strip_prefix("$ ") {
                Some(command) if is_console => Some(command),
                _ if is_console => None,
                _ => (!line.starts_with('#') && !line.trim().is_empty()).then_some(line),
            };
            match (steps.last_mut(), begins) {
                (Some(step), _) if open => {
                    step.command.push('\n');
                    step.command.push_str(line);
                }
                (_, Some(command)) => steps.push(Step {
                    command: command.to_owned(),
                    ..Step::default()
                }),
                (Some(step), None) if is_console => {
                    step.shown.push_str(line);
                    step.shown.push('\n');
                }
                _ => {}
            }
            open = steps.last().is_some_and(Step::is_open);
        }
        assert!(!open, "line {}: a command does not end", self.line);
        steps
    }
}

impl Step {
    /// Whether the command goes on in the next line.
    fn is_open(&self) -> bool {
        let inside_quotes = self.command.matches('\'').count() % 2 == 1;
        inside_quotes || self.command.ends_with('\\')
    }
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

/// What a cell says that no translation changes: all in backticks, or else a bare figure.
fn codes_in(cell: &str) -> Vec<String> {
    let codes: Vec<String> = cell
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let is_figure = cell.chars().any(|c| c.is_ascii_digit())
        && cell.chars().all(|c| c.is_ascii_digit() || ".:".contains(c));
    if codes.is_empty() && is_figure {
        return vec![cell.to_owned()];
    }
    codes
}

/// How wide a terminal shows it: a Chinese character takes two columns.
fn columns(line: &str) -> usize {
    line.chars()
        .map(|c| if c >= '\u{2e80}' { 2 } else { 1 })
        .sum()
}
