//! Tests of the gateway from outside, over real sockets.

mod support;
mod telemetry;
