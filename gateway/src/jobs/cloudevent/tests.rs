use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use proptest::prelude::*;

use super::*;
use crate::model::JsonText;

/// What the specification says a sender encodes; what is not ASCII is, anyway.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

fn headers(values: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// The four that are required, and these.
fn binary_headers(more: &[(&str, &str)]) -> HeaderMap {
    let mut all =
        vec![("ce-id", "A234"), ("ce-source", "/mycontext"), ("ce-specversion", "1.0"), ("ce-type", "order.made")];
    all.extend(more);
    headers(&all)
}

fn required() -> Value {
    json!({"id": "A234", "source": "/mycontext", "specversion": "1.0", "type": "order.made"})
}

fn structured_of(more: Value) -> Result<Value, Error> {
    let mut event = required();
    let Value::Object(more) = more else { panic!("an object is wanted") };
    event.as_object_mut().unwrap().extend(more);
    trigger(&headers(&[("content-type", "application/cloudevents+json; charset=UTF-8")]), event.to_string().as_bytes())
}

fn mistakes(found: Result<Value, Error>) -> Vec<(String, String)> {
    let Err(Error::Event(errors)) = found else { panic!("mistakes are wanted: {found:?}") };
    errors.into_iter().map(|error| (error.path, error.code)).collect()
}

fn mistake(path: &str, code: &str) -> Vec<(String, String)> {
    vec![(path.to_owned(), code.to_owned())]
}

#[test]
fn what_is_no_event_is_the_trigger_itself() {
    let of = |body: &str| trigger(&headers(&[("content-type", "application/json")]), body.as_bytes());
    assert_eq!(of(r#"{"a": [1]}"#), Ok(json!({"a": [1]})));
    assert_eq!(of("7"), Ok(json!(7)));
    assert_eq!(of(""), Ok(Value::Null));
    assert_eq!(trigger(&HeaderMap::new(), b"true"), Ok(json!(true)));
    for wrong in ["{", "a=b", "{} {}", "1e400", r#""\ud800""#] {
        assert!(matches!(of(wrong), Err(Error::NotJson(_))), "{wrong}");
    }
    assert!(matches!(trigger(&HeaderMap::new(), b"\xff"), Err(Error::NotJson(_))));
}

#[test]
fn a_binary_event_has_its_attributes_in_headers() {
    let more = [
        ("content-type", "application/json; charset=utf-8"),
        ("ce-time", "2018-04-05T17:31:00Z"),
        ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("ce-comexampleextension1", "value"),
        ("x-other", "is none"),
    ];
    let found = trigger(&binary_headers(&more), br#"{"sku": "a"}"#).unwrap();
    let event = json!({
        "id": "A234", "source": "/mycontext", "specversion": "1.0", "type": "order.made",
        "time": "2018-04-05T17:31:00Z", "subject": "Euro € 😀", "comexampleextension1": "value",
        "datacontenttype": "application/json; charset=utf-8",
    });
    assert_eq!(found, json!({"event": event, "data": {"sku": "a"}}));
}

#[test]
fn headers_are_unquoted_and_then_decoded_once() {
    for (value, wanted) in [
        ("a%2520b", "a%20b"),
        (r#""a b""#, "a b"),
        (r#""a \"b\" \\ c""#, r#"a "b" \ c"#),
        (r#"x"a b"y"#, "xa by"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("€", "€"),
        (r"a\b", r"a\b"),
        ("", ""),
    ] {
        let found = trigger(&binary_headers(&[("ce-extra", value)]), b"").unwrap();
        assert_eq!(found["event"]["extra"], wanted, "{value}");
    }
    for value in ["\"a", "\"a\\", "%ff", "%00", "a%0Ab", "%C2%85"] {
        let found = trigger(&binary_headers(&[("ce-extra", value)]), b"");
        assert_eq!(mistakes(found), mistake("ce-extra", "invalid"), "{value}");
    }
}

#[test]
fn data_is_json_a_text_or_base64_as_its_type_says() {
    for (content_type, body, wanted) in [
        ("application/json", &b"[1]"[..], json!([1])),
        ("Application/Vnd.Acme+JSON;v=1", b"[1]", json!([1])),
        ("text/plain", b"[1]", json!("[1]")),
        ("application/xml", "<é/>".as_bytes(), json!("<é/>")),
        ("application/octet-stream", b"\xff\x00", json!("/wA=")),
        ("text/plain", b"", Value::Null),
    ] {
        let found = trigger(&binary_headers(&[("content-type", content_type)]), body).unwrap();
        assert_eq!(found["data"], wanted, "{content_type}");
        assert_eq!(found["event"]["datacontenttype"], content_type);
    }
    let untyped = trigger(&binary_headers(&[]), b"{\"a\": 1}").unwrap();
    assert_eq!(untyped, json!({"event": required(), "data": {"a": 1}}));
    let wrong = trigger(&binary_headers(&[("content-type", "application/json")]), b"<a/>");
    assert!(matches!(wrong, Err(Error::NotJson(_))));
}

#[test]
fn a_structured_event_is_the_body() {
    assert_eq!(structured_of(json!({})).unwrap(), json!({"event": required(), "data": null}));
    assert_eq!(structured_of(json!({"data": {"a": 1}})).unwrap()["data"], json!({"a": 1}));
    let text = structured_of(json!({"data": "<a/>", "datacontenttype": "text/xml"})).unwrap();
    assert_eq!((&text["data"], &text["event"]["datacontenttype"]), (&json!("<a/>"), &json!("text/xml")));
    for (content_type, encoded, wanted) in [
        (json!("application/json"), "WzFd", json!([1])),
        (json!("text/plain"), "WzFd", json!("[1]")),
        (json!(null), "WzFd", json!("[1]")),
        (json!("image/png"), "/wA=", json!("/wA=")),
        (json!("image/png"), "/wA", json!("/wA=")),
    ] {
        let found = structured_of(json!({"data_base64": encoded, "datacontenttype": content_type})).unwrap();
        assert_eq!(found["data"], wanted, "{content_type} {encoded}");
    }
    let typed = structured_of(json!({"sequence": 5, "sampled": true, "unset": null, "least": i32::MIN})).unwrap();
    let event = &typed["event"];
    assert_eq!(
        (&event["sequence"], &event["sampled"], &event["least"]),
        (&json!("5"), &json!("true"), &json!("-2147483648"))
    );
    assert_eq!(event.get("unset"), None);
}

#[test]
fn all_mistakes_of_an_event_are_told_together() {
    let wrong = headers(&[
        ("ce-id", ""),
        ("ce-specversion", "0.3"),
        ("ce-time", "yesterday"),
        ("ce-under_score", "a"),
        ("ce-", "a"),
        ("ce-twice", "a"),
        ("ce-twice", "a"),
        ("ce-subject", ""),
        ("ce-datacontenttype", "text/plain"),
        ("ce-data", "a"),
    ]);
    let mut found = mistakes(trigger(&wrong, b""));
    found.sort();
    let wanted = [
        ("ce-", "invalid-name"),
        ("ce-data", "misplaced"),
        ("ce-datacontenttype", "misplaced"),
        ("ce-id", "empty"),
        ("ce-source", "required"),
        ("ce-specversion", "unknown-version"),
        ("ce-subject", "empty"),
        ("ce-time", "invalid"),
        ("ce-twice", "duplicate"),
        ("ce-type", "required"),
        ("ce-under_score", "invalid-name"),
    ];
    assert_eq!(found, wanted.map(|(path, code)| (path.to_owned(), code.to_owned())));

    let wrong = json!({
        "id": 1.5, "type": [], "specversion": "2.0", "Upper": "a", "data": 1, "data_base64": "AA==", "far": 2_147_483_648_u64,
    });
    let found = trigger(&headers(&[("content-type", STRUCTURED)]), wrong.to_string().as_bytes());
    let mut found = mistakes(found);
    found.sort();
    let wanted = [
        ("/Upper", "invalid-name"),
        ("/data_base64", "conflict"),
        ("/far", "invalid"),
        ("/id", "invalid"),
        ("/source", "required"),
        ("/specversion", "unknown-version"),
        ("/type", "invalid"),
    ];
    assert_eq!(found, wanted.map(|(path, code)| (path.to_owned(), code.to_owned())));
}

#[test]
fn a_structured_body_that_is_no_event_is_refused() {
    assert_eq!(mistakes(structured_of(json!({"data_base64": "no base64!"}))), mistake("/data_base64", "invalid"));
    assert_eq!(mistakes(structured_of(json!({"data_base64": 1}))), mistake("/data_base64", "invalid"));
    let not_json = json!({"data_base64": "PGEvPg==", "datacontenttype": "application/json"});
    assert_eq!(mistakes(structured_of(not_json)), mistake("/data_base64", "invalid"));
    for body in ["", "[]", "{", "null", r#"{"id": "1", "id": "2"}"#] {
        let found = trigger(&headers(&[("content-type", STRUCTURED)]), body.as_bytes());
        assert!(matches!(found, Err(Error::NotJson(_))), "{body}");
    }
}

#[test]
fn batches_and_other_formats_are_refused() {
    let of = |content_type: &str| trigger(&binary_headers(&[("content-type", content_type)]), b"[]");
    for batch in ["application/cloudevents-batch+json", "Application/CloudEvents-Batch+JSON; charset=utf-8"] {
        assert_eq!(of(batch), Err(Error::Batch), "{batch}");
    }
    for format in ["application/cloudevents", "application/cloudevents+xml", "application/cloudevents+protobuf"] {
        assert_eq!(of(format), Err(Error::Format), "{format}");
    }
}

#[test]
fn counts_and_lengths_have_bounds() {
    // Four are the required ones.
    let many = |count: usize| -> Value { (0..count - 4).map(|index| (format!("x{index}"), json!("a"))).collect() };
    assert!(structured_of(many(64)).is_ok());
    assert_eq!(mistakes(structured_of(many(65)))[0], (String::new(), "too-many".to_owned()));
    let long = |length: usize| structured_of(json!({"subject": "a".repeat(length)}));
    assert!(long(8 * 1024).is_ok());
    assert_eq!(mistakes(long(8 * 1024 + 1)), mistake("/subject", "too-long"));
    let named = |length: usize| structured_of([("a".repeat(length), json!("a"))].into_iter().collect());
    assert!(named(64).is_ok());
    assert_eq!(mistakes(named(65)), mistake(&format!("/{}", "a".repeat(65)), "invalid-name"));
    let (path, _) = mistakes(named(100_000)).remove(0);
    assert!(path.chars().count() <= 110, "{} characters", path.chars().count());
}

#[test]
fn a_trigger_is_never_deeper_than_what_can_be_read_again() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let deepest = trigger(&binary_headers(&[]), nested(126).as_bytes()).unwrap();
    assert!(JsonText::parse(&deepest.to_string()).is_ok());
    assert!(matches!(trigger(&binary_headers(&[]), nested(127).as_bytes()), Err(Error::NotJson(_))));
    let encoded = |levels| json!({"data_base64": BASE64.encode(nested(levels)), "datacontenttype": "application/json"});
    assert!(structured_of(encoded(126)).is_ok());
    assert_eq!(mistakes(structured_of(encoded(127))), mistake("/data_base64", "too-deep"));
    assert!(trigger(&HeaderMap::new(), nested(127).as_bytes()).is_ok());
    assert!(matches!(trigger(&HeaderMap::new(), nested(100_000).as_bytes()), Err(Error::NotJson(_))));
}

/// Data in both modes: content type, body, and the member of a structured event.
fn any_data() -> impl Strategy<Value = (Option<&'static str>, Vec<u8>, Option<(&'static str, Value)>)> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    });
    let json_type =
        prop_oneof![Just(None), Just(Some("application/json")), Just(Some("application/vnd.acme+json; charset=utf-8"))];
    let bytes = proptest::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        Just((None, Vec::new(), None)),
        (json_type, value).prop_map(|(of, value)| (of, value.to_string().into_bytes(), Some(("data", value)))),
        ".{1,40}".prop_map(|text| (Some("text/plain"), text.clone().into_bytes(), Some(("data", json!(text))))),
        bytes.prop_map(|bytes| {
            let encoded = json!(BASE64.encode(&bytes));
            (Some("application/octet-stream"), bytes, Some(("data_base64", encoded)))
        }),
    ]
}

proptest! {
    #[test]
    fn an_event_is_the_same_trigger_in_both_modes(
        required in ("\\PC{1,20}", "\\PC{1,20}", "\\PC{1,20}"),
        extensions in proptest::collection::btree_map("x[a-z0-9]{1,10}", "\\PC{0,20}", 0..5),
        (content_type, body, member) in any_data(),
    ) {
        let (id, source, kind) = required;
        let mut attributes = extensions;
        for (name, value) in [("id", id), ("source", source), ("type", kind), ("specversion", "1.0".to_owned())] {
            attributes.insert(name.to_owned(), value);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &attributes {
            let value = utf8_percent_encode(value, ENCODED).to_string();
            headers.insert(HeaderName::from_bytes(format!("ce-{name}").as_bytes()).unwrap(), value.parse().unwrap());
        }
        let mut event: Map<String, Value> = attributes.into_iter().map(|(name, value)| (name, json!(value))).collect();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            event.insert(DATA_CONTENT_TYPE.to_owned(), json!(content_type));
        }
        event.extend(member.map(|(name, value)| (name.to_owned(), value)));
        let structured = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(STRUCTURED))]);
        let found = trigger(&headers, &body);
        prop_assert!(found.is_ok(), "{:?}", found);
        prop_assert_eq!(found, trigger(&structured, Value::Object(event).to_string().as_bytes()));
    }

    #[test]
    fn no_bytes_are_too_strange(
        values in proptest::collection::vec(("ce-[a-z_]{0,3}|content-type", "\\PC{0,12}|application/cloudevents(-batch)?\\+json"), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        if let Ok(trigger) = trigger(&headers, &body) {
            prop_assert!(JsonText::parse(&trigger.to_string()).is_ok());
        }
    }
}
