//! `PUT` of a version's permissions and limits.
//!
//! Owns the bodies and their bounds. Does not own what they may say (`registry`).
//! Invariant: a body is taken whole or refused with all its mistakes.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use utoipa::ToSchema;

use super::settings::{self, Place};
use super::{Reference, refused};
use crate::api::Services;
use crate::api::answer::json;
use crate::api::audit::Trail;
use crate::api::authorize::AsAdmin;
use crate::api::openapi::{LimitsAsked, ModulePath, refusals};
use crate::api::query::Query;
use crate::error::Code;
use crate::http::body::{self, Bounds};
use crate::http::{Problem, media_type};
use crate::model::{Limits, Permission, action};

/// As many permissions as there may be, with resources of the longest in ASCII, and twice that for the rest.
pub(super) const PERMISSIONS_BYTES_MAX: u64 = 1024 * 1024;
/// Three numbers and any amount of white space, as for an invocation.
const LIMITS_BYTES_MAX: u64 = 4 * 1024;

refusals! {
    /// Of a change.
    Refusals = [UnknownField, Unauthenticated, Forbidden, NotFound, TooLarge, UnsupportedMediaType, RateLimited];
}

/// Replace a version's permissions
///
/// Needs the role `admin`. All or nothing; executions that run keep what they started with. Up to 200, in 1 MiB.
#[utoipa::path(
    put, path = "/api/v1/wasm/modules/{module}/permissions", operation_id = "replace_permissions", tag = "modules",
    params(ModulePath),
    request_body = inline(Permissions),
    responses((status = 200, description = "The permissions as they are now.", body = Vec<Permission>), Refusals)
)]
pub(in crate::api) async fn replace_permissions(
    State(services): State<Services>,
    AsAdmin(caller): AsAdmin,
    trail: Trail,
    Reference(reference): Reference,
    request: Request,
) -> Result<Response, Problem> {
    let text = text(&services, request, PERMISSIONS_BYTES_MAX).await?;
    let permissions = settings::permissions(Place::Body, &text).map_err(Problem::malformed)?;
    let entry = trail.entry(&services, &caller, action::MODULE_PERMISSIONS, reference.to_string());
    let module = services.registry.replace_permissions(&reference, permissions, entry).await.map_err(refused)?;
    Ok(json(StatusCode::OK, &module.permissions))
}

/// Replace a version's own limits
///
/// Needs the role `admin`. They are below the operator's; a limit that is not given is none. Executions that run keep what
/// they started with.
#[utoipa::path(
    put, path = "/api/v1/wasm/modules/{module}/limits", operation_id = "replace_limits", tag = "modules",
    params(ModulePath),
    request_body = LimitsAsked,
    responses((status = 200, description = "The limits as they are now.", body = Limits), Refusals)
)]
pub(in crate::api) async fn replace_limits(
    State(services): State<Services>,
    AsAdmin(caller): AsAdmin,
    trail: Trail,
    Reference(reference): Reference,
    request: Request,
) -> Result<Response, Problem> {
    let text = text(&services, request, LIMITS_BYTES_MAX).await?;
    let limits = settings::limits(Place::Body, &text).map_err(Problem::malformed)?;
    let entry = trail.entry(&services, &caller, action::MODULE_LIMITS, reference.to_string());
    let module = services.registry.replace_limits(&reference, limits, entry).await.map_err(refused)?;
    Ok(json(StatusCode::OK, &module.limits))
}

/// The list as a caller sends it.
#[derive(ToSchema)]
#[schema(max_items = 200)]
#[expect(dead_code, reason = "it describes what is read by hand")]
struct Permissions(Vec<Permission>);

async fn text(services: &Services, request: Request, bytes_max: u64) -> Result<String, Problem> {
    Query::of(request.uri(), &[]).finish()?;
    media_type::require_json(request.headers())?;
    let timeout = Duration::from_millis(services.config.server.body_timeout_ms);
    let bytes = body::read(request.into_body(), Bounds { bytes_max, timeout }).await?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::new(Code::BadRequest, "the body is not UTF-8 text"))
}
