//! Roles as arguments of handlers.
//!
//! A handler that takes [`AsAdmin`] can't be reached without one. It is to be the
//! first argument but for the state, so that nothing is told to strangers.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Services;
use crate::http::Problem;
use crate::http::auth::Caller;
use crate::model::Role;

/// The caller may look.
pub(super) struct AsViewer(pub(super) Caller);

/// The caller may start what there is.
pub(super) struct AsInvoker(pub(super) Caller);

/// The caller may change jobs, and what becomes of their runs.
pub(super) struct AsEditor(pub(super) Caller);

/// The caller may change everything.
pub(super) struct AsAdmin(pub(super) Caller);

fn caller(parts: &Parts, services: &Services, needed: Role) -> Result<Caller, Problem> {
    let caller = services.keys.authenticate(&parts.headers)?;
    caller.require(needed)?;
    Ok(caller)
}

impl FromRequestParts<Services> for AsViewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Problem> {
        caller(parts, services, Role::Viewer).map(Self)
    }
}

impl FromRequestParts<Services> for AsAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Problem> {
        caller(parts, services, Role::Admin).map(Self)
    }
}

impl FromRequestParts<Services> for AsInvoker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Problem> {
        caller(parts, services, Role::Invoker).map(Self)
    }
}

impl FromRequestParts<Services> for AsEditor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Problem> {
        caller(parts, services, Role::Editor).map(Self)
    }
}
