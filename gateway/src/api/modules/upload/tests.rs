use axum::body::Body;

use super::*;
use crate::clock::Clock;
use crate::config::Blobs;
use crate::model::Limits;

const MODULE_BYTES_MAX: u64 = 100_000;
const TIMEOUT: Duration = Duration::from_millis(50);

fn part(name: &str, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut part = format!("--X\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes();
    part.extend_from_slice(content.as_ref());
    part.extend_from_slice(b"\r\n");
    part
}

fn body(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut body = parts.concat();
    body.extend_from_slice(b"--X--\r\n");
    body
}

fn request(content_type: &str, body: impl Into<Body>) -> Request {
    let mut request = Request::new(body.into());
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
    request
}

async fn read(body: impl Into<Body>) -> Result<Form, Problem> {
    let parts = parts(request("multipart/form-data; boundary=X", body), MODULE_BYTES_MAX, TIMEOUT).await?;
    // Spooled files have no names, so the folder may go before them.
    let folder = tempfile::tempdir().unwrap();
    let config = Blobs::Folder { path: folder.path().join("blobs") };
    let blobs = blob::Blobs::open(&config, folder.path(), Clock::system()).await.unwrap();
    Form::read(parts, blobs.spools(), MODULE_BYTES_MAX).await
}

async fn checked(parts: &[Vec<u8>]) -> Result<Upload, Vec<(String, String)>> {
    let form = read(body(parts)).await.unwrap();
    form.check("admin").map_err(|errors| errors.into_iter().map(|error| (error.path, error.code)).collect())
}

fn whole() -> Vec<Vec<u8>> {
    vec![part("module", b"\0asm"), part("name", "rules"), part("version", "1.2.0")]
}

async fn mistakes(extra: &[Vec<u8>]) -> Vec<(String, String)> {
    checked(&[whole(), extra.to_vec()].concat()).await.unwrap_err()
}

fn pair(path: &str, code: &str) -> (String, String) {
    (path.to_owned(), code.to_owned())
}

#[tokio::test]
async fn the_required_parts_are_enough() {
    let upload = checked(&whole()).await.unwrap();
    assert_eq!((&upload.component.map().unwrap()[..], upload.name.as_str()), (&b"\0asm"[..], "rules"));
    assert_eq!((upload.version, upload.created_by.as_str()), (semver::Version::new(1, 2, 0), "admin"));
    assert_eq!((upload.description.as_str(), upload.limits), ("", Limits::default()));
    assert!(upload.permissions.is_empty());
}

#[tokio::test]
async fn all_parts_are_read_in_any_order() {
    let parts = [
        part("limits", r#"{"fuel": 7}"#),
        part("permissions", r#"[{"permission": "secret:use", "resource": "a@b"}]"#),
        part("description", "Prüft Bestellungen"),
        part("version", "1.2.0"),
        part("name", "rules"),
        part("module", vec![b'\n'; 99_999]),
    ];
    let upload = checked(&parts).await.unwrap();
    assert_eq!((upload.limits.fuel, upload.permissions.len(), upload.component.size_bytes()), (Some(7), 1, 99_999));
    assert_eq!(upload.description, "Prüft Bestellungen");
}

#[tokio::test]
async fn every_part_that_is_missing_or_empty_is_named() {
    let expected = [pair("module", "required"), pair("name", "required"), pair("version", "required")];
    assert_eq!(checked(&[]).await.unwrap_err(), expected);
    let parts = [part("module", ""), part("name", ""), part("version", "")];
    let expected = [pair("module", "empty"), pair("name", "empty"), pair("version", "empty")];
    assert_eq!(checked(&parts).await.unwrap_err(), expected);
}

#[tokio::test]
async fn unknown_and_duplicate_parts_are_named() {
    let extra = [part("colour", "red"), part("name", "other")];
    let expected = [pair("colour", "unknown-field"), pair("name", "duplicate")];
    assert_eq!(mistakes(&extra).await, expected);
}

#[tokio::test]
async fn a_signature_has_both_of_its_parts_and_its_bytes() {
    let value = SignatureValue::from_bytes([7; 64]);
    let parts = [whole(), vec![part("signature", format!("{value}\n")), part("key_id", "k")]].concat();
    let signature = checked(&parts).await.unwrap().signature.unwrap();
    assert_eq!(signature, UploadedSignature { key_id: "k".to_owned(), value });
    assert_eq!(checked(&whole()).await.unwrap().signature, None);

    let value = part("signature", value.to_string());
    assert_eq!(mistakes(&[part("signature", "AAAA"), part("key_id", "k")]).await, [pair("signature", "invalid")]);
    assert_eq!(mistakes(&[part("signature", ""), part("key_id", "k")]).await, [pair("signature", "empty")]);
    assert_eq!(mistakes(&[part("key_id", "k")]).await, [pair("signature", "required")]);
    assert_eq!(mistakes(std::slice::from_ref(&value)).await, [pair("key_id", "required")]);
    let long = part("key_id", "k".repeat(129));
    assert_eq!(mistakes(&[value, long]).await, [pair("key_id", "too-long")]);
}

#[tokio::test]
async fn texts_that_are_long_malformed_or_no_text_are_named() {
    let parts = [
        part("module", "x"),
        part("name", "n".repeat(64)),
        part("version", "one"),
        part("description", [0xff]),
        part("permissions", vec![b'x'; 1024 * 1024 + 1]),
        part("limits", "{"),
    ];
    let mut found = checked(&parts).await.unwrap_err();
    found.sort();
    let expected = [
        pair("description", "not-utf8"),
        pair("limits", "invalid-json"),
        pair("name", "too-long"),
        pair("permissions", "too-long"),
        pair("version", "invalid"),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_module_over_its_bound_is_too_large() {
    let problem = read(body(&[part("module", vec![0; 100_001])])).await.unwrap_err();
    assert_eq!(problem.code(), Code::TooLarge);
}

#[tokio::test]
async fn a_body_over_its_bound_is_too_large_whatever_is_in_it() {
    let parts = body(&[part("unknown", vec![0; 2 * 1024 * 1024])]);
    assert_eq!(read(parts.clone()).await.unwrap_err().code(), Code::TooLarge);
    let stream = futures_util::stream::iter(
        parts.chunks(8192).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    assert_eq!(read(Body::from_stream(stream)).await.unwrap_err().code(), Code::TooLarge);
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_a_timeout() {
    use futures_util::StreamExt as _;
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>(part("name", "rules"))]);
    let body = Body::from_stream(first.chain(futures_util::stream::pending()));
    assert_eq!(read(body).await.unwrap_err().code(), Code::RequestTimeout);
}

#[tokio::test]
async fn a_body_that_is_broken_off_or_no_multipart_is_a_bad_request() {
    let whole = body(&whole());
    for length in [0, 3, 20, 60, whole.len() - 6] {
        let problem = read(whole[..length].to_vec()).await.unwrap_err();
        assert_eq!(problem.code(), Code::BadRequest, "{length}");
    }
    assert_eq!(read("hello").await.unwrap_err().code(), Code::BadRequest);
    let many: Vec<_> = (0..=PARTS_MAX).map(|_| part("name", "a")).collect();
    assert_eq!(read(body(&many)).await.unwrap_err().code(), Code::BadRequest);
}

/// A body that comes in pieces of this size.
fn in_pieces(body: &[u8], bytes: usize) -> Body {
    let pieces: Vec<_> = body.chunks(bytes).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    Body::from_stream(futures_util::stream::iter(pieces))
}

/// A part whose header has this many bytes besides what every part has.
fn padded_part(name: &str, content: &str, bytes: usize) -> Vec<u8> {
    let padding = "a".repeat(bytes);
    format!("--X\r\nx: {padding}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n").into_bytes()
}

#[tokio::test]
async fn headers_of_parts_are_bounded_each_and_the_parts_are_not() {
    let long = |name: &str, content: &str| padded_part(name, content, 15 * 1024);
    let module = part("module", vec![b'm'; 90_000]);
    let unwanted = part("colour", vec![b'c'; 200_000]);
    for parts in [
        vec![long("name", "rules"), module.clone(), long("version", "1.2.0")],
        vec![module.clone(), unwanted, long("version", "1.2.0"), part("description", vec![b'd'; 100_000])],
    ] {
        for bytes in [1_000, 8_192, 70_000] {
            let form = read(in_pieces(&body(&parts), bytes)).await.unwrap();
            assert_eq!(form.module.unwrap().size_bytes(), 90_000, "{bytes}");
            assert!(form.seen.contains(&"version"), "{bytes}");
        }
    }
    for bytes in [1, 1_000, 8_192] {
        for before in [Vec::new(), part("name", "rules"), module.clone()] {
            let parts = [before, padded_part("version", "1.2.0", 40 * 1024)];
            let problem = read(in_pieces(&body(&parts), bytes)).await.unwrap_err();
            assert_eq!(problem.code(), Code::BadRequest, "{bytes}");
        }
        let preamble = [vec![b'p'; 40 * 1024], body(&whole())].concat();
        assert_eq!(read(in_pieces(&preamble, bytes)).await.unwrap_err().code(), Code::BadRequest, "{bytes}");
    }
}

#[tokio::test]
async fn another_content_type_is_unsupported_and_a_missing_boundary_malformed() {
    for (content_type, code) in [
        ("application/json", Code::UnsupportedMediaType),
        ("multipart/mixed; boundary=X", Code::UnsupportedMediaType),
        ("multipart/form-data", Code::BadRequest),
        ("Multipart/Form-Data; charset=utf-8", Code::BadRequest),
    ] {
        let problem = parts(request(content_type, ""), MODULE_BYTES_MAX, TIMEOUT).await.unwrap_err();
        assert_eq!(problem.code(), code, "{content_type}");
    }
    assert!(!is_multipart(&HeaderMap::new()));
}
