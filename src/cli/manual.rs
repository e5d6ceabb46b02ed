//! The command line's description of itself: what a shell completes, and the pages of the manual. Both are made from the
//! definitions that arguments are parsed with, so that they cannot differ from them.

use super::output::{self, CliError, Exit};
use clap::builder::Command;
use clap::{Args, ValueEnum};
use clap_complete::Generator;
use clap_complete::shells::{Bash, Fish, Zsh};
use clap_mangen::Man;
use std::path::{Path, PathBuf};

/// A shell that can complete commands.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompletingShell {
    Bash,
    Zsh,
    Fish,
}

/// `cashbox completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: CompletingShell,
}

impl CompletionsArgs {
    /// Prints a script for the shell.
    pub(crate) fn run(&self, mut program: Command) -> Result<Exit, CliError> {
        let name = program.get_name().to_owned();
        program.set_bin_name(name);
        program.build();
        let mut script = Vec::new();
        match self.shell {
            CompletingShell::Bash => Bash.generate(&program, &mut script),
            CompletingShell::Zsh => Zsh.generate(&program, &mut script),
            CompletingShell::Fish => Fish.generate(&program, &mut script),
        }
        output::print(&String::from_utf8_lossy(&script)).map(|()| Exit::Done)
    }
}

/// `cashbox man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The command, such as `lock run` [default: cashbox itself]
    #[arg(value_name = "COMMAND")]
    path: Vec<String>,
    /// Write the pages of all commands into this folder, and print none
    #[arg(long, value_name = "FOLDER", conflicts_with = "path")]
    all: Option<PathBuf>,
}

impl ManArgs {
    /// Prints a page of the manual as `man` reads it, or writes all of them.
    pub(crate) fn run(&self, mut program: Command) -> Result<Exit, CliError> {
        program.build();
        if let Some(folder) = &self.all {
            return write_all(&program, folder).map(|()| Exit::Done);
        }
        let mut command = &program;
        for name in &self.path {
            command = command.find_subcommand(name).ok_or_else(|| {
                CliError::usage(format!(
                    "{name:?} is not a valid command of {}",
                    command.get_bin_name().unwrap_or_default()
                ))
            })?;
        }
        output::print(&String::from_utf8_lossy(&page(command)?)).map(|()| Exit::Done)
    }
}

/// The page of that command: `cashbox-lock-run(1)`.
fn page(command: &Command) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    let written = Man::new(command.clone()).render(&mut page);
    written.map_err(|error| CliError::unreachable(format!("cannot make the page of the manual: {error}")))?;
    Ok(page)
}

/// Writes the page of the command and of each below it.
fn write_all(command: &Command, folder: &Path) -> Result<(), CliError> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = folder.join(format!("{name}.1"));
    let page = page(command)?;
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, page));
    written.map_err(|error| CliError::unreachable(format!("cannot write {}: {error}", file.display())))?;
    let shown = |one: &&Command| one.get_name() != "help" && !one.is_hide_set();
    command.get_subcommands().filter(shown).try_for_each(|one| write_all(one, folder))
}
