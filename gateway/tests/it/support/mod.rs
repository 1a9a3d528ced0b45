//! What the integration tests share.

pub mod component;
mod documented;
pub mod files;
pub mod gateway;
pub mod http_function;
pub mod keys;
pub mod openmetrics;
pub mod otlp_receiver;
pub mod process;
pub mod property;
pub mod raw;
pub mod s3;
pub mod standard_webhooks;
pub mod terminal;
pub mod toolchain;
pub mod upstream;

pub use files::Files;
pub use gateway::{Answer, TestGateway, compile_in, guest};
pub use process::Process;
pub use raw::Raw;
pub use upstream::Upstream;
