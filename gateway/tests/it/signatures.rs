//! Signed modules: what is taken, what is run, and what becomes of it under another configuration.

use jiff::{Timestamp, ToSpan as _};
use reqwest::multipart::{Form, Part};
use serde_json::json;
use sluice::config::{Config, SignatureMode, Signatures, TrustedKey};
use sluice::model::{Digest, PrivateKey, SignedModule};

use crate::support::component::echo;
use crate::support::{Answer, TestGateway, files};

const ALERTS: &str = "sluice_security_alerts_total{kind=\"signature\"}";

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[11; 32])
}

fn trusted(id: &str) -> TrustedKey {
    TrustedKey { id: id.to_owned(), public_key: key().public_key(), not_before: None, not_after: None, revoked: false }
}

fn rule(mode: SignatureMode, keys: &[TrustedKey]) -> impl FnOnce(&mut Config) + use<> {
    let keys = keys.to_vec();
    move |config| config.signatures = Signatures { mode, keys }
}

/// The signature of `key` over an upload.
fn signature(name: &str, version: &str, component: &[u8]) -> String {
    let (name, version) = (name.parse().unwrap(), version.parse().unwrap());
    key().sign(&SignedModule { name: &name, version: &version, sha256: Digest::of(component) }).to_string()
}

fn form(name: &str, version: &str, component: Vec<u8>) -> Form {
    let module = Part::bytes(component).file_name("module.wasm");
    Form::new().part("module", module).text("name", name.to_owned()).text("version", version.to_owned())
}

async fn upload_signed(gw: &TestGateway, name: &str, version: &str, key_id: &str) -> Answer {
    let component = echo(name);
    let value = signature(name, version, &component);
    gw.upload_form(form(name, version, component).text("signature", value).text("key_id", key_id.to_owned())).await
}

/// Stops a gateway and starts one with another rule on its folder.
async fn restarted(mut gw: TestGateway, mode: SignatureMode, keys: &[TrustedKey]) -> TestGateway {
    gw.stop().await;
    TestGateway::start_in(gw.folder(), rule(mode, keys)).await
}

#[tokio::test]
async fn a_signed_module_tells_its_key_and_runs_also_after_a_restart() {
    let keys = [trusted("release-2026")];
    let gw = TestGateway::start_with(rule(SignatureMode::Required, &keys)).await;
    let module = upload_signed(&gw, "rules", "1.2.0", "release-2026").await.expect_status(201).json();
    let told = module["signature"].as_object().unwrap();
    assert_eq!(told.keys().collect::<Vec<_>>(), ["key_id", "verified_at"], "{module}");
    assert_eq!(told["key_id"], "release-2026");
    let time = |value: &serde_json::Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(time(&told["verified_at"]) <= time(&module["created_at"]), "{module}");
    assert_eq!(gw.invoke("rules", json!(1)).await.expect_output(), 1);
    // The same again is the same module, as ever.
    upload_signed(&gw, "rules", "1.2.0", "release-2026").await.expect_status(200);

    let gw = restarted(gw, SignatureMode::Required, &keys).await;
    assert_eq!(gw.get("/api/v1/wasm/modules/rules").await.json(), module);
    assert_eq!(gw.invoke("rules", json!(2)).await.expect_output(), 2);
    assert_eq!(gw.metric(ALERTS).await, 0);
}

#[tokio::test]
async fn a_signature_of_anything_else_is_refused_and_leaves_nothing() {
    let gw = TestGateway::start_with(rule(SignatureMode::Optional, &[trusted("release")])).await;
    let before = gw.files();
    let component = echo("a");
    let signed = |name: &str, version: &str, bytes: &[u8]| signature(name, version, bytes);
    let mut flipped = key().sign(&SignedModule {
        name: &"rules".parse().unwrap(),
        version: &"1.0.0".parse().unwrap(),
        sha256: Digest::of(&component),
    });
    flipped = {
        use base64::Engine as _;
        let mut bytes = base64::engine::general_purpose::STANDARD.decode(flipped.to_string()).unwrap();
        bytes[40] ^= 1;
        sluice::model::SignatureValue::from_bytes(bytes.try_into().unwrap())
    };
    for (value, key_id, code) in [
        (signed("rules", "1.0.0", b"other bytes"), "release", "invalid-signature"),
        (signed("rules", "1.0.1", &component), "release", "invalid-signature"),
        (signed("other", "1.0.0", &component), "release", "invalid-signature"),
        (flipped.to_string(), "release", "invalid-signature"),
        (signed("rules", "1.0.0", &component), "another", "unknown-key"),
    ] {
        let form = form("rules", "1.0.0", component.clone()).text("signature", value).text("key_id", key_id);
        let problem = gw.upload_form(form).await.expect_refusal(422, code);
        assert!(problem["detail"].as_str().unwrap().contains(key_id), "{problem}");
    }
    assert_eq!(gw.files(), before);
    // Unsigned is taken where signatures are optional.
    let module = gw.upload("rules", "1.0.0", component).await.expect_status(201).json();
    assert_eq!(module["signature"], json!(null));
}

#[tokio::test]
async fn a_key_signs_within_its_window_and_not_once_it_is_revoked() {
    let now = Timestamp::now();
    let keys = [
        TrustedKey { not_after: Some(now - 1.hour()), ..trusted("expired") },
        TrustedKey { not_before: Some(now + 1.hour()), ..trusted("future") },
        TrustedKey { revoked: true, ..trusted("revoked") },
        TrustedKey { not_before: Some(now - 1.hour()), not_after: Some(now + 1.hour()), ..trusted("current") },
    ];
    let gw = TestGateway::start_with(rule(SignatureMode::Optional, &keys)).await;
    for (key_id, reason) in
        [("expired", "it expired at"), ("future", "it is not valid before"), ("revoked", "it is revoked")]
    {
        let problem = upload_signed(&gw, "rules", "1.0.0", key_id).await.expect_refusal(422, "invalid-signature");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem}");
    }
    upload_signed(&gw, "rules", "1.0.0", "current").await.expect_status(201);
}

