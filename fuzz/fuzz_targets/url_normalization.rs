//! Any text as a URL: what is taken has one form, and everybody reads the same out of it.
#![no_main]

use std::borrow::Cow;

use sluice_fuzz::target::Target;

libfuzzer_sys::fuzz_target!(|text: &str| {
    // Most texts are no URL at all: they are paths of one, too.
    for text in [Cow::Borrowed(text), format!("https://{text}").into(), format!("http://a.example/{text}").into()] {
        if let Ok(target) = Target::parse(&text) {
            check(&target);
        }
    }
});

fn check(target: &Target) {
    let url = target.url().as_str();
    assert_eq!(Target::parse(url).as_ref(), Ok(target), "the normal form is its own");

    let resource = target.resource();
    let (scheme, rest) = resource.split_once("://").expect("a scheme");
    assert!(matches!(scheme, "http" | "https"), "{resource}");
    let (authority, path) = rest.split_once('/').expect("a path");
    assert!(!authority.contains(['@', '\\', '%']) && authority == authority.to_lowercase(), "{resource}");
    assert!(resource.bytes().all(|byte| byte.is_ascii_graphic()), "{resource}");
    assert!(!resource.contains(['?', '#', '\\']), "{resource}");
    assert!(!target.host().is_empty() && !target.host().ends_with('.'), "{resource}");
    assert_eq!(Target::parse(resource).expect("a resource is a URL").resource(), resource);

    // No server finds another path, however often it decodes.
    let mut decoded = path.as_bytes().to_vec();
    for _ in 0..3 {
        assert!(!decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b".."), "{resource}");
        decoded = percent_encoding::percent_decode(&decoded).collect();
    }

    // The client connects to what was checked.
    let uri: http::Uri = url.parse().expect("the client reads it too");
    assert_eq!(uri.host(), Some(target.host()));
    assert_eq!(uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 }), target.port());
    assert_eq!(uri.path(), target.url().path());
    assert_eq!(uri.query(), target.url().query().filter(|_| url.contains('?')));
    let bare = target.host().trim_start_matches('[').trim_end_matches(']');
    assert_eq!(bare.parse().ok(), target.address(), "a host is an address where it looks like one");
}
