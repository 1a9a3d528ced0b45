//! What the tests need beside the gateway: the servers it talks to.

pub mod otlp_receiver;