#[tokio::test]
async fn required_refuses_unsigned_bytes_before_it_looks_into_them() {
    let gw = TestGateway::start_with(rule(SignatureMode::Required, &[trusted("release")])).await;
    let before = gw.files();
    for component in [echo("a"), b"not even a component".to_vec()] {
        gw.upload("rules", "1.0.0", component).await.expect_refusal(422, "signature-required");
    }
    assert_eq!(gw.files(), before);
}

#[tokio::test]
async fn off_stores_a_signature_without_looking_at_it() {
    let gw = TestGateway::start_with(rule(SignatureMode::Off, &[])).await;
    let value = signature("other", "9.9.9", b"other bytes");
    let signed = form("rules", "1.0.0", echo("a")).text("signature", value).text("key_id", "nobody");
    let module = gw.upload_form(signed).await.expect_status(201).json();
    assert_eq!(module["signature"], json!({"key_id": "nobody", "verified_at": null}));
    upload_signed(&gw, "good", "1.0.0", "release").await.expect_status(201);
    for module in ["rules", "good"] {
        gw.invoke(module, json!(1)).await.expect_status(200);
    }

    // Once somebody looks, what was signed well runs, and the other does not.
    let gw = restarted(gw, SignatureMode::Optional, &[trusted("release")]).await;
    assert_eq!(gw.invoke("good", json!(1)).await.expect_output(), 1);
    gw.invoke("rules", json!(1)).await.expect_refusal(422, "unknown-key");
    assert_eq!(gw.metric(ALERTS).await, 1);
}

#[tokio::test]
async fn what_no_longer_verifies_is_not_run_after_a_restart_and_comes_back_with_its_key() {
    let release = [trusted("release")];
    let gw = TestGateway::start_with(rule(SignatureMode::Optional, &release)).await;
    upload_signed(&gw, "signed", "1.0.0", "release").await.expect_status(201);
    gw.upload("unsigned", "1.0.0", echo("unsigned")).await.expect_status(201);
    // The same bytes as the signed one: what one may do, the other may not.
    gw.upload("copy", "1.0.0", echo("signed")).await.expect_status(201);

    let gw = restarted(gw, SignatureMode::Required, &release).await;
    assert_eq!(gw.invoke("signed", json!(1)).await.expect_output(), 1);
    for module in ["unsigned", "copy"] {
        for _ in 0..2 {
            gw.invoke(module, json!(1)).await.expect_refusal(422, "signature-required");
        }
    }
    // One alert a module, however often it is asked for, and whatever else is changed of it.
    for (what, body) in [("limits", json!({"timeout_ms": 500})), ("permissions", json!([]))] {
        let path = format!("/api/v1/wasm/modules/unsigned/{what}");
        Answer::of(gw.request(reqwest::Method::PUT, &path).json(&body)).await.expect_status(200);
        gw.invoke("unsigned", json!(1)).await.expect_refusal(422, "signature-required");
    }
    assert_eq!(gw.metric(ALERTS).await, 2);
    // What was not run leaves no record.
    gw.eventually("/api/v1/wasm/executions", |answer| answer.json()["total"] == 1).await;

    let revoked = [TrustedKey { revoked: true, ..trusted("release") }];
    let gw = restarted(gw, SignatureMode::Optional, &revoked).await;
    let problem = gw.invoke("signed", json!(1)).await.expect_refusal(422, "invalid-signature");
    assert!(problem["detail"].as_str().unwrap().contains("revoked"), "{problem}");
    assert_eq!(gw.invoke("unsigned", json!(1)).await.expect_output(), 1);
    let gw = restarted(gw, SignatureMode::Optional, &[]).await;
    gw.invoke("signed", json!(1)).await.expect_refusal(422, "unknown-key");
    let other = TrustedKey { public_key: PrivateKey::from_seed(&[12; 32]).public_key(), ..trusted("release") };
    let gw = restarted(gw, SignatureMode::Optional, &[other]).await;
    gw.invoke("signed", json!(1)).await.expect_refusal(422, "invalid-signature");

    // A window that has ended since is no reason: it says when a key may sign.
    let expired = [TrustedKey { not_after: Some(Timestamp::now()), ..trusted("release") }];
    let gw = restarted(gw, SignatureMode::Required, &expired).await;
    assert_eq!(gw.invoke("signed", json!(1)).await.expect_output(), 1);
    upload_signed(&gw, "late", "1.0.0", "release").await.expect_refusal(422, "invalid-signature");
}

#[tokio::test]
async fn a_module_that_may_not_run_is_still_shown_downloaded_and_deleted() {
    let gw = TestGateway::start().await;
    let module = gw.upload("rules", "1.0.0", echo("a")).await.expect_status(201).json();
    let gw = restarted(gw, SignatureMode::Required, &[trusted("release")]).await;
    gw.invoke("rules", json!(1)).await.expect_refusal(422, "signature-required");
    assert_eq!(gw.get("/api/v1/wasm/modules/rules").await.json(), module);
    let bytes = gw.get("/api/v1/wasm/modules/rules/download").await.expect_status(200).body;
    assert_eq!(bytes, echo("a"));
    Answer::of(gw.request(reqwest::Method::DELETE, "/api/v1/wasm/modules/rules@1.0.0")).await.expect_status(204);
    assert!(!files::blob(gw.folder().path(), module["sha256"].as_str().unwrap()).exists());
    upload_signed(&gw, "rules", "1.0.0", "release").await.expect_status(201);
}
