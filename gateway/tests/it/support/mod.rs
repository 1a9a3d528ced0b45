//! What the tests share: a gateway, its answers, and the servers around it.

pub mod gateway;
pub mod otlp_receiver;

pub use gateway::{Answer, TestGateway, guest};
