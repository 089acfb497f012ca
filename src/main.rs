//! The command line: reads the configuration, then serves until told to end.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mockserver::app::App;
use mockserver::config::{Config, Flags, ProcessEnv};
use mockserver::{healthcheck, logging};

/// The exit code of a bad command line or configuration, EX_USAGE of sysexits.h.
const BAD_USAGE: u8 = 64;

/// An HTTP service that goes wrong on command, exactly as told, and stops when told.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Configuration file [default: etc/mockserver.yaml, if it is there]
    #[arg(short = 'f', long = "config", value_name = "FILE", global = true)]
    file: Option<PathBuf>,
    /// Address of the service listener
    #[arg(long)]
    host: Option<String>,
    /// Port of the service listener
    #[arg(long)]
    port: Option<String>,
    /// debug, info, warn or error
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Check the configuration, print it and exit
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a health URL once; exit 0 if it is healthy and 1 if not
    Healthcheck {
        /// [default: /health of the configured service listener]
        #[arg(long)]
        url: Option<String>,
    },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            let asked_for = message.exit_code() == 0;
            drop(message.print());
            return if asked_for {
                ExitCode::SUCCESS
            } else {
                BAD_USAGE.into()
            };
        }
    };
    let Cli {
        file,
        host,
        port,
        log_level,
        check,
        command,
    } = cli;
    let loaded = match Config::load(
        &Flags {
            file,
            host,
            port,
            log_level,
        },
        &ProcessEnv,
    ) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, BAD_USAGE),
    };
    if let Some(Command::Healthcheck { url }) = command {
        return match healthcheck::run(url, &loaded.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => fail(&reason, 1),
        };
    }
    if check {
        print!("{}", loaded.as_yaml());
        return ExitCode::SUCCESS;
    }
    let ran = logging::init(&loaded.config.log).and_then(|()| App::bind(loaded)?.run(exit));
    ran.map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
}

fn fail(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("mockserver: {reason}");
    code.into()
}

#[expect(
    clippy::exit,
    reason = "a crash and a second signal end the process without unwinding"
)]
fn exit(code: i32) {
    std::process::exit(code);
}
