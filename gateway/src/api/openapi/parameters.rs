//! The parameters that several operations share, in the document.
//!
//! Owns their description. Does not own how they are read (`query`, the extractors).

use utoipa::IntoParams;

/// Of whatever is about one version of a module.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what an extractor reads")]
pub(in crate::api) struct ModulePath {
    /// An id, `name`, `name@1.2.3` or `name@^1.2`.
    #[param(example = "order-rules")]
    module: String,
}

/// Of every list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Query::page` reads")]
pub(in crate::api) struct Paging {
    /// From 1; a page behind the last is empty.
    #[param(minimum = 1, maximum = 4_294_967_295_u64)]
    page: Option<u32>,
    /// Items a page; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}
