//! `sluice completions` and `sluice man`: what a shell and a manual know of the command line.
//!
//! Invariant: both are made of the command line itself, so that they can't lag behind it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::Cli;
use super::output::Out;

/// For which shell.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell to complete for.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script that the shell reads.
pub(super) fn run(args: &Args, out: Out) -> anyhow::Result<()> {
    Ok(out.text(&script(args.shell))?)
}

fn script(shell: clap_complete::Shell) -> String {
    let whole = Cli::command();
    // The generators of some shells offer hidden commands too.
    let mut offered = clap::Command::new("sluice")
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut offered, "sluice", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Where to.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Write a page for each command into this folder, instead of printing the first.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the page of `sluice`, or writes all.
pub(super) fn man(args: &Man, out: Out) -> anyhow::Result<()> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return Ok(out.text(&String::from_utf8_lossy(&page))?);
    };
    let count = write_pages(dir).with_context(|| format!("{} can't be written", dir.display()))?;
    Ok(out.line(&format!("wrote {count} pages into {}", dir.display()))?)
}

fn write_pages(dir: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    // The version is in the first page's title.
    clap_mangen::generate_to(Cli::command(), dir)?;
    Ok(std::fs::read_dir(dir)?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "1"))
        .count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_names_the_commands() {
        use clap::ValueEnum as _;
        for shell in clap_complete::Shell::value_variants() {
            let script = script(*shell);
            assert!(script.contains("permissions") && !script.contains("compile-worker"), "{shell}");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let count = write_pages(folder.path()).unwrap();
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().any(|name| name == "sluice-permissions-explain.1"), "{names:?}");
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("compile-worker")), "{names:?}");
        assert_eq!(count, names.len());
    }
}
