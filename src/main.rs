//! Reads the command line and the configuration, then serves until told to end.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use mockserver::app::App;
use mockserver::cli::{Cli, Command};
use mockserver::config::{Config, Loaded, ProcessEnv};
use mockserver::death::Death;
use mockserver::host::threads;
use mockserver::listener::budget;
use mockserver::traces::Traces;
use mockserver::{healthcheck, logging};

/// The exit code of a bad command line or configuration, EX_USAGE of sysexits.h.
const BAD_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            let help_was_asked_for = message.exit_code() == 0;
            message.print().ok();
            return ExitCode::from(if help_was_asked_for { 0 } else { BAD_USAGE });
        }
    };
    let loaded = match Config::load(&cli.flags(), &ProcessEnv) {
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
        for variable in &loaded.unknown_variables {
            eprintln!("mockserver: {variable} is no variable of mockserver; it sets nothing");
        }
        print!("{}", loaded.as_yaml());
        return ExitCode::SUCCESS;
    }
    let ran = serve(loaded);
    logging::finish();
    ran.map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
}

fn serve(loaded: Loaded) -> io::Result<()> {
    budget::check_limit()?;
    threads::check(loaded.config.otel.endpoint.is_some())?;
    let traces = Traces::start(&loaded.config)?;
    logging::init(&loaded.config.log, &traces)?;
    let ran = App::new(loaded).run(die);
    traces.finish();
    ran
}

fn fail(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("mockserver: {reason}");
    code.into()
}

fn die(death: Death) {
    logging::finish();
    death.carry_out();
}
