//! Answers of the control plane: JSON, and pages of lists.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Code;
use crate::http::Problem;
use crate::store::{self, Page, PageRequest};

/// A list that took too long is worth another try by then.
const RETRY_AFTER_S: u32 = 5;

/// `value` as JSON, with this status.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// A list that could not be had.
pub(super) fn not_listed(error: store::Error) -> Problem {
    match error {
        error @ store::Error::TooSlow { .. } => {
            Problem::new(Code::Overloaded, "the list takes too long: ask for less of it, or later")
                .retry_after_s(RETRY_AFTER_S)
                .caused_by(error)
        }
        error => Problem::internal(error),
    }
}

/// Part of a list, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listing<T> {
    /// What is on the page.
    items: Vec<T>,
    /// Which page it is, from 1.
    page: u32,
    /// How many items a page has.
    limit: u32,
    /// How many items there are on all pages.
    total: u64,
}

impl<T> Listing<T> {
    /// What the store gave for `asked`.
    pub(super) fn new<R>(asked: PageRequest, found: Page<R>, show: impl FnMut(R) -> T) -> Self {
        let items = found.items.into_iter().map(show).collect();
        Self { items, page: asked.page, limit: asked.limit, total: found.total }
    }
}
