use axum::http::HeaderValue;

use super::*;
use crate::error::FieldError;
use crate::model::Digest;

fn uri(query: &str) -> Uri {
    format!("/api/v1/wasm/modules?{query}").parse().unwrap()
}

#[test]
fn every_filter_is_read() {
    let (filter, page) = list_query(&uri("q=50%25&name=rules&kind=http&page=2&limit=10")).unwrap();
    assert_eq!((filter.query.as_deref(), filter.name.as_deref()), (Some("50%"), Some("rules")));
    assert_eq!(filter.kind, Some(ModuleKind::Http));
    assert_eq!(page, PageRequest { page: 2, limit: 10 });
}

#[test]
fn an_empty_filter_is_none() {
    let (filter, page) = list_query(&uri("page=1&limit=50&q=&name=&kind=")).unwrap();
    assert!(filter.query.is_none() && filter.name.is_none() && filter.kind.is_none());
    assert_eq!(page, PageRequest { page: 1, limit: 50 });
}

#[test]
fn filters_that_are_wrong_are_refused() {
    let long = format!("q={}", "x".repeat(QUERY_CHARACTERS_MAX + 1));
    for text in ["kind=wasm", "limit=201", long.as_str()] {
        assert_eq!(list_query(&uri(text)).unwrap_err().code(), Code::BadRequest, "{text}");
    }
    assert_eq!(list_query(&uri("sort=name")).unwrap_err().code(), Code::UnknownField);
}

#[test]
fn a_tag_is_known_alone_in_a_list_weakly_or_as_any() {
    let known = |value: &str| {
        let value = HeaderValue::from_str(value).unwrap();
        is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]), "\"abc\"")
    };
    for value in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
        assert!(known(value), "{value}");
    }
    for value in ["\"ab\"", "abc", "", "\"x\", \"y\""] {
        assert!(!known(value), "{value}");
    }
    assert!(!is_known(&HeaderMap::new(), "\"abc\""));
}

#[test]
fn what_the_registry_says_has_a_code_and_what_is_ours_is_internal() {
    let digest = Digest::of(b"");
    let unavailable = || blob::Error::Unavailable { context: "reading", source: "down".into() };
    let integrity = blob::Error::Integrity { expected: digest, found: digest };
    let errors = || vec![FieldError::new("/permissions/0/resource", "invalid", "is no glob")];
    let exists = registry::Error::VersionExists { name: "a".parse().unwrap(), version: semver::Version::new(1, 0, 0) };
    for (error, code) in [
        (registry::Error::Invalid(errors()), Code::InvalidModule),
        (registry::Error::BadRequest(errors()), Code::BadRequest),
        (exists, Code::VersionExists),
        (registry::Error::NotFound("a@1.0.0".parse().unwrap()), Code::NotFound),
        (registry::Error::Blob(integrity), Code::Integrity),
        (registry::Error::Blob(unavailable()), Code::Internal),
        (registry::Error::Blob(blob::Error::Missing(digest)), Code::Internal),
        (registry::Error::Compile("the child was killed".to_owned()), Code::Internal),
        (registry::Error::Defect("a task panicked".to_owned()), Code::Internal),
    ] {
        assert_eq!(refused(error).code(), code);
    }
}
