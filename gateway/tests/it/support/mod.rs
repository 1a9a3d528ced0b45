//! What the tests share: a gateway, its answers, and the servers around it.

pub mod components;
pub mod files;
pub mod gateway;
pub mod openmetrics;
pub mod otlp_receiver;
pub mod process;
pub mod raw;

pub use files::Files;
pub use gateway::{Answer, TestGateway, guest};
pub use process::Process;
pub use raw::Raw;
