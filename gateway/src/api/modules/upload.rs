//! `POST /api/v1/wasm/modules`: the multipart form of an upload.
//!
//! Owns the parts, their bounds and the report of all that is wrong with them.
//! Does not own what the component may be (`registry`). Invariant: no more of a
//! body is kept than the bounds of its parts, and no module in memory.

mod parts;

use std::error::Error as StdError;
use std::time::Duration;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use self::parts::Parts;
use super::change::PERMISSIONS_BYTES_MAX;
use super::refused;
use super::settings::{self, Place};
use crate::api::Services;
use crate::api::answer::json;
use crate::api::audit::Trail;
use crate::api::authorize::AsAdmin;
use crate::api::openapi::{UploadForm, refusals};
use crate::api::query::Query;
use crate::blob::{self, Spool, SpoolFolder};
use crate::error::{Code, FieldError, NAME_CHARACTERS_MAX as SHOWN_CHARACTERS_MAX, shortened};
use crate::http::Problem;
use crate::http::body::{Bounds, Limited};
use crate::model::{Module, ModuleName, ParseSignatureError, SignatureValue, action, parse_version};
use crate::registry::{Upload, Uploaded, UploadedSignature};

/// All parts of text, which is what a body may have besides the module: the permissions, and the rest.
const TEXT_BYTES_MAX: u64 = PERMISSIONS_BYTES_MAX + 512 * 1024;
/// One part of text; room for the longest description in any script.
const PART_BYTES_MAX: u64 = 64 * 1024;
/// Twice the parts there are, so that mistakes are reported by name.
const PARTS_MAX: usize = 16;
const NAME_CHARACTERS_MAX: usize = 63;
const VERSION_CHARACTERS_MAX: usize = 128;
/// As long as one may be configured.
const KEY_ID_CHARACTERS_MAX: usize = 128;

const PARTS: [&str; 8] = ["module", "name", "version", "description", "permissions", "limits", "signature", "key_id"];

refusals! {
    /// Of an upload.
    Refusals = [
        UnknownField, Unauthenticated, Forbidden, VersionExists, TooLarge, UnsupportedMediaType, InvalidModule,
        InvalidSignature, SignatureRequired, UnknownKey, RateLimited, Integrity, Overloaded,
    ];
}

