//! What the integration tests share.

pub mod component;
mod gateway;
pub mod property;

pub use gateway::{Answer, TestGateway, guest};
