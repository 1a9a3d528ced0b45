//! The bounds that an operator sets, in the document.
//!
//! Owns the schema of limits that a caller asks for. Does not own the checks
//! (`model::EffectiveLimits::lowered_by`).

use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::config;

/// Limits as a caller asks for them: each may only lower what applies already.
pub(in crate::api) struct LimitsAsked;

impl PartialSchema for LimitsAsked {
    fn schema() -> RefOr<Schema> {
        schema(&config::Limits::default())
    }
}

impl ToSchema for LimitsAsked {}

/// Puts `limits` in the place of the defaults.
pub(super) fn set(document: &mut OpenApi, limits: &config::Limits) {
    let components = document.components.get_or_insert_default();
    components.schemas.insert(LimitsAsked::name().into_owned(), schema(limits));
}

fn schema(limits: &config::Limits) -> RefOr<Schema> {
    let fuel = match limits.fuel {
        Some(fuel) => limit(fuel, "Instructions, roughly."),
        None => ObjectBuilder::new()
            .schema_type(Type::Null)
            .description(Some("The operator turned its metering off: it can't be asked for.")),
    };
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "Bounds of one execution. What is not given, or null, stays as it is: the operator's `[limits]`, or the module's \
             own for a call. They may only lower.",
        ))
        .property("fuel", fuel)
        .property("memory_bytes", limit(limits.memory_bytes, "All memories and tables of the execution together."))
        .property("timeout_ms", limit(limits.timeout_ms, "Wall-clock time of the execution."))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .examples([serde_json::json!({"timeout_ms": 5000})])
        .into()
}

fn limit(ceiling: u64, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
        .minimum(Some(1_u64))
        .maximum(Some(ceiling))
        .description(Some(description))
}