/// Upload a version
///
/// Needs the role `admin`. The same bytes again under the same name and version are no error; other bytes are.
#[utoipa::path(
    post, path = "/api/v1/wasm/modules", operation_id = "upload_module", tag = "modules",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "It is stored now.", body = Module,
         headers(("location", description = "Where it is.")),
         links(
             ("show" = (operation_id = "show_module", parameters(("module" = "$response.body#/id")))),
             ("download" = (operation_id = "download_module", parameters(("module" = "$response.body#/id")))),
             ("invoke" = (operation_id = "invoke", parameters(("module" = "$response.body#/id")))),
             ("replace_permissions" = (operation_id = "replace_permissions", parameters(("module" = "$response.body#/id")))),
             ("replace_limits" = (operation_id = "replace_limits", parameters(("module" = "$response.body#/id")))),
             ("delete" = (operation_id = "delete_module", parameters(("module" = "$response.body#/id")))),
             ("executions" = (operation_id = "list_executions", parameters(("module_id" = "$response.body#/id")))),
         )),
        (status = 200, description = "It was stored before.", body = Module),
        Refusals,
    )
)]
pub(in crate::api) async fn upload(
    State(services): State<Services>,
    AsAdmin(caller): AsAdmin,
    trail: Trail,
    request: Request,
) -> Result<Response, Problem> {
    Query::of(request.uri(), &[]).finish()?;
    let module_bytes_max = services.config.limits.module_bytes;
    let timeout = Duration::from_millis(services.config.server.body_timeout_ms);
    // Before a byte of the body is read, and until the module is stored.
    let _turn = services.transfers.upload(caller.id()).await?;
    let parts = parts(request, module_bytes_max, timeout).await?;
    let form = Form::read(parts, services.blobs.spools(), module_bytes_max).await?;
    let upload = form.check(caller.name()).map_err(Problem::malformed)?;
    let resource = format!("{}@{}", upload.name, upload.version);
    let entry = trail.entry(&services, &caller, action::MODULE_UPLOAD, resource);
    let (status, module) = match services.registry.upload(upload, entry).await.map_err(refused)? {
        Uploaded::Created(module) => (StatusCode::CREATED, module),
        Uploaded::Existed(module) => (StatusCode::OK, module),
    };
    let mut response = json(status, &*module);
    if status == StatusCode::CREATED
        && let Ok(location) = HeaderValue::try_from(format!("/api/v1/wasm/modules/{}", module.id))
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn parts(request: Request, module_bytes_max: u64, timeout: Duration) -> Result<Parts, Problem> {
    if !is_multipart(request.headers()) {
        return Err(Problem::new(Code::UnsupportedMediaType, "an upload is `multipart/form-data`"));
    }
    let (head, body) = request.into_parts();
    let bounds = Bounds { bytes_max: module_bytes_max.saturating_add(TEXT_BYTES_MAX), timeout };
    Parts::of(head, Limited::new(body, bounds)?)
        .await
        .map_err(|_| Problem::new(Code::BadRequest, "`Content-Type` has no boundary that separates the parts"))
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("multipart/form-data")
}

/// What the body is not: ended early, badly separated, or over a bound.
fn broken(error: &MultipartError) -> Problem {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = source {
        match error.downcast_ref::<parts::Error>() {
            Some(parts::Error::Body(error)) => return Problem::from(error),
            Some(error @ parts::Error::HeadTooLong) => {
                return Problem::new(Code::BadRequest, format!("the multipart body is broken: {error}"));
            }
            None => source = error.source(),
        }
    }
    Problem::new(Code::BadRequest, format!("the multipart body is broken: {}", error.body_text()))
}

/// The parts as they came.
#[derive(Debug, Default)]
struct Form {
    module: Option<Spool>,
    /// The other parts, by name.
    texts: Vec<(&'static str, String)>,
    /// Parts that were there, whole or not.
    seen: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Form {
    async fn read(mut parts: Parts, spools: &SpoolFolder, module_bytes_max: u64) -> Result<Self, Problem> {
        let mut form = Self::default();
        let mut count = 0;
        while let Some(mut field) = parts.next().await.map_err(|error| broken(&error))? {
            count += 1;
            if count > PARTS_MAX {
                return Err(Problem::new(Code::BadRequest, format!("there are over {PARTS_MAX} parts")));
            }
            match form.admit(field.name().unwrap_or_default()) {
                None => {}
                Some("module") => form.module = Some(module(&mut field, spools, module_bytes_max).await?),
                Some(name) => match text(name, &mut field).await? {
                    Ok(text) => form.texts.push((name, text)),
                    Err(error) => form.errors.push(error),
                },
            }
            // What nobody wanted of it.
            while field.chunk().await.map_err(|error| broken(&error))?.is_some() {}
        }
        Ok(form)
    }

    /// The name of a part that is known and the first of it.
    fn admit(&mut self, name: &str) -> Option<&'static str> {
        let Some(known) = PARTS.into_iter().find(|known| *known == name) else {
            let message = format!("there is no such part; there are {}", PARTS.join(", "));
            self.errors.push(FieldError::new(
                shortened(name, SHOWN_CHARACTERS_MAX),
                Code::UnknownField.as_str(),
                message,
            ));
            return None;
        };
        if self.seen.contains(&known) {
            self.errors.push(FieldError::new(known, "duplicate", "is given more than once"));
            return None;
        }
        self.seen.push(known);
        Some(known)
    }

    fn check(mut self, created_by: &str) -> Result<Upload, Vec<FieldError>> {
        let component = self.module.take();
        self.require("module", component.as_ref().map(|component| component.size_bytes() == 0));
        let name = self.required("name").and_then(|text| self.checked("name", name(&text)));
        let version = self.required("version").and_then(|text| self.checked("version", version(&text)));
        let description = self.text("description").unwrap_or_default();
        let permissions = self.text("permissions").map(|text| settings::permissions(Place::Part("permissions"), &text));
        let permissions = self.collected(permissions);
        let limits = self.text("limits").map(|text| settings::limits(Place::Part("limits"), &text));
        let limits = self.collected(limits);
        let signature = self.signature();
        match (component, name, version) {
            (Some(component), Some(name), Some(version)) if self.errors.is_empty() => {
                let created_by = created_by.to_owned();
                Ok(Upload { component, name, version, description, permissions, limits, signature, created_by })
            }
            _ => Err(self.errors),
        }
    }

    /// Both of its parts, or neither.
    fn signature(&mut self) -> Option<UploadedSignature> {
        if !self.seen.contains(&"signature") && !self.seen.contains(&"key_id") {
            return None;
        }
        let value = self.required("signature").and_then(|text| self.checked("signature", signature(&text)));
        let key_id = self.required("key_id").and_then(|text| self.checked("key_id", key_id(text)));
        Some(UploadedSignature { value: value?, key_id: key_id? })
    }

    fn text(&mut self, part: &str) -> Option<String> {
        let index = self.texts.iter().position(|(name, _)| *name == part)?;
        Some(self.texts.swap_remove(index).1)
    }

    fn required(&mut self, part: &'static str) -> Option<String> {
        let text = self.text(part);
        self.require(part, text.as_ref().map(String::is_empty));
        text.filter(|text| !text.is_empty())
    }

    /// Reports a part that isn't there or has nothing in it; `empty` is `None`
    /// where it could not be had.
    fn require(&mut self, part: &'static str, empty: Option<bool>) {
        match empty {
            Some(false) => {}
            Some(true) => self.errors.push(FieldError::new(part, "empty", "is empty")),
            // One that was there and bad has been reported.
            None if self.seen.contains(&part) => {}
            None => self.errors.push(FieldError::new(part, "required", "is missing")),
        }
    }

    fn checked<T>(&mut self, part: &str, result: Result<T, (&str, String)>) -> Option<T> {
        result.map_err(|(code, message)| self.errors.push(FieldError::new(part, code, message))).ok()
    }

    fn collected<T: Default>(&mut self, result: Option<Result<T, Vec<FieldError>>>) -> T {
        match result {
            None => T::default(),
            Some(Ok(value)) => value,
            Some(Err(errors)) => {
                self.errors.extend(errors);
                T::default()
            }
        }
    }
}

fn at_most(characters_max: usize, text: &str) -> Result<(), (&'static str, String)> {
    if text.chars().count() <= characters_max {
        return Ok(());
    }
    Err(("too-long", format!("has at most {characters_max} characters")))
}

fn name(text: &str) -> Result<ModuleName, (&'static str, String)> {
    at_most(NAME_CHARACTERS_MAX, text)?;
    text.parse().map_err(|error: crate::model::ParseNameError| ("invalid", error.to_string()))
}

fn version(text: &str) -> Result<semver::Version, (&'static str, String)> {
    at_most(VERSION_CHARACTERS_MAX, text)?;
    parse_version(text).map_err(|message| ("invalid", message))
}

fn signature(text: &str) -> Result<SignatureValue, (&'static str, String)> {
    text.parse().map_err(|error: ParseSignatureError| ("invalid", error.to_string()))
}

fn key_id(text: String) -> Result<String, (&'static str, String)> {
    at_most(KEY_ID_CHARACTERS_MAX, &text)?;
    Ok(text)
}

async fn module(field: &mut Field<'_>, spools: &SpoolFolder, bytes_max: u64) -> Result<Spool, Problem> {
    match spool(field, spools, bytes_max).await {
        Ok(component) => Ok(component),
        Err(Unspooled::Refused(problem)) => Err(problem),
        Err(Unspooled::Failed(error)) => {
            // Nothing is wrong with the body, so its sender goes on and hears the answer only at the end.
            while let Ok(Some(_)) = field.chunk().await {}
            Err(Problem::internal(error))
        }
    }
}

/// Why a module is not on disk.
enum Unspooled {
    Refused(Problem),
    Failed(blob::Error),
}

impl From<blob::Error> for Unspooled {
    fn from(error: blob::Error) -> Self {
        Self::Failed(error)
    }
}

async fn spool(field: &mut Field<'_>, spools: &SpoolFolder, bytes_max: u64) -> Result<Spool, Unspooled> {
    let mut writer = spools.create().await?;
    while let Some(chunk) = field.chunk().await.map_err(|error| Unspooled::Refused(broken(&error)))? {
        if writer.size_bytes().saturating_add(chunk.len() as u64) > bytes_max {
            let detail = format!("a module has at most {bytes_max} bytes");
            return Err(Unspooled::Refused(Problem::new(Code::TooLarge, detail).limit(bytes_max)));
        }
        writer = writer.write(&chunk).await?;
    }
    Ok(writer.finish().await?)
}

async fn text(part: &str, field: &mut Field<'_>) -> Result<Result<String, FieldError>, Problem> {
    // As many permissions as a `PUT` of them takes.
    let bytes_max = if part == "permissions" { PERMISSIONS_BYTES_MAX } else { PART_BYTES_MAX };
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        if (bytes.len() + chunk.len()) as u64 > bytes_max {
            let message = format!("has at most {bytes_max} bytes");
            return Ok(Err(FieldError::new(part, "too-long", message)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(bytes).map_err(|_| FieldError::new(part, "not-utf8", "is not UTF-8 text")))
}

#[cfg(test)]
mod tests;
