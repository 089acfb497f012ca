//! `mockserver ctl`: the API from a terminal, for one daemon or for many at once.

mod arguments;
mod client;
mod follow;
mod show;
mod targets;
mod watch;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use client::Client;

/// How long one answer may take: longer than a stop that has to abort its run.
const DEFAULT_TIMEOUT_S: u64 = 60;

/// Controls running daemons by their API.
#[derive(Debug, Args)]
pub(crate) struct Ctl {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// Which daemons, and how.
#[derive(Debug, Args)]
struct Connection {
    /// A daemon's admin listener, again and again for several; a name with many addresses means all of them
    /// [MOCKSERVER_URL, with commas between several]
    #[arg(long = "url", value_name = "URL", global = true)]
    urls: Vec<String>,
    /// File with the token; without it the token is that of MOCKSERVER_TOKEN
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Only this share of the daemons, at least one; the same ones each time
    #[arg(long, value_name = "SHARE", global = true, value_parser = targets::parse_share)]
    share: Option<f64>,
    /// Another choice for --share
    #[arg(long, value_name = "NUMBER", global = true, default_value_t = 0)]
    seed: u64,
    /// How long one answer may take, in seconds
    #[arg(long, value_name = "SECONDS", global = true, default_value_t = DEFAULT_TIMEOUT_S)]
    timeout: u64,
    /// Print what the API answers
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the scenarios
    List,
    /// Describe a scenario and its parameters
    Show {
        /// The scenario
        name: String,
    },
    /// Start a scenario: `start cpu_burner target_percent=80 --for 5m`
    Start {
        /// The scenario
        name: String,
        /// Parameters; dots lead into objects, and values may be JSON: match.share=0.1
        #[arg(value_name = "NAME=VALUE")]
        parameters: Vec<String>,
        /// End it after this time: seconds, or a text such as 5m
        #[arg(long = "for", value_name = "TIME")]
        duration: Option<String>,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Replace all that runs by the set in a file, YAML or JSON
    Set {
        /// The file, - for standard input
        file: PathBuf,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what runs: asked, achieved and the time left
    Status,
    /// Show the same again and again, with a curve of what was achieved
    Watch {
        /// The time between two looks, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = watch::parse_every)]
        every: f64,
        /// End after as many looks
        #[arg(long, value_name = "NUMBER")]
        count: Option<u64>,
    },
    /// Stop a scenario, or all
    Stop {
        /// The scenario
        name: Option<String>,
    },
    /// Stop everything and refuse every start
    Halt,
    /// Accept starts again
    Rearm,
    /// Print the events of the ledger
    Events {
        /// Go on as they happen
        #[arg(short, long)]
        follow: bool,
        /// Only events after this one
        #[arg(long, value_name = "SEQ")]
        since: Option<u64>,
    },
}

/// Carries out the command; writes to `out` what it was asked for, and to `complaints` what went wrong. Returns whether
/// every daemon did it.
///
/// # Errors
/// The command cannot be sent, or `out` cannot be written.
pub(crate) fn run(
    ctl: Ctl,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<bool, Failure> {
    let request = Request::of(&ctl.command)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(carry_out(ctl, request, out, complaints))
}

async fn carry_out(
    Ctl {
        connection,
        command,
    }: Ctl,
    request: Option<Request>,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<bool, Failure> {
    let share = connection.share.map(|share| (share, connection.seed));
    let targets = targets::find(connection.urls, share).await?;
    let timeout = Duration::from_secs(connection.timeout);
    let client = Client::new(targets, connection.token_file, timeout)?;
    let json = connection.json;
    match (&command, request) {
        (Command::Status, _) if !json => show::status(&client, (out, complaints)).await,
        (_, Some(request)) => {
            let Request { method, path, body } = request;
            let replies = client.ask_all(method, &path, body.as_ref()).await;
            if json {
                return show::as_json(&replies, out);
            }
            show::replies(replies, (out, complaints), |body| text_of(&command, body))
        }
        (Command::Watch { every, count }, None) => {
            watch::watch(&client, Duration::from_secs_f64(*every), *count, out).await
        }
        (Command::Events { follow, since }, None) => {
            follow::events(&client, *follow, *since, json, (out, complaints)).await
        }
        (_, None) => Ok(true),
    }
}

/// What a person reads of a good answer.
fn text_of(command: &Command, reply: &Value) -> String {
    match command {
        Command::List => show::list(reply),
        Command::Show { .. } => show::scenario(reply),
        Command::Start { .. } | Command::Set { .. } => show::started(reply),
        Command::Stop { name: Some(name) } => format!("{name} is stopped.\n"),
        Command::Stop { name: None } | Command::Halt | Command::Rearm => show::stopped(reply),
        Command::Status | Command::Watch { .. } | Command::Events { .. } => String::new(),
    }
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is no good one.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// A request that is the same for all daemons.
struct Request {
    method: http::Method,
    path: String,
    body: Option<Value>,
}

impl Request {
    /// None where a command makes requests of its own.
    fn of(command: &Command) -> Result<Option<Self>, Failure> {
        let get = |path: String| Some((http::Method::GET, path, None));
        let post = |path: String, body| Some((http::Method::POST, path, Some(body)));
        let nothing = || Value::Object(Map::new());
        let one = |name: &str, what: &str| {
            let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
            format!("/api/v1/scenarios/{name}{what}")
        };
        let request = match command {
            Command::List => get("/api/v1/scenarios".to_owned()),
            Command::Show { name } => get(one(name, "")),
            Command::Start {
                name,
                parameters,
                duration,
                dry_run,
            } => {
                let mut body = arguments::parse(parameters).map_err(Failure::Usage)?;
                if let Some(duration) = duration {
                    body.insert("duration".to_owned(), arguments::value_of(duration));
                }
                if *dry_run {
                    body.insert("dry_run".to_owned(), true.into());
                }
                post(one(name, "/start"), body.into())
            }
            Command::Set { file, dry_run } => {
                let mut body = read_set(file)?;
                if *dry_run {
                    body["dry_run"] = true.into();
                }
                post("/api/v1/composite/start".to_owned(), body)
            }
            Command::Status => get("/api/v1/composite/status".to_owned()),
            Command::Stop { name: Some(name) } => post(one(name, "/stop"), nothing()),
            Command::Stop { name: None } => post("/api/v1/composite/stop".to_owned(), nothing()),
            Command::Halt => post("/api/v1/halt".to_owned(), nothing()),
            Command::Rearm => post("/api/v1/rearm".to_owned(), nothing()),
            Command::Watch { .. } | Command::Events { .. } => None,
        };
        Ok(request.map(|(method, path, body)| Self { method, path, body }))
    }
}

/// The body of a composite start from a file.
fn read_set(file: &PathBuf) -> Result<Value, Failure> {
    let shown = file.display();
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| Failure::Other(format!("{shown} cannot be read: {error}")))?;
    // JSON is YAML too.
    let set = serde_yaml::from_str::<Value>(&text);
    let set = set.map_err(|error| Failure::Usage(format!("{shown} is not YAML: {error}")))?;
    match set {
        Value::Object(_) => Ok(set),
        // A list of scenarios alone.
        Value::Array(scenarios) => Ok(serde_json::json!({ "scenarios": scenarios })),
        _ => {
            let detail = "is not a set: an object with scenarios, or a list of them";
            Err(Failure::Usage(format!("{shown} {detail}")))
        }
    }
}
