//! The engine on real stores, with steps whose effects are kept in a ledger.

mod deliveries;
mod faults;
mod harness;
mod runs;
