//! The program: its command line, its log, and what each subcommand does.

mod cli;
mod healthcheck;
mod logging;
mod reference;

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::config::{Config, IgnoredVariable, Loaded, ProcessEnv};
use crate::daemon::{App, startup_checks};
use crate::http;
use crate::lifecycle::termination::Termination;
use crate::scenarios;
use crate::traces::Traces;
use cli::{Cli, Command, DocsFormat};

/// The exit code of a bad command line or configuration, EX_USAGE of sysexits.h.
const BAD_USAGE: u8 = 64;

/// Reads the command line and the configuration, then serves until a signal ends the daemon.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            let help_was_asked_for = message.exit_code() == 0;
            message.print().ok();
            return ExitCode::from(if help_was_asked_for { 0 } else { BAD_USAGE });
        }
    };
    if let Some(Command::Docs { format }) = cli.command {
        match format {
            DocsFormat::Markdown => print!("{}", reference::markdown(scenarios::ALL)),
            DocsFormat::Openapi => println!("{:#}", http::openapi(scenarios::ALL)),
        }
        return ExitCode::SUCCESS;
    }
    let loaded = match Config::load(&cli.flags(), &ProcessEnv, scenarios::ALL) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, BAD_USAGE),
    };
    if let Some(Command::Healthcheck { url }) = cli.command {
        return match healthcheck::run(url, &loaded.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => fail(&reason, 1),
        };
    }
    if cli.check {
        for IgnoredVariable { name, because } in &loaded.ignored_variables {
            eprintln!("mockserver: the variable {name} is ignored: {because}");
        }
        print!("{}", loaded.as_yaml());
        return ExitCode::SUCCESS;
    }
    let served = serve(loaded);
    logging::finish();
    served.map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
}

fn serve(loaded: Loaded) -> io::Result<()> {
    let config = &loaded.config;
    startup_checks::files()?;
    startup_checks::threads(config.otel.endpoint.is_some())?;
    let traces = Traces::start(config.otel.endpoint.as_ref(), &config.name, &config.version)?;
    logging::init(&config.log, &traces)?;
    let served = App::new(loaded, scenarios::ALL).run(terminate);
    traces.finish();
    served
}

fn fail(reason: &dyn Display, code: u8) -> ExitCode {
    eprintln!("mockserver: {reason}");
    code.into()
}

fn terminate(termination: Termination) {
    logging::finish();
    termination.carry_out();
}
