//! `/api/v1/keys`: making, listing and deleting keys, by admins.
//!
//! Owns how keys are asked for and shown. Does not own what a key is (`http::auth`)
//! nor rows (`store`). Invariants: a key is shown once, where it is made; a deleted
//! one opens nothing once the deletion is answered; and what is refused of a key for
//! the others' sake leaves a row in the audit.

mod request;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::answer::{Listing, json};
use super::audit::{Trail, to_the_end};
use super::authorize::AsAdmin;
use super::json_body;
use super::openapi::{KeyWanted, Paging, refusals};
use super::path_id::{PathId, missing};
use super::query::Query;
use crate::error::Code;
use crate::http::Problem;
use crate::http::auth::{Keys, generate_key};
use crate::model::{AuditEntry, Key, KeyId, NameGlobs, Role, action};
use crate::store::{KeyDeleted, KeyInserted, Page, SharedStore};

/// There are no more at once: a ring of all of them is in memory, and is made anew when one changes.
const KEYS_MAX: u32 = 10_000;

/// A key that was just made: the only place where it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyCreated)]
struct Created<'a> {
    id: KeyId,
    name: &'a str,
    role: Role,
    /// The key itself, this once.
    #[schema(pattern = "^sk_[A-Za-z0-9_-]{43}$")]
    key: &'a str,
    #[schema(required = true)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<NameGlobs>, required = true)]
    modules: Option<&'a NameGlobs>,
    #[schema(value_type = Option<NameGlobs>, required = true)]
    jobs: Option<&'a NameGlobs>,
}

/// A key as lists have it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
struct Shown {
    id: KeyId,
    name: String,
    role: Role,
    created_at: Timestamp,
    /// From when on it opens nothing; null: never.
    #[schema(required = true)]
    expires_at: Option<Timestamp>,
    /// To the second; null: never.
    #[schema(required = true)]
    last_used_at: Option<Timestamp>,
    /// The modules that it sees; null: all.
    #[schema(required = true)]
    modules: Option<NameGlobs>,
    /// The jobs that it sees; null: all.
    #[schema(required = true)]
    jobs: Option<NameGlobs>,
}

impl Shown {
    /// What is stored, and what this gateway knows of its use and has not stored yet.
    fn of(key: Key, keys: &Keys) -> Self {
        let Key { id, name, role, created_at, expires_at, last_used_at, modules, jobs, .. } = key;
        let last_used_at = last_used_at.max(keys.last_used(id));
        Self { id, name, role, created_at, expires_at, last_used_at, modules, jobs }
    }
}

refusals! {
    /// Of a key that is made.
    CreateRefusals = [UnknownField, Unauthenticated, Forbidden, InUse, TooLarge, UnsupportedMediaType, RateLimited];
    /// Of a list.
    ListRefusals = [UnknownField, Unauthenticated, Forbidden, RateLimited];
    /// Of a key that is deleted.
    DeleteRefusals = [UnknownField, Unauthenticated, Forbidden, NotFound, InUse, RateLimited];
}

