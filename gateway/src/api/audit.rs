//! `/api/v1/audit`: who changed what, and who was refused; and how changes get there.
//!
//! Owns the form of a row about a change of the control plane. Does not own rows
//! (`store`, which adds one in the transaction of the change) nor refusals at the door
//! (`http::service`). Invariant: a change that was begun is ended and audited, whether or
//! not its caller is still there.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use tracing::Instrument as _;

use super::Services;
use super::answer::{Listing, json, not_listed};
use super::authorize::AsAdmin;
use super::executions::time;
use super::openapi::{Paging, refusals};
use super::query::Query;
use crate::http::auth::Caller;
use crate::http::{Peer, Problem, RequestId};
use crate::model::AuditEntry;
use crate::store::{AuditFilter, PageRequest};

/// More than any name has.
const WORD_CHARACTERS_MAX: usize = 200;

/// Where a request came from, for its row.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    request_id: Option<String>,
    address: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Trail {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            request_id: parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned()),
            address: parts.extensions.get::<Peer>().map(ToString::to_string),
        })
    }
}

impl Trail {
    /// The row of what `caller` does to `resource` with this request.
    pub(super) fn entry(
        self,
        services: &Services,
        caller: &Caller,
        action: &'static str,
        resource: impl Into<String>,
    ) -> AuditEntry {
        AuditEntry {
            actor: Some(caller.name().to_string()),
            request_id: self.request_id,
            address: self.address,
            ..AuditEntry::by_gateway(services.clock.now(), action, resource)
        }
        .with(AuditEntry::KEY_ID, caller.id().to_string())
    }
}

/// Runs `work` to its end even when the caller leaves; the stop waits for it.
pub(super) async fn to_the_end<T: Send + 'static>(
    services: &Services,
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    // An error is a panic, which is a defect of ours, or the end of the process.
    services.changes.spawn(work.in_current_span()).await.unwrap_or_else(|error| Err(Problem::internal(error)))
}

refusals! {
    /// Of a list.
    Refusals = [UnknownField, Unauthenticated, Forbidden, RateLimited, Overloaded];
}

/// List the audit
///
/// Needs the role `admin`. A row for every change and every refusal, the newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", operation_id = "list_audit", tag = "audit",
    params(
        ("actor" = Option<String>, Query, description = "The name of a key.", max_length = 200, example = "admin"),
        ("action" = Option<String>, Query, description = "What was done: `module.upload`, `request`.", max_length = 200,
         example = "module.upload"),
        ("from" = Option<Timestamp>, Query, description = "At or after."),
        ("to" = Option<Timestamp>, Query, description = "Before."),
        Paging,
    ),
    responses((status = 200, description = "A page of rows.", body = Listing<AuditEntry>), Refusals)
)]
pub(super) async fn list(State(services): State<Services>, _: AsAdmin, uri: Uri) -> Result<Response, Problem> {
    let (filter, page) = list_query(&uri)?;
    let found = services.store.list_audit(&filter, page).await.map_err(not_listed)?;
    Ok(json(StatusCode::OK, &Listing::new(page, found, |entry| entry)))
}

fn list_query(uri: &Uri) -> Result<(AuditFilter, PageRequest), Problem> {
    let mut query = Query::of(uri, &["actor", "action", "from", "to", "page", "limit"]);
    let word = |text: &str| match text.chars().count() {
        ..=WORD_CHARACTERS_MAX => Ok(text.to_owned()),
        _ => Err(format!("has at most {WORD_CHARACTERS_MAX} characters")),
    };
    let filter = AuditFilter {
        actor: query.take("actor", word),
        action: query.take("action", word),
        from: query.take("from", time),
        to: query.take("to", time),
    };
    let page = query.page();
    query.finish()?;
    Ok((filter, page))
}
