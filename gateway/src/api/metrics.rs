//! `/metrics`, in the `OpenMetrics` text format.
//!
//! Needs no key: scrapers have none by default, and there is nothing in it but
//! counts by module name. Who must not know those is kept away by the address
//! that is listened on, which is loopback unless the operator says otherwise.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Services;
use super::openapi::refusals;
use crate::telemetry::METRICS_CONTENT_TYPE;

refusals! {
    /// Of whatever needs no key.
    Refusals = [];
}

/// Counts and durations for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "health", security(()),
    responses(
        (status = 200, description = "In the OpenMetrics text format.", body = String,
         content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        Refusals,
    )
)]
pub(super) async fn show(State(services): State<Services>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], services.metrics.encode())
}
