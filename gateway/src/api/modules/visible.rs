//! The list of modules for a key that sees only some of them.
//!
//! Globs are no SQL, and a page needs to know how many there are in all, so this
//! list is cut out of the snapshot. It is the same list: same search, same order.

use std::sync::Arc;

use crate::http::auth::Caller;
use crate::model::Module;
use crate::registry::{Revision, Snapshot};
use crate::store::{ModuleFilter, Page, PageRequest};

/// The page of what `caller` sees of the modules that `filter` leaves.
pub(super) fn page(
    snapshot: &Snapshot,
    caller: &Caller,
    filter: &ModuleFilter,
    page: PageRequest,
) -> Page<Arc<Module>> {
    let query = filter.query.as_deref().map(folded);
    let wanted = |module: &Module| {
        caller.sees_module(module.name.as_str())
            && filter.name.as_deref().is_none_or(|name| module.name.as_str() == name)
            && filter.kind.is_none_or(|kind| module.kind == kind)
            && query
                .as_deref()
                .is_none_or(|query| module.name.as_str().contains(query) || folded(&module.description).contains(query))
    };
    let modules = snapshot.revisions().map(|revision: &Arc<Revision>| &revision.module);
    let mut found: Vec<_> = modules.filter(|module| wanted(module)).cloned().collect();
    found.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| b.version.cmp(&a.version)));
    let total = found.len() as u64;
    let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    Page { items: found.into_iter().skip(offset).take(page.limit as usize).collect(), total }
}

fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}
