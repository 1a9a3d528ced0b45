//! `POST /api/v1/wasm/modules/{module}/invoke`, in the document.
//!
//! Owns its description only: the data plane (`http::invoke`) serves it, and knows nothing of this.

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{OpenApi, Ref, RefOr, Required, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{LimitsAsked, ModulePath, refusals};
use crate::model::ExecutionId;

refusals! {
    /// Of an invocation.
    InvokeRefusals = [
        UnknownField, Unauthenticated, Forbidden, NotFound, NoSuchFunction, TooLarge, UnsupportedMediaType, InvalidSignature,
        SignatureRequired, UnknownKey, InvalidData, RateLimited, Integrity, StepFailed, Trap, BadOutput, FuelExhausted, MemoryExceeded, OutputTooLarge, StackExhausted, Overloaded,
        TimedOut,
    ];
}

/// Run a function of a module
///
/// Needs the role `invoker`. Each call runs in a fresh instance. What a step did wrong is a problem of origin `guest`, with the
/// execution's id. A client that leaves ends its execution.
#[utoipa::path(
    post, path = "/api/v1/wasm/modules/{module}/invoke", operation_id = "invoke", tag = "modules",
    params(
        ModulePath,
        ("function" = Option<String>, Query, description = "An export that is a step function.", min_length = 1,
         max_length = 256, example = "run"),
        ("Prefer" = Option<String>, Header, description = "`respond-async` answers before the execution has ended.",
         example = "respond-async"),
    ),
    request_body(
        content = inline(InvokeBody),
        description = "All of it is optional. Up to `[server] body_bytes`: 10 MiB by default.",
    ),
    responses(
        (status = 200, description = "It completed.", body = Completed,
         links(
             ("execution" = (operation_id = "show_execution", parameters(("execution_id" = "$response.body#/execution_id")))),
             ("logs" = (operation_id = "list_logs", parameters(("execution_id" = "$response.body#/execution_id")))),
         )),
        (status = 202, description = "It runs.", body = Accepted,
         headers(("location", description = "Where its record is."), ("preference-applied", description = "`respond-async`.")),
         links(
             ("execution" = (operation_id = "show_execution", parameters(("execution_id" = "$response.body#/execution_id")))),
         )),
        InvokeRefusals,
    )
)]
#[expect(dead_code, reason = "the attribute makes a type of it, which is what is used")]
pub(super) fn invoke() {}

/// Tells that the body may be left out: the derive says so of `null` only, which is no body.
pub(super) fn complete(document: &mut OpenApi) {
    let item = document.paths.paths.get_mut("/api/v1/wasm/modules/{module}/invoke");
    let operation = item.and_then(|item| item.post.as_mut());
    if let Some(RefOr::T(body)) = operation.and_then(|operation| operation.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
}

/// What a caller asks for.
struct InvokeBody;

impl PartialSchema for InvokeBody {
    fn schema() -> RefOr<Schema> {
        let text = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        let env = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
            .description(Some("Its environment: up to 200 variables with 64 KiB together, without NUL."))
            .property_names(Some(text("^[^=\\u0000]+$")))
            .additional_properties(Some(AdditionalProperties::RefOr(text("^[^\\u0000]*$").into())));
        let mut env = env.build();
        env.max_properties = Some(200);
        let limits = OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .item(Ref::from_schema_name(LimitsAsked::name()));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("input", anything("What the function gets. Nests 127 levels deep at most."))
            .property(
                "data",
                ObjectBuilder::new()
                    .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
                    .description(Some("What `context` reads and writes.")),
            )
            .property("env", env)
            .property("limits", limits)
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .examples([
                json!({"input": {"order": {"id": "A-17"}}, "env": {"MODE": "strict"}, "limits": {"timeout_ms": 500}}),
            ])
            .into()
    }
}

impl ToSchema for InvokeBody {}

fn anything(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(description))
}

/// A step that completed.
#[derive(ToSchema)]
#[schema(example = json!({
    "execution_id": "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d", "status": "completed", "output": {"total_cents": 2500},
    "next": null, "data": {},
    "metrics": {"fuel": 12345, "memory_bytes": 1_179_648, "duration_us": 184, "instance": "fresh"},
}))]
#[expect(dead_code, reason = "it describes what is written by hand")]
struct Completed {
    /// Its record is found by it.
    execution_id: ExecutionId,
    /// Always `completed`.
    #[schema(pattern = "^completed$")]
    status: String,
    /// What it returned.
    #[schema(value_type = serde_json::Value, required = true)]
    output: (),
    /// The steps that it wants to come next in a job.
    #[schema(required = true)]
    next: Option<Vec<String>>,
    /// What it left with `context.set`.
    #[schema(value_type = Object)]
    data: (),
    /// What it used.
    metrics: Metrics,
}

/// What an execution used.
#[derive(ToSchema)]
#[schema(as = ExecutionMetrics)]
#[expect(dead_code, reason = "it describes what is written by hand")]
struct Metrics {
    /// `null` where the operator turned metering off.
    #[schema(required = true)]
    fuel: Option<u64>,
    /// The peak of all its memories and tables.
    memory_bytes: u64,
    /// How long it ran.
    duration_us: u64,
    /// Always `fresh`.
    #[schema(pattern = "^fresh$")]
    instance: String,
}

/// An execution that goes on.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what is written elsewhere")]
struct Accepted {
    /// Its record is found by it.
    execution_id: ExecutionId,
    /// Always `running`.
    #[schema(pattern = "^running$")]
    status: String,
}
