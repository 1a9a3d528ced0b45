//! What a guest may ask of the host: thin glue, one file an interface.

pub(super) mod call;
pub(super) mod context;
mod db;
mod fields;
mod http;
pub(super) mod log;
pub(super) mod outgoing;
pub(super) mod request;
mod stood_in;
mod tree;
pub(super) mod wasi;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::sluice::step::{context as context_wit, db as db_wit, http as http_wit};
use super::state::State;

/// Links everything that components of any language import, whether or not they
/// may use it: what is denied is answered, not missing.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    log::link(linker)?;
    context_wit::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    http_wit::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    db_wit::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
