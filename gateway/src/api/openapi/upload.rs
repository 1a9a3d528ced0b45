//! The form of an upload, in the document.
//!
//! Owns the description of the parts. Does not own how they are read (`modules::upload`).

use utoipa::ToSchema;
use utoipa::openapi::encoding::EncodingBuilder;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{OpenApi, RefOr, Schema};

use super::LimitsAsked;
use crate::model::Permission;

/// The parts of an upload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what is read part by part")]
pub(in crate::api) struct UploadForm {
    /// The component, up to `[limits] module_bytes`: 50 MiB by default.
    #[schema(value_type = String, format = Binary)]
    module: Vec<u8>,
    /// The name that all versions share. Not in the form of a UUID.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$", max_length = 63, example = "order-rules")]
    name: String,
    /// A version as semver.org has it.
    #[schema(
        pattern = "^(0|[1-9][0-9]{0,18})\\.(0|[1-9][0-9]{0,18})\\.(0|[1-9][0-9]{0,18})(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?(\\+[0-9A-Za-z-]+(\\.[0-9A-Za-z-]+)*)?$",
        max_length = 128,
        example = "1.2.0"
    )]
    version: String,
    /// For people.
    #[schema(max_length = 4096, required = false, value_type = String)]
    description: Option<String>,
    /// What it is allowed: nothing where this is not given.
    #[schema(max_items = 200, required = false, value_type = Vec<Permission>)]
    permissions: Option<Vec<Permission>>,
    /// Its own limits, below the operator's.
    #[schema(required = false, value_type = LimitsAsked)]
    limits: Option<LimitsAsked>,
    /// An ed25519 signature of name, version and bytes, in base64; with `key_id`.
    #[schema(required = false, value_type = String, min_length = 88, max_length = 88)]
    signature: Option<String>,
    /// Whose signature it is: the id of a key in the gateway's configuration.
    #[schema(required = false, value_type = String, min_length = 1, max_length = 128)]
    key_id: Option<String>,
}

/// Tells that there are no other parts, which are JSON and which is a file: the derive has no words for it.
pub(super) fn complete(document: &mut OpenApi) {
    let schemas = document.components.as_mut().map(|components| &mut components.schemas);
    let form = schemas.and_then(|schemas| schemas.get_mut(UploadForm::name().as_ref()));
    if let Some(RefOr::T(Schema::Object(form))) = form {
        form.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
    let upload = document.paths.paths.get_mut("/api/v1/wasm/modules").and_then(|item| item.post.as_mut());
    let Some(RefOr::T(body)) = upload.and_then(|operation| operation.request_body.as_mut()) else { return };
    if let Some(RefOr::T(content)) = body.content.get_mut("multipart/form-data") {
        let parts =
            [("module", "application/wasm"), ("permissions", "application/json"), ("limits", "application/json")];
        for (part, media_type) in parts {
            content.encoding.insert(part.to_owned(), EncodingBuilder::new().content_type(Some(media_type)).build());
        }
    }
}
