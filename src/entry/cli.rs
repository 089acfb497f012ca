//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Flags;

/// An HTTP service that goes wrong on command, exactly as asked, and stops on command
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Cli {
    /// Configuration file [default: etc/mockserver.yaml, if it is there]
    #[arg(short = 'f', long = "config", value_name = "FILE", global = true)]
    pub file: Option<PathBuf>,
    /// Address of the service listener
    #[arg(long)]
    pub host: Option<String>,
    /// Port of the service listener
    #[arg(long)]
    pub port: Option<String>,
    /// debug, info, warn or error
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
    },
    /// Print the reference of scenarios, configuration and API
    Docs {
        /// The form of the reference
        #[arg(long, value_enum, default_value_t = DocsFormat::Markdown)]
        format: DocsFormat,
    },
}

/// The forms of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum DocsFormat {
    /// For people
    Markdown,
    /// The API alone, as OpenAPI 3.1 in JSON
    Openapi,
}

impl Cli {
    /// What the command line says of the configuration.
    pub(super) fn flags(&self) -> Flags {
        Flags {
            file: self.file.clone(),
            host: self.host.clone(),
            port: self.port.clone(),
            log_level: self.log_level.clone(),
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
                "(-f|--config|--host|--port|--log-level|--check|healthcheck|--url|--|[^\\x00]{0,6})=?",
                0..5,
            ),
        ) {
            if let Err(error) = Cli::try_parse_from(std::iter::once("mockserver".to_owned()).chain(words)) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
