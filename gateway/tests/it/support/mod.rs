//! What the tests share: a gateway, its answers, and the servers around it.

pub mod gateway;

pub use gateway::{Answer, TestGateway, guest};
