//! Keys as they are asked for, in the document.
//!
//! Owns the schema of a new key and of its globs. Does not own the checks (`keys::request`, `model::NameGlobs`).

use serde_json::json;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::model::{NameGlobs, Role};

/// White space at neither end, and no control characters: the ends are anything but what Unicode calls white space.
const NAME_PATTERN: &str = r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]([^\u0000-\u001f\u007f-\u009f]{0,98}[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])?$";

/// What a caller asks for.
pub(in crate::api) struct KeyWanted;

impl PartialSchema for KeyWanted {
    fn schema() -> RefOr<Schema> {
        let globs = || {
            OneOfBuilder::new()
                .item(ObjectBuilder::new().schema_type(Type::Null))
                .item(Ref::from_schema_name(NameGlobs::name()))
        };
        let lower = Role::ALL.into_iter().filter(|role| *role != Role::Admin);
        let restricted = of_roles(lower)
            .property("modules", globs().description(Some("The names of modules that it sees; null: all.")))
            .property("jobs", globs().description(Some("The names of jobs that it sees; null: all.")));
        let nothing = || ObjectBuilder::new().schema_type(Type::Null).description(Some("An admin reaches everything."));
        let admin = of_roles([Role::Admin]).property("modules", nothing()).property("jobs", nothing());
        OneOfBuilder::new()
            .item(restricted)
            .item(admin)
            .description(Some("Admins can't be restricted, since they can make any key."))
            .examples([json!({"name": "ci", "role": "invoker", "expires_at": null, "modules": ["order-*"]})])
            .into()
    }
}

impl ToSchema for KeyWanted {}

fn of_roles(roles: impl IntoIterator<Item = Role>) -> ObjectBuilder {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Who it is, for people: two keys may have the same one."))
        .min_length(Some(1))
        .max_length(Some(100))
        .pattern(Some(NAME_PATTERN));
    let role = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(roles.into_iter().map(Role::as_str).collect::<Vec<_>>()));
    let end = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("From when on it opens nothing: a time to come; null: never."));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("name", name)
        .required("name")
        .property("role", role)
        .required("role")
        .property("expires_at", end)
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

impl PartialSchema for NameGlobs {
    fn schema() -> RefOr<Schema> {
        let glob = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("glob".to_owned())))
            .min_length(Some(1))
            .max_length(Some(Self::PATTERN_CHARACTERS_MAX));
        ArrayBuilder::new()
            .items(glob)
            .max_items(Some(Self::PATTERNS_MAX))
            .description(Some("Globs over names: `*`, `?`, `[ab]`, `{a,b}`. An empty list reaches nothing."))
            .into()
    }
}

impl ToSchema for NameGlobs {}
