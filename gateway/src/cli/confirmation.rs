//! The question before something is deleted.
//!
//! Owns `--yes` and the terminal that is asked on. Invariant: where there is nobody to ask, nothing is asked of the
//! gateway either.

use std::io::{IsTerminal as _, Write as _};

use anyhow::anyhow;

use super::failure::Usage;

/// How sure the caller is.
#[derive(Debug, clap::Args)]
pub(super) struct Confirmation {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Confirmation {
    /// Refuses where it would have to be asked and can't be.
    pub(super) fn require(&self) -> anyhow::Result<()> {
        if self.yes || (std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return Ok(());
        }
        Err(Usage("there is no terminal to ask on: --yes is needed to delete".to_owned()).into())
    }

    /// Asks, unless that was answered by `--yes`; an error is a no.
    pub(super) async fn ask(&self, question: String) -> anyhow::Result<()> {
        if self.yes || is_confirmed(question).await? {
            return Ok(());
        }
        Err(anyhow!("nothing was deleted"))
    }
}

async fn is_confirmed(question: String) -> anyhow::Result<bool> {
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr().lock();
        stderr.write_all(super::output::printable(&question).as_bytes())?;
        stderr.flush()?;
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line)? == 0 {
            // Nobody pressed Enter: the next words begin a line of their own.
            writeln!(stderr)?;
        }
        Ok::<_, std::io::Error>(line)
    });
    Ok(matches!(answer.await??.trim(), "y" | "Y" | "yes"))
}
