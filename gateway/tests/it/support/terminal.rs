//! A command in a terminal: what it shows there.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

const PATIENCE: Duration = Duration::from_mins(1);

/// Which streams are the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// A person types a command.
    All,
    /// Standard output goes to a pipe: `sluice list | sort`.
    AllButOutput,
}

/// What a command showed.
#[derive(Debug)]
pub struct Shown {
    pub code: Option<i32>,
    /// With all escape sequences.
    pub screen: String,
    /// Of the pipe.
    pub stdout: String,
}

/// Runs a command to its end.
pub async fn run(mut command: Command, streams: Streams) -> Shown {
    let (own, given) = open();
    let stream = || Stdio::from(given.try_clone().unwrap());
    command.env("TERM", "xterm-256color").stdin(stream());
    command.stderr(stream()).stdout(if streams == Streams::All { stream() } else { Stdio::piped() });
    let child = command.spawn().unwrap();
    // The screen ends when the last of those who write to it has gone.
    drop((command, given));
    let screen = tokio::task::spawn_blocking(move || {
        let (mut seen, mut part, mut own) = (Vec::new(), [0; 4096], File::from(own));
        // The end of a terminal is an error.
        while let Ok(read @ 1..) = own.read(&mut part) {
            seen.extend_from_slice(&part[..read]);
        }
        String::from_utf8(seen).unwrap()
    });
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the end in time").unwrap();
    let screen = tokio::time::timeout(PATIENCE, screen).await.expect("the end of the screen").unwrap();
    Shown { code: ended.status.code(), screen, stdout: String::from_utf8(ended.stdout).unwrap() }
}

/// The two ends of a terminal of 160 columns: ours, and the one of commands.
#[expect(unsafe_code, reason = "the standard library opens no terminals")]
fn open() -> (OwnedFd, OwnedFd) {
    let (mut own, mut given) = (-1, -1);
    let size = libc::winsize { ws_row: 40, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: two places for descriptors and a size that outlive the call; neither a name nor settings are asked for.
    let opened =
        unsafe { libc::openpty(&raw mut own, &raw mut given, std::ptr::null_mut(), std::ptr::null(), &raw const size) };
    assert_eq!(opened, 0, "{}", io::Error::last_os_error());
    // SAFETY: both were opened just now, and nobody else has them.
    let ends = unsafe { (OwnedFd::from_raw_fd(own), OwnedFd::from_raw_fd(given)) };
    for end in [&ends.0, &ends.1] {
        // A command of another test would keep the screen from ending.
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).unwrap();
    }
    ends
}
