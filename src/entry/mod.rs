//! The program: its command line, its log, and what each subcommand does.

mod cli;
mod healthcheck;
mod logging;
mod output;
mod reference;
mod reload;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use tracing::{Level, warn};

use crate::config::{Config, Flags, IgnoredVariable, Loaded, LogFormat, ProcessEnv};
use crate::ctl::{self, Ctl, Failure};
use crate::daemon::{App, ControlRuntime, startup_checks};
use crate::exam;
use crate::host::threads;
use crate::http;
use crate::lifecycle::SERVICE;
use crate::lifecycle::termination::Termination;
use crate::plugin::Hooks;
use crate::scenarios;
use crate::traces::Traces;
use cli::{Cli, Command, DocsFormat, Exam};

/// The exit code of a bad command line or configuration, EX_USAGE of sysexits.h.
const BAD_USAGE: u8 = 64;

/// Reads the command line and the configuration, then serves until a signal ends the daemon.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            let help_was_asked_for = message.exit_code() == 0;
            let code = if help_was_asked_for { 0 } else { BAD_USAGE };
            return match output::print_message(&message) {
                Err(error) if help_was_asked_for => fail(&error, LogFormat::Text, 1),
                // An error goes to standard error: there is no other place to report it.
                _ => ExitCode::from(code),
            };
        }
    };
    match cli.command {
        Some(Command::Docs { format }) => return print(&docs(format), LogFormat::Text),
        Some(Command::Completions { shell }) => {
            return print(&completions(shell), LogFormat::Text);
        }
        Some(Command::Ctl(ctl)) => return control(ctl),
        Some(Command::Exam(Exam::Score { files })) => return score(&files),
        _ => {}
    }
    let serves = cli.command.is_none() && !cli.check;
    // Before anything that takes time: a signal may come at any moment.
    let runtime = serves.then(ControlRuntime::new);
    let flags = cli.flags();
    let loaded = match Config::load(&flags, &ProcessEnv, scenarios::ALL) {
        Ok(loaded) => loaded,
        Err(refused) => return fail(&refused, refused.log_format, BAD_USAGE),
    };
    let log_format = loaded.config.log.format;
    if let Some(Command::Healthcheck { url, .. }) = cli.command {
        return match healthcheck::run(url, &loaded.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => fail(&reason, log_format, 1),
        };
    }
    let Some(runtime) = runtime else {
        return check(&loaded);
    };
    let served = serve(runtime, flags, loaded);
    if let Err(error) = &served {
        logging::fatal(error, log_format);
    }
    logging::finish();
    served.map_or(1.into(), |()| ExitCode::SUCCESS)
}

fn docs(format: DocsFormat) -> String {
    match format {
        DocsFormat::Markdown => reference::markdown(scenarios::ALL),
        DocsFormat::Openapi => format!("{:#}\n", http::openapi(scenarios::ALL)),
        DocsFormat::Man => manual(),
    }
}

/// The manual page of the command line.
fn manual() -> String {
    let mut page = Vec::new();
    // A vector takes everything.
    clap_mangen::Man::new(Cli::command()).render(&mut page).ok();
    String::from_utf8_lossy(&page).into_owned()
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mockserver", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Prints the report of each drill in `files`, up to the first file that has none.
fn score(files: &[PathBuf]) -> ExitCode {
    for file in files {
        let place = file.display();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => return fail(&format!("{place}: {error}"), LogFormat::Text, 1),
        };
        let reports = match exam::reports(&text) {
            Ok(reports) => reports,
            Err(error) => return fail(&format!("{place}: {error}"), LogFormat::Text, 1),
        };
        let printed = print(&reports, LogFormat::Text);
        if printed != ExitCode::SUCCESS {
            return printed;
        }
    }
    ExitCode::SUCCESS
}

fn control(ctl: Ctl) -> ExitCode {
    match ctl::run(ctl, &mut io::stdout(), &mut io::stderr()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // A reader that has left, such as `head`, has read what it wanted.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = match error {
                Failure::Usage(_) => BAD_USAGE,
                _ => 1,
            };
            fail(&error, LogFormat::Text, code)
        }
    }
}

fn serve(runtime: io::Result<ControlRuntime>, flags: Flags, mut loaded: Loaded) -> io::Result<()> {
    let config = &mut loaded.config;
    startup_checks::files()?;
    if config.blind {
        threads::disguise(&config.name);
    }
    let more_threads = [
        config.otel.endpoint.is_some(),
        config.log.admin.is_some(),
        config.traffic.is_some(),
    ];
    startup_checks::threads(more_threads.map(usize::from).iter().sum())?;
    let (hooks, service) = (Hooks::default(), (&*config.name, &*config.version));
    let traces = Traces::start(config.otel.endpoint.as_ref(), service, &hooks.clock);
    let no_traces = traces.as_ref().err().map(io::Error::to_string);
    let traces = traces.unwrap_or_default();
    logging::init(config, &traces, &hooks)?;
    if let Some(error) = no_traces {
        // Mostly by a variable of OpenTelemetry, which is set for every program around.
        warn!(target: SERVICE, error, "Requests are not traced.");
        config.otel.endpoint = None;
    }
    let reload = Arc::new(reload::of(flags, &loaded));
    let served = App::new(loaded, scenarios::ALL, hooks).run(runtime?, terminate, reload);
    traces.finish();
    served
}

fn check(loaded: &Loaded) -> ExitCode {
    let format = loaded.config.log.format;
    for IgnoredVariable { name, because } in &loaded.ignored_variables {
        let message = format!("the variable {name} is ignored: {because}");
        logging::complain(Level::WARN, &message, format);
    }
    print(&loaded.as_yaml(), format)
}

/// Prints what was asked for.
fn print(text: &str, format: LogFormat) -> ExitCode {
    let printed = output::print(text);
    printed.map_or_else(|error| fail(&error, format, 1), |()| ExitCode::SUCCESS)
}

fn fail(reason: &dyn Display, format: LogFormat, code: u8) -> ExitCode {
    logging::complain(Level::ERROR, reason, format);
    code.into()
}

fn terminate(termination: Termination) {
    logging::finish();
    logging::keep_runtime_quiet(termination);
    termination.carry_out();
}
