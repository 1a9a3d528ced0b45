//! What operations refuse, in the document.
//!
//! Owns the responses: one component for each group of codes that share a status.
//! Does not own the codes (`error`) nor how a problem is written (`http::problem`).
//! Invariant: a code stands in a response of its own status only.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::Paths;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Components, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::error::Code;
use crate::http::problem::Members;

/// What anything may be answered with, whatever was asked for.
const ALWAYS: &[Code] =
    &[Code::BadRequest, Code::MethodNotAllowed, Code::RequestTimeout, Code::HeadersTooLarge, Code::Internal];

/// Makes types that stand in `responses(…)` for the codes that an operation may answer besides [`ALWAYS`].
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = [$($code:ident),* $(,)?];)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                $crate::api::openapi::problem_responses(&[$($crate::error::Code::$code),*])
            }
        }
    )*};
}
pub(in crate::api) use refusals;

/// References to a response for each status that `codes` and [`ALWAYS`] have.
pub(in crate::api) fn responses(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let codes: BTreeSet<Code> = ALWAYS.iter().chain(codes).copied().collect();
    let mut groups: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        groups.entry(code.status()).or_default().push(code.as_str());
    }
    let reference = |codes: Vec<&str>| RefOr::Ref(Ref::new(format!("{PREFIX}{}", codes.join("."))));
    groups.into_iter().map(|(status, codes)| (status.to_string(), reference(codes))).collect()
}

const PREFIX: &str = "#/components/responses/";

/// Adds the responses that `paths` refer to, and the schema of problems.
pub(super) fn add_components(paths: &Paths, components: &mut Components) {
    let operations = paths.paths.values().flat_map(|item| [&item.get, &item.put, &item.post, &item.delete]);
    for response in operations.flatten().flat_map(|operation| operation.responses.responses.values()) {
        if let RefOr::Ref(reference) = response
            && let Some(name) = reference.ref_location.strip_prefix(PREFIX)
        {
            let codes = Code::ALL.iter().copied().filter(|code| name.split('.').any(|one| one == code.as_str()));
            components.responses.insert(name.to_owned(), response_of(&codes.collect::<Vec<_>>()).into());
        }
    }
    let mut schemas = vec![(Members::name().into_owned(), Members::schema())];
    Members::schemas(&mut schemas);
    components.schemas.extend(schemas);
}

fn response_of(codes: &[Code]) -> Response {
    let origins: BTreeSet<_> = codes.iter().map(|code| code.origin().as_str()).collect();
    let narrowed = ObjectBuilder::new()
        .property("code", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names(codes))))
        .property("origin", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(origins)))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some(statuses(codes))));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name(Members::name())).item(narrowed);
    let examples = codes.iter().map(|code| {
        let example = ExampleBuilder::new().summary(code.title()).value(Some(example(*code)));
        (code.as_str(), example.build())
    });
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples);
    let lines = codes.iter().map(|code| format!("`{code}`: {}.", code.title()));
    let mut response = ResponseBuilder::new()
        .description(lines.collect::<Vec<_>>().join("\n\n"))
        .content("application/problem+json", content.build());
    for (name, description) in headers(codes) {
        response = response.header(name, super::text_header(description));
    }
    let mut response = response.build();
    // Those of probes have none, which is as good as not configured.
    super::refer_to_headers(&mut response, &super::LIMITED_HEADERS);
    response
}

fn names(codes: &[Code]) -> Vec<&'static str> {
    codes.iter().map(|code| code.as_str()).collect()
}

fn statuses(codes: &[Code]) -> BTreeSet<u16> {
    codes.iter().map(|code| code.status()).collect()
}

/// The headers that come with these codes, besides those of every answer.
fn headers(codes: &[Code]) -> Vec<(&'static str, &'static str)> {
    let mut headers = Vec::new();
    for code in codes {
        match code {
            Code::Unauthenticated => headers.push(("www-authenticate", "`Bearer`.")),
            Code::MethodNotAllowed => headers.push(("allow", "The methods that the path has.")),
            // The other two are on every answer that a limit covers.
            Code::Overloaded | Code::RateLimited => {
                headers.push(("retry-after", "Seconds after which another attempt may succeed."));
            }
            _ => {}
        }
    }
    headers
}

fn example(code: Code) -> Value {
    let mut problem = json!({
        "type": format!("urn:sluice:error:{code}"),
        "title": code.title(),
        "status": code.status(),
        "detail": detail(code),
        "instance": "/api/v1/wasm/modules/order-rules",
        "code": code.as_str(),
        "request_id": "5f0c2a9d41b7e3860000000000000017",
        "origin": code.origin().as_str(),
    });
    let more = match code {
        Code::UnknownField => {
            json!({"errors": [{"path": "colour", "code": "unknown-field", "message": "there is no such parameter; there are page, limit"}]})
        }
        Code::InvalidModule => {
            json!({"errors": [{"path": "imports/0", "code": "unknown-import", "message": "acme:queue/send@1.0.0 is not an interface of this host"}]})
        }
        Code::InvalidData => {
            json!({"errors": [{"path": "/order/items", "code": "empty", "message": "an order has at least one item"}],
                   "execution_id": EXECUTION})
        }
        Code::StepFailed => json!({"failure": {"code": "upstream-down", "message": "no price list", "retryable": true,
                                               "retry_after_ms": 500, "details": null},
                                   "execution_id": EXECUTION}),
        Code::FuelExhausted | Code::MemoryExceeded | Code::OutputTooLarge | Code::TimedOut => {
            json!({"limit": 1000, "used": 1000, "execution_id": EXECUTION})
        }
        Code::StackExhausted => json!({"limit": 524_288, "execution_id": EXECUTION}),
        Code::Trap | Code::BadOutput => json!({ "execution_id": EXECUTION }),
        Code::TooLarge | Code::HeadersTooLarge => json!({"limit": 65536}),
        Code::RateLimited => json!({"limit": 100}),
        _ => json!({}),
    };
    if let (Value::Object(problem), Value::Object(more)) = (&mut problem, more) {
        problem.extend(more);
    }
    problem
}

const EXECUTION: &str = "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d";

fn detail(code: Code) -> String {
    match code {
        Code::UnknownField => "colour: there is no such parameter; there are page, limit".to_owned(),
        Code::NotFound => "there is no module order-rules".to_owned(),
        Code::StepFailed => "upstream-down: no price list".to_owned(),
        _ => code.title().to_lowercase(),
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A stable, machine-readable reason."))
            .enum_values(Some(names(Self::ALL)))
            .into()
    }
}

impl ToSchema for Code {}
