//! Child processes: each is shown as one would type it, and a failure names it.

use std::{ffi::OsStr, os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

pub(crate) fn cargo() -> Command {
    command("cargo")
}

/// Runs in the root of the workspace.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    command_in(workspace::root(), program)
}

pub(crate) fn command_in(folder: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    command
}

/// Shows the command, runs it to its end, and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("`{}` could not be started", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Shows the command and becomes it, so that a signal meets nobody who would not wait for its end.
pub(crate) fn become_it(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    Err(command.exec()).with_context(|| format!("`{}` could not be started", shown(command)))
}

/// What a quiet command prints, its surrounding white space removed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("`{}` could not be started", shown(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}: {}", shown(command), output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let environment = command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}={}", key.to_string_lossy(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    environment.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = command("cargo");
        command.env("RUSTFLAGS", "-Ca -Cb").env_remove("HOME").args(["build", "-p", "x y"]);
        assert_eq!(shown(&command), "RUSTFLAGS='-Ca -Cb' cargo build -p 'x y'");
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = run(command("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` failed: exit status: 3");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut command("vtepd-no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "`vtepd-no-such-program` could not be started");
    }
}
