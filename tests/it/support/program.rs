//! The program as a command that is run to its end.

use std::process::{Command, Output};

use tempfile::TempDir;

/// The binary in `folder`, which has no default configuration.
pub(crate) fn command(folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mockserver"));
    command.args(args).current_dir(folder.path());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    run_in(&TempDir::new().unwrap(), args, env)
}

pub(crate) fn run_in(folder: &TempDir, args: &[&str], env: &[(&str, &str)]) -> Output {
    command(folder, args)
        .envs(env.iter().copied())
        .output()
        .expect("the binary can be executed")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn with_file(yaml: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("a.yaml"), yaml).unwrap();
    folder
}
