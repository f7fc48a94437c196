//! `gpt2-lora completions`

use std::io::Write;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora completions bash > ~/.local/share/bash-completion/completions/gpt2-lora
  gpt2-lora completions fish > ~/.config/fish/completions/gpt2-lora.fish";

#[derive(Args)]
pub struct CompletionsArgs {
    /// Shell
    shell: Shell,
}

/// Prints the completion script of the command line `P`.
pub fn run<P: CommandFactory>(args: &CompletionsArgs) -> Result<()> {
    let mut command = P::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    std::io::stdout().write_all(&script).context("cannot write to standard output")
}
