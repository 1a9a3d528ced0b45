//! `sluice:step/http`: denied until a module has permissions that egress can keep.

use super::call::HostCall;
use crate::model::PermissionKind;
use crate::runtime::bindings::sluice::step::http::{Host, Request, Response};
use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::state::State;

/// How much of a guest's URL is repeated to it.
const URL_SHOWN_MAX: usize = 200;

impl Host for State {
    async fn send(&mut self, request: Request) -> Result<Response, HostError> {
        let call = HostCall::begin(self, "http.send")?;
        call.end(Err(self.deny_http(&request)))
    }
}

impl State {
    fn deny_http(&mut self, request: &Request) -> HostError {
        let kind = match request.method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => PermissionKind::HttpRead,
            _ => PermissionKind::HttpWrite,
        };
        // The query may hold what belongs in no log.
        let resource: String =
            request.url.split(['?', '#']).next().unwrap_or_default().chars().take(URL_SHOWN_MAX).collect();
        self.deny(kind, &resource);
        HostError::PermissionDenied(format!("{} {resource}", kind.as_str()))
    }
}
