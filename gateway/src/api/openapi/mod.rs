//! The `OpenAPI` document of this API, made from the code.
//!
//! Owns what all operations share: problems, headers, keys, and the bounds that an
//! operator sets. Does not own the operations: each is described at its handler,
//! and a route that isn't described is not in the router. The one exception is
//! `invoke`, which the data plane serves without a router. Invariant: the document
//! says of a request what the code checks, with this gateway's own bounds.

mod bounds;
mod invoke;
mod keys;
mod parameters;
mod problems;
mod upload;

pub(super) use bounds::LimitsAsked;
pub(super) use keys::KeyWanted;
pub(super) use parameters::{ModulePath, Paging};
pub(super) use problems::{refusals, responses as problem_responses};
pub(super) use upload::UploadForm;

use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Header, Ref, RefOr, Schema};

use crate::config;

/// Where the document is.
pub(super) const PATH: &str = "/api/v1/openapi.json";

const REQUEST_ID: &str = "x-request-id";

/// The headers of an answer that a rate limit covers.
const LIMITED_HEADERS: [&str; 3] = [REQUEST_ID, RATE_LIMIT[0].0, RATE_LIMIT[1].0];

const RATE_LIMIT: [(&str, &str); 2] = [
    (
        "ratelimit-policy",
        "The limits that cover the request: `\"key\";q=100;w=60` is 100 requests in 60 s. Absent where none is configured.",
    ),
    (
        "ratelimit",
        "Where they stand: `\"key\";r=42;t=35` is 42 left, and all of them again in 35 s. Absent where none is configured.",
    ),
];

/// The document before the router's operations are in it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluice",
        description = "Runs sandboxed WebAssembly components behind HTTP.\n\n\
            Every answer has `x-request-id`: the one that was sent, if it has 1 to 64 characters of `A-Z a-z 0-9 . _ -`, \
            else a new one. Every refusal is a problem (RFC 9457) with a stable `code`. Members, parts and parameters \
            that are not known are refused. An empty parameter of a query is one that is not given. Times are RFC 3339 \
            in UTC, sizes bytes, durations milli- or microseconds, as their names say. Where the operator has configured \
            rate limits, every answer that they cover has `RateLimit-Policy` and `RateLimit`.",
    ),
    tags(
        (name = "modules", description = "Versions of components, and what they are allowed."),
        (name = "executions", description = "What ran, and what it logged."),
        (name = "jobs", description = "What is to be done step by step, and who is left alone meanwhile."),
        (name = "runs", description = "What became of it, as it happens."),
        (name = "deliveries", description = "Who was told of a run's end."),
        (name = "keys", description = "Who may call, and what they reach."),
        (name = "audit", description = "Who changed what, and who was refused."),
        (name = "health", description = "For load balancers, orchestrators and scrapers. No key is needed."),
        (name = "api", description = "This document."),
    ),
    security(("key" = [])),
    paths(show, invoke::invoke),
    components(schemas(LimitsAsked)),
)]
pub(super) struct Base;

refusals! {
    /// Of what needs no key, and is counted by the limit of an address.
    OpenRefusals = [RateLimited];
}

/// This document
///
/// With the bounds of the gateway that serves it. Needs no key: it is the same for everybody.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "api", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = serde_json::Value), OpenRefusals)
)]
pub(super) fn show(document: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}

/// The whole document as JSON text.
///
/// # Errors
/// A defect of ours: a part of it can't be written.
pub(super) fn text(
    mut document: utoipa::openapi::OpenApi,
    limits: &config::Limits,
) -> Result<String, serde_json::Error> {
    bounds::set(&mut document, limits);
    invoke::complete(&mut document);
    upload::complete(&mut document);
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch, &mut item.head];
        for operation in operations.into_iter().flatten() {
            finish(operation);
        }
    }
    let components = document.components.get_or_insert_default();
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("sk_…");
    components.add_security_scheme("key", SecurityScheme::Http(key.build()));
    components.headers.insert(REQUEST_ID.to_owned(), request_id().into());
    for (name, description) in RATE_LIMIT {
        components.headers.insert(name.to_owned(), text_header(description).into());
    }
    problems::add_components(&document.paths, components);
    document.to_pretty_json().map(|text| text + "\n")
}

fn finish(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            finish_parameter(parameter);
        }
    }
    let is_limited = operation.responses.responses.contains_key("429");
    let names: &[&str] = if is_limited { &LIMITED_HEADERS } else { &[REQUEST_ID] };
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            refer_to_headers(response, names);
        }
    }
}

/// The headers that answers of all kinds have.
fn refer_to_headers(response: &mut Response, names: &[&str]) {
    for name in names {
        let header = Ref::new(format!("#/components/headers/{name}"));
        response.headers.insert((*name).to_owned(), RefOr::Ref(header));
    }
}

fn text_header(description: &str) -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).build()
}

/// What is optional is left out rather than sent as `null`, which a query or a header doesn't have.
fn finish_parameter(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    if let SchemaType::Array(types) = &schema.schema_type
        && let Some(only) = types.iter().find(|one| **one != Type::Null)
    {
        schema.schema_type = SchemaType::Type(only.clone());
    }
    if parameter.parameter_in == ParameterIn::Query && schema.min_length.is_none() {
        parameter.extensions = Some(Extensions::from_iter([("allowEmptyValue", true)]));
    }
}

fn request_id() -> Header {
    let id = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9._-]{1,64}$"));
    HeaderBuilder::new()
        .schema(Some(id))
        .description(Some("The id of the request, in problems and in the log."))
        .extensions(Some(Extensions::from_iter([("required", true)])))
        .build()
}

#[cfg(test)]
mod tests;
