use http::HeaderValue;
use proptest::prelude::*;

use super::*;

/// The specification's own example.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT_AT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

fn other_secret() -> Secret {
    secret("whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn headers(id: &str, timestamp: &str, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)] {
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn example() -> HeaderMap {
    headers(ID, &SENT_AT.to_string(), SIGNATURE)
}

/// Whether the example's owner sent this, at the time it was sent.
fn verified(headers: &HeaderMap, body: &[u8]) -> Result<Verified, Refused> {
    verify(&[secret(SECRET)], headers, body, at(SENT_AT))
}

#[test]
fn the_specifications_example_is_signed_and_verified() {
    assert_eq!(sign(&secret(SECRET), ID, SENT_AT, BODY), SIGNATURE);
    assert_eq!(verified(&example(), BODY), Ok(Verified { id: ID.to_owned(), at: at(SENT_AT) }));
}

#[test]
fn what_was_tampered_with_is_refused() {
    assert_eq!(verified(&headers("msg_other", &SENT_AT.to_string(), SIGNATURE), BODY), Err(Refused::Signature));
    assert_eq!(verified(&headers(ID, &(SENT_AT + 1).to_string(), SIGNATURE), BODY), Err(Refused::Signature));
    for body in [&b"{\"test\": 2432232315}"[..], b"{\"test\":2432232314}", b""] {
        assert_eq!(verified(&example(), body), Err(Refused::Signature), "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(verify(&[other_secret()], &example(), BODY, at(SENT_AT)), Err(Refused::Signature));
    assert_eq!(verify(&[], &example(), BODY, at(SENT_AT)), Err(Refused::Signature));
}

#[test]
fn one_of_several_signatures_has_to_be_of_one_of_several_secrets() {
    let other = sign(&other_secret(), ID, SENT_AT, BODY);
    let time = SENT_AT.to_string();
    let both = headers(ID, &time, &format!("{other} {SIGNATURE}"));
    assert!(verified(&both, BODY).is_ok());
    assert!(verify(&[other_secret(), secret(SECRET)], &example(), BODY, at(SENT_AT)).is_ok());
    assert_eq!(verified(&headers(ID, &time, &other), BODY), Err(Refused::Signature));
    // What is of another scheme, or of none, is passed over.
    let mixed = headers(ID, &time, &format!("v1a,AAAA v2 nonsense v1,!!! {SIGNATURE}"));
    assert!(verified(&mixed, BODY).is_ok());
    let asymmetric = headers(ID, &time, &SIGNATURE.replace("v1,", "v1a,"));
    assert_eq!(verified(&asymmetric, BODY), Err(Refused::Signature));
}

#[test]
fn so_many_signatures_are_looked_at_and_no_more() {
    let time = SENT_AT.to_string();
    let many = |others: usize| headers(ID, &time, &format!("{}{SIGNATURE}", "v1,AAAA ".repeat(others)));
    assert!(verified(&many(SIGNATURES_MAX - 1), BODY).is_ok());
    assert_eq!(verified(&many(SIGNATURES_MAX), BODY), Err(Refused::Header("webhook-signature")));
}

#[test]
fn five_minutes_either_way_are_in_time_and_a_second_more_is_not() {
    for (now, is_in_time) in
        [(SENT_AT, true), (SENT_AT + 300, true), (SENT_AT - 300, true), (SENT_AT + 301, false), (SENT_AT - 301, false)]
    {
        let found = verify(&[secret(SECRET)], &example(), BODY, at(now));
        assert_eq!(found.map(|_| ()), if is_in_time { Ok(()) } else { Err(Refused::Time) }, "{}", now - SENT_AT);
    }
    let last = Timestamp::MAX.as_second().to_string();
    assert_eq!(verified(&headers(ID, &last, SIGNATURE), BODY), Err(Refused::Time));
}

#[test]
fn a_header_that_is_missing_or_comes_twice_is_named() {
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut without = example();
        without.remove(name);
        assert_eq!(verified(&without, BODY), Err(Refused::Header(name)));
        let mut twice = example();
        let value = twice[name].clone();
        twice.append(name, value);
        assert_eq!(verified(&twice, BODY), Err(Refused::Header(name)));
        let mut strange = example();
        strange.insert(name, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(verified(&strange, BODY), Err(Refused::Header(name)));
    }
}

#[test]
fn a_header_that_is_not_of_its_form_is_named() {
    let time = SENT_AT.to_string();
    for id in ["", "a b", "a\tb", &"a".repeat(ID_LENGTH_MAX + 1)] {
        assert_eq!(verified(&headers(id, &time, SIGNATURE), BODY), Err(Refused::Header("webhook-id")), "{id}");
    }
    let times =
        ["", "now", "1614265330.0", "+1614265330", "01614265330", " 1614265330", "9223372036854775807", "1e9", "٣"];
    for time in times {
        let mut headers = example();
        headers.insert("webhook-timestamp", HeaderValue::from_bytes(time.as_bytes()).unwrap());
        assert_eq!(verified(&headers, BODY), Err(Refused::Header("webhook-timestamp")), "{time}");
    }
    for signature in ["", " ", "   "] {
        let found = verified(&headers(ID, &time, signature), BODY);
        assert_eq!(found, Err(Refused::Header("webhook-signature")), "{signature:?}");
    }
    let longest = "a".repeat(ID_LENGTH_MAX);
    let signature = sign(&secret(SECRET), &longest, SENT_AT, BODY);
    assert!(verified(&headers(&longest, &time, &signature), BODY).is_ok());
}

#[test]
fn base64_is_read_with_and_without_padding() {
    let unpadded = SIGNATURE.trim_end_matches('=');
    assert!(verified(&headers(ID, &SENT_AT.to_string(), unpadded), BODY).is_ok());
    let (padded, bare) = ("whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA==", "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA");
    assert_eq!(sign(&secret(padded), ID, SENT_AT, BODY), sign(&secret(bare), ID, SENT_AT, BODY));
}

#[test]
fn a_part_of_a_signature_is_none() {
    for bytes in [0, 1, 16, 31] {
        let mac = BASE64.decode(SIGNATURE.trim_start_matches("v1,")).unwrap();
        let part = format!("v1,{}", BASE64.encode(&mac[..bytes]));
        assert_eq!(verified(&headers(ID, &SENT_AT.to_string(), &part), BODY), Err(Refused::Signature), "{bytes}");
    }
}

#[test]
fn a_secret_has_24_to_64_bytes_in_base64_after_its_prefix() {
    let of = |bytes: usize| format!("whsec_{}", BASE64.encode(vec![7; bytes]));
    for (bytes, is_one) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
        assert_eq!(Secret::parse(&of(bytes)).is_ok(), is_one, "{bytes}");
    }
    let bare = SECRET.trim_start_matches("whsec_");
    for text in [bare, &format!("whpk_{bare}"), "whsec_", "whsec_not base64!", &format!(" {SECRET}")] {
        assert!(Secret::parse(text).is_err(), "{text}");
    }
}

/// A secret, an id, a time and a body.
fn any_message() -> impl Strategy<Value = (Vec<u8>, String, i64, Vec<u8>)> {
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    (proptest::collection::vec(any::<u8>(), 24..=64), "[!-~]{1,255}", 0..=4_000_000_000_i64, body)
}

fn secret_of(bytes: &[u8]) -> Secret {
    secret(&format!("whsec_{}", BASE64.encode(bytes)))
}

proptest! {
    #[test]
    fn what_one_signs_the_other_takes((key, id, seconds, body) in any_message(), off in -300..=300_i64) {
        let signature = sign(&secret_of(&key), &id, seconds, &body);
        let headers = headers(&id, &seconds.to_string(), &signature);
        let found = verify(&[other_secret(), secret_of(&key)], &headers, &body, at(seconds + off));
        prop_assert_eq!(found, Ok(Verified { id, at: at(seconds) }));
    }

    #[test]
    fn no_change_of_a_single_byte_is_taken(
        (key, id, seconds, body) in any_message(), part in 0..4_usize,
        place in any::<prop::sample::Index>(), by in 1..=255_u8
    ) {
        let secret = secret_of(&key);
        let signature = sign(&secret, &id, seconds, &body);
        // The padding is not part of what is signed: it may be left out.
        let signature = signature.trim_end_matches('=');
        let mut parts =
            [id.as_bytes().to_vec(), seconds.to_string().into_bytes(), signature.as_bytes().to_vec(), body.clone()];
        prop_assume!(!parts[part].is_empty());
        let place = place.index(parts[part].len());
        let byte = parts[part][place];
        // A header holds what can be seen; a body any byte.
        parts[part][place] = if part == 3 { byte ^ by } else { b'!' + (byte - b'!' + 1 + by % 93) % 94 };
        prop_assert_ne!(parts[part][place], byte);
        let [id, time, signature, body] = parts;
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        let headers = headers(&text(&id), &text(&time), &text(&signature));
        prop_assert!(verify(&[secret], &headers, &body, at(seconds)).is_err());
    }
}
