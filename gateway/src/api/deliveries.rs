//! `/api/v1/deliveries`: who was told of a run's end, and how that went.
//!
//! Owns how they are asked for. Does not own when they are sent (`jobs`).

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::answer::{Listing, json};
use super::audit::{Trail, to_the_end};
use super::authorize::{AsEditor, AsViewer};
use super::jobs::refused;
use super::openapi::{Paging, refusals};
use super::path_id::{PathId, missing};
use super::query::Query;
use crate::http::Problem;
use crate::http::auth::Caller;
use crate::model::job::{Delivery, DeliveryAttempt, DeliveryStatus, JobName};
use crate::model::{DeliveryId, RunId, action};
use crate::store::{DeliveryFilter, PageRequest, Replayed};

/// A notification, without its body.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
struct Shown {
    /// Also the `webhook-id`.
    id: DeliveryId,
    job: JobName,
    run_id: RunId,
    url: String,
    status: DeliveryStatus,
    /// In order, the last of them.
    attempts: Vec<DeliveryAttempt>,
    created_at: Timestamp,
    #[schema(required = true)]
    delivered_at: Option<Timestamp>,
    /// When it is tried again.
    #[schema(required = true)]
    next_attempt_at: Option<Timestamp>,
}

impl From<Delivery> for Shown {
    fn from(delivery: Delivery) -> Self {
        let is_due = delivery.status == DeliveryStatus::Retrying;
        Self {
            id: delivery.id,
            job: delivery.job,
            run_id: delivery.run_id,
            url: delivery.url,
            status: delivery.status,
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            delivered_at: delivery.delivered_at,
            next_attempt_at: delivery.due_at.filter(|_| is_due),
        }
    }
}

refusals! {
    /// Of a list.
    ListRefusals = [UnknownField, Unauthenticated, Forbidden, RateLimited, Overloaded];
    /// Of one that is sent again.
    Refusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited, Overloaded];
}

/// List notifications
///
/// Needs the role `viewer`. The newest first.
#[utoipa::path(
    get, path = "/api/v1/deliveries", operation_id = "list_deliveries", tag = "deliveries",
    params(
        ("job" = Option<String>, Query, description = "Of this job.", example = "order-intake"),
        ("status" = inline(Option<DeliveryStatus>), Query, description = "In this state; `dead` is not tried again by itself."),
        Paging,
    ),
    responses((status = 200, description = "A page of them.", body = Listing<Shown>), ListRefusals)
)]
pub(super) async fn list(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    uri: Uri,
) -> Result<Response, Problem> {
    let (mut filter, page) = list_query(&uri)?;
    filter.visible = caller.jobs().cloned();
    let found = services.jobs.deliveries(&filter, page).await.map_err(refused)?;
    Ok(json(StatusCode::OK, &Listing::new(page, found, Shown::from)))
}

fn list_query(uri: &Uri) -> Result<(DeliveryFilter, PageRequest), Problem> {
    let mut query = Query::of(uri, &["job", "status", "page", "limit"]);
    let filter = DeliveryFilter {
        job: query.take("job", |text| text.parse().map_err(|_| "is the name of a job".to_owned())),
        status: query.take("status", |text| {
            DeliveryStatus::parse(text).ok_or_else(|| "is delivered, retrying or dead".to_owned())
        }),
        visible: None,
    };
    let page = query.page();
    query.finish()?;
    Ok((filter, page))
}

async fn find(services: &Services, caller: &Caller, id: DeliveryId) -> Result<Delivery, Problem> {
    let found = services.jobs.delivery(id).await.map_err(refused)?;
    found.filter(|delivery| caller.sees_job(delivery.job.as_str())).ok_or_else(missing::<DeliveryId>)
}

/// Send a notification again
///
/// Needs the role `editor`. Now, with the same id and body, and from the start of the schedule; also one that was delivered.
#[utoipa::path(
    post, path = "/api/v1/deliveries/{delivery}/replay", operation_id = "replay_delivery", tag = "deliveries",
    params(("delivery" = inline(DeliveryId), Path, description = "Its id.")),
    responses((status = 202, description = "It will be sent.", body = Shown), Refusals)
)]
pub(super) async fn replay(
    State(services): State<Services>,
    AsEditor(caller): AsEditor,
    trail: Trail,
    PathId(id): PathId<DeliveryId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    find(&services, &caller, id).await?;
    let audit = trail.entry(&services, &caller, action::DELIVERY_REPLAY, id.to_string());
    let jobs = services.jobs.clone();
    match to_the_end(&services, async move { jobs.replay(id, audit).await.map_err(refused) }).await? {
        Replayed::Accepted => Ok(json(StatusCode::ACCEPTED, &Shown::from(find(&services, &caller, id).await?))),
        Replayed::NotFound => Err(missing::<DeliveryId>()),
    }
}
