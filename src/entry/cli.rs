//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Flags;
use crate::ctl::Ctl;

/// What follows the list of flags in the help.
const MORE: &str = "\
Each key of the configuration has a variable: Log.Level is MOCKSERVER_LOG_LEVEL. Defaults < file < variables < flags.
`mockserver docs` lists all keys and variables; `mockserver --check` prints the values in effect.

A second instance beside the first:
  mockserver --port 9888 --admin-port 9889 --data-dir /tmp/mockserver-2";

/// An HTTP service that goes wrong on command, exactly as asked, and stops on command
#[derive(Debug, Parser)]
#[command(version, after_help = MORE)]
pub(super) struct Cli {
    /// Configuration file, - for standard input [default: etc/mockserver.yaml, if it is there]
    #[arg(short = 'f', long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Address of the service listener [MOCKSERVER_HOST]
    #[arg(long)]
    pub host: Option<String>,
    /// Port of the service listener [MOCKSERVER_PORT]
    #[arg(long)]
    pub port: Option<String>,
    /// Address of the admin listener [MOCKSERVER_ADMIN_HOST]
    #[arg(long, value_name = "HOST")]
    pub admin_host: Option<String>,
    /// Port of the admin listener, 0 for none [MOCKSERVER_ADMIN_PORT]
    #[arg(long, value_name = "PORT")]
    pub admin_port: Option<String>,
    /// Folder of the ledger and of what disk faults write [MOCKSERVER_DATA_DIR]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<String>,
    /// debug, info, warn or error [MOCKSERVER_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Check the configuration, print it and exit
    #[arg(long)]
    pub check: bool,
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the daemon's program can do besides serving.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask a health URL once; exit 0 if it is healthy and 1 if not
    Healthcheck {
        /// [default: /health of the configured service listener]
        #[arg(long)]
        url: Option<String>,
        /// Configuration file, as above
        #[arg(short = 'f', long = "config", value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Control running daemons: list, start, stop, status, watch, events
    Ctl(Ctl),
    /// Mark drills that are over, from the files that they left
    #[command(subcommand)]
    Exam(Exam),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the reference of scenarios, configuration and API
    Docs {
        /// The form of the reference
        #[arg(long, value_enum, ignore_case = true, default_value_t = DocsFormat::Markdown)]
        format: DocsFormat,
    },
}

/// What can be done with drills without a daemon.
#[derive(Debug, Subcommand)]
pub(super) enum Exam {
    /// Print the report of each closed drill, one JSON object a line
    Score {
        /// Files of drills or of the ledger: DataDir/drills/*.jsonl
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// The forms of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum DocsFormat {
    /// For people
    Markdown,
    /// The API alone, as OpenAPI 3.1 in JSON
    Openapi,
    /// The command line alone, as a manual page
    Man,
}

impl Cli {
    /// What the command line says of the configuration.
    pub(super) fn flags(&self) -> Flags {
        let own = match &self.command {
            Some(Command::Healthcheck { file, .. }) => file.clone(),
            _ => None,
        };
        Flags {
            file: own.or_else(|| self.file.clone()),
            host: self.host.clone(),
            port: self.port.clone(),
            log_level: self.log_level.clone(),
            admin_host: self.admin_host.clone(),
            admin_port: self.admin_port.clone(),
            data_dir: self.data_dir.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_command_line_is_read_or_refused_with_a_reason(
            words in prop::collection::vec(
                "(-f|--config|--host|--port|--log-level|--admin-port|--data-dir|--check|healthcheck|--url|--|[^\\x00]{0,6})=?",
                0..5,
            ),
        ) {
            if let Err(error) = Cli::try_parse_from(std::iter::once("mockserver".to_owned()).chain(words)) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