/// Make a key
///
/// Needs the role `admin`. The key is in this answer and nowhere else. There are at most 10 000 at once.
#[utoipa::path(
    post, path = "/api/v1/keys", operation_id = "create_key", tag = "keys",
    request_body = KeyWanted,
    responses(
        (status = 201, description = "It opens from now on.", body = Created,
         headers(("cache-control", description = "`no-store`.")),
         links(("delete" = (operation_id = "delete_key", parameters(("key" = "$response.body#/id")))))),
        CreateRefusals,
    )
)]
pub(super) async fn create(
    State(services): State<Services>,
    AsAdmin(caller): AsAdmin,
    trail: Trail,
    uri: Uri,
    request: Request,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let now = services.clock.now();
    let wanted = request::new_key(json_body::object(&services, request).await?, now).map_err(Problem::malformed)?;
    let (text, key) = generate_key(wanted, now).map_err(Problem::internal)?;
    let audit = trail
        .entry(&services, &caller, action::KEY_CREATE, key.id.to_string())
        .with("name", key.name.as_str())
        .with("role", key.role.as_str());
    let (store, keys, stored) = (Arc::clone(&services.store), Arc::clone(&services.keys), key.clone());
    to_the_end(&services, async move {
        match store.insert_key(&stored, KEYS_MAX, &audit).await.map_err(Problem::internal)? {
            KeyInserted::Inserted => {
                keys.add(&stored).await;
                Ok(())
            }
            KeyInserted::Full => {
                let detail = format!("there are {KEYS_MAX} keys, and no more: delete one that nobody uses");
                refused(&store, audit, Problem::new(Code::InUse, detail).limit(KEYS_MAX.into())).await
            }
        }
    })
    .await?;
    let created = Created {
        id: key.id,
        name: &key.name,
        role: key.role,
        key: &text,
        expires_at: key.expires_at,
        modules: key.modules.as_ref(),
        jobs: key.jobs.as_ref(),
    };
    let mut response = json(StatusCode::CREATED, &created);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// List keys
///
/// Needs the role `admin`. The newest first; never the keys themselves.
#[utoipa::path(
    get, path = "/api/v1/keys", operation_id = "list_keys", tag = "keys", params(Paging),
    responses((status = 200, description = "A page of them.", body = Listing<Shown>), ListRefusals)
)]
pub(super) async fn list(State(services): State<Services>, _: AsAdmin, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri, &["page", "limit"]);
    let page = query.page();
    query.finish()?;
    let all = services.store.all_keys().await.map_err(Problem::internal)?;
    let total = all.len() as u64;
    let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    // Newest first, as in other lists.
    let items = all.into_iter().rev().skip(offset).take(page.limit as usize).collect();
    Ok(json(StatusCode::OK, &Listing::new(page, Page { items, total }, |key| Shown::of(key, &services.keys))))
}

/// Delete a key
///
/// Needs the role `admin`. It opens nothing once this is answered; what it started goes on. The last admin key that does not
/// expire stays.
#[utoipa::path(
    delete, path = "/api/v1/keys/{key}", operation_id = "delete_key", tag = "keys",
    params(("key" = inline(KeyId), Path, description = "Its id.")),
    responses((status = 204, description = "It is gone."), DeleteRefusals)
)]
pub(super) async fn delete(
    State(services): State<Services>,
    AsAdmin(caller): AsAdmin,
    trail: Trail,
    PathId(id): PathId<KeyId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let all = services.store.all_keys().await.map_err(Problem::internal)?;
    let key = all.into_iter().find(|key| key.id == id).ok_or_else(missing::<KeyId>)?;
    let audit = trail
        .entry(&services, &caller, action::KEY_DELETE, id.to_string())
        .with("name", key.name.as_str())
        .with("role", key.role.as_str());
    let (store, keys) = (Arc::clone(&services.store), Arc::clone(&services.keys));
    to_the_end(&services, async move {
        match store.delete_key(id, &audit).await.map_err(Problem::internal)? {
            KeyDeleted::Deleted => {
                keys.forget(id).await;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            KeyDeleted::NotFound => {
                keys.forget(id).await;
                Err(missing::<KeyId>())
            }
            KeyDeleted::LastAdmin => {
                let detail = "it is the last admin key that does not expire: make another before this one goes";
                refused(&store, audit, Problem::new(Code::InUse, detail)).await
            }
        }
    })
    .await
}

/// Audits that what `audit` tells of was not done, and why.
async fn refused<T>(store: &SharedStore, audit: AuditEntry, problem: Problem) -> Result<T, Problem> {
    let audit = audit.refused().with("code", problem.code().as_str());
    store.append_audit([audit].into()).await.map_err(Problem::internal)?;
    Err(problem)
}
