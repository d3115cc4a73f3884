//! `holdfast completions SHELL`: what a shell needs to complete our commands and flags.
use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Arguments, Failure, Output};

/// Which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsOptions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(options: &CompletionsOptions, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(options.shell, &mut Arguments::command(), "holdfast", &mut script);
    Output::bytes(&script)?;
    let places = [
        (Shell::Bash, "~/.local/share/bash-completion/completions/holdfast"),
        (Shell::Fish, "~/.config/fish/completions/holdfast.fish"),
        (Shell::Zsh, "~/.zfunc/_holdfast"),
    ];
    let Some((shell, place)) = places.iter().find(|(shell, _)| *shell == options.shell) else {
        output.note(&format!("\nput this where {} looks for it", options.shell));
        return Ok(());
    };
    output.next(&format!("holdfast completions {shell} > {place}"));
    Ok(())
}
