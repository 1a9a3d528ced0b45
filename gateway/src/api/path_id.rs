//! Ids in paths: what is no id is the id of nothing.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::error::Code;
use crate::http::Problem;
use crate::model::{DeliveryId, ExecutionId, KeyId, RunId};

/// The only id of a path.
pub(super) struct PathId<T>(pub(super) T);

/// What an id may be of.
pub(super) trait Identifies {
    /// The answer where there is none of it.
    const MISSING: &'static str;
}

impl Identifies for KeyId {
    const MISSING: &'static str = "there is no such key";
}

impl Identifies for ExecutionId {
    const MISSING: &'static str = "there is no such execution";
}

impl Identifies for RunId {
    const MISSING: &'static str = "there is no such run";
}

impl Identifies for DeliveryId {
    const MISSING: &'static str = "there is no such delivery";
}

/// The answer where nothing has the id.
pub(super) fn missing<T: Identifies>() -> Problem {
    Problem::new(Code::NotFound, T::MISSING)
}

impl<S: Send + Sync, T: Identifies + FromStr> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.ok().and_then(|Path(text)| text.parse().ok()).map(Self).ok_or_else(missing::<T>)
    }
}
