//! `/metrics`, in the `OpenMetrics` text format.
//!
//! Needs no key: scrapers have none by default, and there is nothing in it but
//! counts by module name. Who must not know those is kept away by the address
//! that is listened on, which is loopback unless the operator says otherwise.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Services;
use crate::telemetry::METRICS_CONTENT_TYPE;

/// `GET /metrics`
pub(super) async fn show(State(services): State<Services>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], services.metrics.encode())
}
