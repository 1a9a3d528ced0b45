//! The integration tests: one binary, over real sockets, with real guests.

mod support;
