//! Which of the two planes a request is for.
//!
//! Owns the two paths of the data plane. All other paths are the control
//! plane's. Invariant: a path without escapes is routed without an allocation.

use std::borrow::Cow;

/// The module of `/api/v1/wasm/modules/{module}/invoke`, percent-decoded; `None`
/// for every other path.
pub(super) fn invoked_module(path: &str) -> Option<Cow<'_, str>> {
    let module = path.strip_prefix("/api/v1/wasm/modules/")?.strip_suffix("/invoke")?;
    (!module.is_empty() && !module.contains('/')).then(|| percent_decoded(module))
}

/// The job of `/hooks/{job}`. A job's name has nothing that is escaped.
pub(super) fn hook(path: &str) -> Option<&str> {
    path.strip_prefix("/hooks/").filter(|job| !job.is_empty() && !job.contains('/'))
}

/// `text` with its escapes replaced; as it is where that makes no UTF-8, since
/// then it names nothing either way.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_an_invocation_names_a_module() {
        assert_eq!(invoked_module("/api/v1/wasm/modules/rules@1.2.0/invoke").as_deref(), Some("rules@1.2.0"));
        for path in [
            "/api/v1/wasm/modules//invoke",
            "/api/v1/wasm/modules/invoke",
            "/api/v1/wasm/modules/a/b/invoke",
            "/api/v1/wasm/modules/a/invoke/",
            "/api/v1/wasm/modules/a/download",
            "/api/v1/wasm/modules",
            "*",
            "",
        ] {
            assert_eq!(invoked_module(path), None, "{path}");
        }
    }

    #[test]
    fn a_hook_names_one_job() {
        assert_eq!(hook("/hooks/order-intake"), Some("order-intake"));
        for path in ["/hooks", "/hooks/", "/hooks/a/b", "/api/v1/hooks/a", ""] {
            assert_eq!(hook(path), None, "{path}");
        }
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_left() {
        let module = |text: &str| invoked_module(&format!("/api/v1/wasm/modules/{text}/invoke")).unwrap().into_owned();
        assert_eq!(module("rules%40%5e1.2"), "rules@^1.2");
        assert_eq!(module("a%2Fb"), "a/b");
        for broken in ["a%", "a%4", "a%zz", "a%+1", "a%ff"] {
            assert_eq!(module(broken), broken);
        }
        assert!(matches!(invoked_module("/api/v1/wasm/modules/a/invoke"), Some(Cow::Borrowed("a"))));
    }
}
