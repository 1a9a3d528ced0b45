//! The notifications' way out.
//!
//! Owns how one POST goes. Does not sign, nor plan the next attempt (`jobs`).

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use secrecy::SecretString;

use super::http::{deadline, retry_after};
use super::permissions::{DENIED, denial_message};
use super::{Inner, Steps, again};
use crate::egress::{self, ResponseBody, Times};
use crate::error::Code;
use crate::jobs::runner::{Notifier, Posted};
use crate::runtime::{CLOSED, Gate, Prepared, Refused, origin_of, settle};
use crate::telemetry::TraceContext;

/// The standard asks for 15 to 30 s.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What is read of an answer that nobody keeps, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Of the connections, all notifications have the part that a module has; no module has this name.
const OWNER: &str = "notifications/";

#[async_trait]
impl Notifier for Steps {
    async fn post(&self, url: &str, headers: Vec<(String, String)>, body: String) -> Posted {
        post(&self.0, url, &headers, body).await
    }

    fn secret(&self, name: &str) -> Option<SecretString> {
        self.0.outside.all_secrets().get(name).cloned()
    }
}

async fn post(inner: &Inner, url: &str, headers: &[(String, String)], body: String) -> Posted {
    let gate = Gate { permits: &inner.allowed, secrets: None, trace_context: &TraceContext::default(), trace: None };
    let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let Prepared { method, target, headers, .. } = match gate.prepare("POST", url, given) {
        Ok(prepared) => prepared,
        Err(Refused::Denied(denial)) => return failed(DENIED, denial_message(&denial)),
        Err(refused) => return failed(Code::BadRequest.as_str(), refused.to_string()),
    };
    let permit = match inner.circuits().ask(&origin_of(&target)) {
        Ok(permit) => permit,
        Err(open) => return failed(Code::CircuitOpen.as_str(), open.to_string()),
    };
    let egress = inner.outside.egress();
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let request = egress::Request { method, target, headers, body };
    let allowance = egress.allowance(OWNER);
    match egress.stream(request, Times::until(deadline(TIMEOUT)), &allowance).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            settle(permit, Ok(status));
            read_away(body).await;
            Posted::Answered { status, retry_after: retry_after(&head.headers, inner.clock.now()) }
        }
        Err(error) => {
            settle(permit, Err(&error));
            let (code, _) = again::of_egress(&error);
            failed(code, if code == DENIED { CLOSED.to_owned() } else { error.to_string() })
        }
    }
}

async fn read_away(mut body: ResponseBody) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > ANSWER_BYTES_MAX {
            return;
        }
    }
}

fn failed(code: &str, message: String) -> Posted {
    Posted::Failed { code: code.to_owned(), message }
}
