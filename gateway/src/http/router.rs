//! Which of the two planes a request is for.
//!
//! Owns the one path of the data plane. All other paths are the control
//! plane's. Invariant: a path without escapes is routed without an allocation.

use std::borrow::Cow;

/// The module of `/api/v1/wasm/modules/{module}/invoke`, percent-decoded; `None`
/// for every other path.
pub(super) fn invoked_module(path: &str) -> Option<Cow<'_, str>> {
    let module = path.strip_prefix("/api/v1/wasm/modules/")?.strip_suffix("/invoke")?;
    (!module.is_empty() && !module.contains('/')).then(|| percent_decoded(module))
}

/// `text` with its escapes replaced; as it is where they are malformed or no
/// UTF-8, since then it names nothing either way.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    decode(text.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok()).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn decode(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(bytes.len());
    loop {
        bytes = match bytes {
            [] => return Some(decoded),
            [b'%', high, low, rest @ ..] => {
                let byte = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
                decoded.push(u8::try_from(byte).ok()?);
                rest
            }
            [b'%', ..] => return None,
            [byte, rest @ ..] => {
                decoded.push(*byte);
                rest
            }
        };
    }
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
