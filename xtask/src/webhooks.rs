//! The reference client of Standard Webhooks, which the tests sign and verify with.
//!
//! Owns its folder in `target`. What is installed is in `gateway/tests/standard-webhooks`, with its digests.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::steps::Steps;
use crate::{project, system};

const FILES: [&str; 3] = ["package.json", "package-lock.json", "client.js"];

/// Installs it, where that was not done or something changed.
pub fn install(steps: &mut Steps) -> Result<()> {
    steps.step("the client of Standard Webhooks", |step| {
        system::ensure(step, &[system::NODE, system::NPM])?;
        let (source, folder) =
            (project::path("gateway/tests/standard-webhooks"), project::path("target/standard-webhooks"));
        fs::create_dir_all(&folder)?;
        let mut is_new = !folder.join("node_modules/standardwebhooks").is_dir();
        for name in FILES {
            let wanted = fs::read(source.join(name)).with_context(|| format!("can't read {name}"))?;
            let file = folder.join(name);
            if fs::read(&file).is_ok_and(|there| there == wanted) {
                continue;
            }
            is_new |= name != "client.js";
            fs::write(&file, wanted).with_context(|| format!("can't write {}", file.display()))?;
        }
        if is_new {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
            step.run(&mut npm)?;
        }
        Ok(())
    })
}
