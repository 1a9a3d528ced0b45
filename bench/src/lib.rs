//! Measuring Sluice: in the process with criterion, and over sockets against a limit.
//!
//! In reading order: what is called, what runs it, what the runs cost, and what is
//! written down. Nothing here is a test: a figure is a fact of one machine on one day.

pub mod guest;
pub mod in_process;

pub mod options;
pub mod project;

pub mod machine;
pub mod process;

pub mod client;
pub mod load;
pub mod native;
pub mod server;

pub mod command_line;
pub mod jobs;
pub mod memory;
pub mod paired;
pub mod report;
pub mod restate;
pub mod rows;
pub mod uploads;
