//! `/api/v1/keys`: making, listing and deleting keys, by admins.
//!
//! Owns how keys are asked for and shown. Does not own what a key is (`http::auth`)
//! nor rows (`store`). Invariants: a key is shown once, where it is made; and a
//! deleted one opens nothing once the deletion is answered.

mod request;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Serialize;

use super::Services;
use super::answer::{Listing, json};
use super::audit::{Trail, to_the_end};
use super::authorize::AsAdmin;
use super::json_body;
use super::query::Query;
use crate::error::Code;
use crate::http::Problem;
use crate::http::auth::{Keys, generate_key};
use crate::model::{Key, KeyId, NameGlobs, Role, action};
use crate::store::{KeyDeleted, Page};

/// A key that was just made: the only place where it is shown.
#[derive(Serialize)]
struct Created<'a> {
    id: KeyId,
    name: &'a str,
    role: Role,
    key: &'a str,
    expires_at: Option<Timestamp>,
    modules: Option<&'a NameGlobs>,
    jobs: Option<&'a NameGlobs>,
}

/// A key as lists have it.
#[derive(Debug, Serialize)]
struct Shown {
    id: KeyId,
    name: String,
    role: Role,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    modules: Option<NameGlobs>,
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

/// `{key}` of a path; what is no id is the id of nothing.
pub(super) struct Id(KeyId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.ok().and_then(|Path(text)| text.parse().ok()).map(Self).ok_or_else(no_key)
    }
}

fn no_key() -> Problem {
    Problem::new(Code::NotFound, "there is no such key")
}

/// `POST /api/v1/keys`
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
        store.insert_key(&stored, &audit).await.map_err(Problem::internal)?;
        keys.add(&stored).await;
        Ok(())
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

/// `GET /api/v1/keys`
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

/// `DELETE /api/v1/keys/{key}`
pub(super) async fn delete(
    State(services): State<Services>,
    AsAdmin(caller): AsAdmin,
    trail: Trail,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let all = services.store.all_keys().await.map_err(Problem::internal)?;
    let key = all.into_iter().find(|key| key.id == id).ok_or_else(no_key)?;
    let audit = trail
        .entry(&services, &caller, action::KEY_DELETE, id.to_string())
        .with("name", key.name.as_str())
        .with("role", key.role.as_str());
    let (store, keys) = (Arc::clone(&services.store), Arc::clone(&services.keys));
    let deleted = to_the_end(&services, async move {
        let deleted = store.delete_key(id, &audit).await.map_err(Problem::internal)?;
        if deleted != KeyDeleted::LastAdmin {
            keys.forget(id).await;
        }
        Ok(deleted)
    })
    .await?;
    match deleted {
        KeyDeleted::Deleted => Ok(StatusCode::NO_CONTENT.into_response()),
        KeyDeleted::NotFound => Err(no_key()),
        KeyDeleted::LastAdmin => Err(Problem::new(
            Code::InUse,
            "it is the last admin key that does not expire: make another before this one goes",
        )),
    }
}
