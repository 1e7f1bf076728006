//! `completions SHELL`: a script that completes the commands and options.

use anyhow::Result;
use clap_complete::Shell;

use super::out;

const EXAMPLES: &str = "\
Examples:
  ironwarp completions bash > ~/.local/share/bash-completion/completions/ironwarp
  ironwarp completions zsh > ~/.zfunc/_ironwarp
  ironwarp completions fish > ~/.config/fish/completions/ironwarp.fish";

/// Print a completion script for a shell.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &Args, command: &mut clap::Command) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(args.shell, command, "ironwarp", &mut script);
    out::print(&String::from_utf8_lossy(&script))
}
