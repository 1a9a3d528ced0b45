//! Keys and signatures as an author makes them, with `sluice` and with OpenSSL.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use sluice::config::{SignatureMode, Signatures, TrustedKey};

use super::{Author, put_guest};
use crate::support::TestGateway;

/// What an author writes to the operator: the key's id, and what `sluice keygen` printed.
fn required(id: &str, public_key: &str) -> impl FnOnce(&mut sluice::config::Config) + use<> {
    let key = TrustedKey {
        id: id.to_owned(),
        public_key: public_key.parse().unwrap(),
        not_before: None,
        not_after: None,
        revoked: false,
    };
    move |config| config.signatures = Signatures { mode: SignatureMode::Required, keys: vec![key] }
}

/// OpenSSL in the author's folder; it must end well.
fn openssl(author: &Author, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(author.folder.path())
        .output()
        .expect("openssl (Debian package openssl; `cargo xtask test` installs it)");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The author's folder, with a gateway that trusts this key.
async fn trusting(author: Author, public_key: &str) -> Author {
    let Author { folder, mut gateway } = author;
    gateway.stop().await;
    let gateway = TestGateway::start_with(required("release", public_key)).await;
    Author { folder, gateway }
}

#[tokio::test]
async fn a_key_is_made_and_a_module_signed_with_it_is_the_only_one_that_is_taken() {
    let author = Author::new().await;
    let keygen =
        author.run(&["keygen", "--output", "release.pem"]).await.done().says(&["[[signatures.keys]]", "secret"]);
    let mode = std::fs::metadata(author.path("release.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!keygen.stderr.contains("PRIVATE") && !keygen.stdout.contains("PRIVATE"), "{keygen:?}");
    author.run(&["keygen", "--output", "release.pem"]).await.failed().says(&["release.pem.pub can't be written"]);

    let author = trusting(author, keygen.stdout.trim()).await;
    let file = put_guest(&author, "echo");
    let upload = ["upload", &file, "--name", "echo", "--version", "1.0.0"];
    author.run(&upload).await.failed().says(&["signed modules only"]);
    let signed = [&upload[..], &["--sign", "release.pem", "--key-id"]].concat();
    author.run(&[&signed[..], &["other"]].concat()).await.failed().says(&["no signing key `other`"]);
    author.run(&[&signed[..], &["release"]].concat()).await.done();
    let shown = author.run(&["show", "echo"]).await.done();
    assert!(shown.value("signature").starts_with("release, checked "), "{shown:?}");
    author.run(&["invoke", "echo", "--input", "{}"]).await.done();
}

#[tokio::test]
async fn a_signature_of_openssl_with_a_key_of_openssl_is_taken() {
    let author = Author::new().await;
    let file = put_guest(&author, "echo");
    openssl(&author, "genpkey -algorithm ed25519 -out key.pem");
    openssl(&author, "pkey -in key.pem -pubout -out key.pub");
    let sign = ["sign", &file, "--key-file", "key.pem", "--name", "echo", "--version", "1.0.0", "--json"];
    let ours = author.run(&sign).await.done().json();
    let message = format!("sluice-module-v1\necho\n1.0.0\n{}\n", ours["sha256"].as_str().unwrap());
    std::fs::write(author.path("message"), message).unwrap();
    openssl(&author, "pkeyutl -sign -rawin -inkey key.pem -in message -out signature");
    openssl(&author, "base64 -A -in signature -out signature.b64");
    let theirs = std::fs::read_to_string(author.path("signature.b64")).unwrap();
    // There is one signature of one message by one key, whoever makes it.
    assert_eq!(ours["signature"], theirs.trim());

    let public_key = std::fs::read_to_string(author.path("key.pub")).unwrap();
    let author = trusting(author, &public_key).await;
    let form = reqwest::multipart::Form::new()
        .part("module", reqwest::multipart::Part::bytes(std::fs::read(author.path(&file)).unwrap()))
        .text("name", "echo")
        .text("version", "1.0.0")
        .text("signature", theirs)
        .text("key_id", "release");
    author.gateway.upload_form(form).await.expect_status(201);
}

#[tokio::test]
async fn openssl_verifies_a_signature_of_ours_with_a_key_of_ours() {
    let author = Author::new().await;
    let file = put_guest(&author, "echo");
    author.run(&["keygen", "--output", "release.pem"]).await.done();
    let signed = ["sign", &file, "--key-file", "release.pem", "--name", "echo", "--version", "1.0.0"];
    let plain = author.run(&signed).await.done().stdout;
    let ours = author.run(&[&signed[..], &["--json"]].concat()).await.done().json();
    assert_eq!(ours["signature"], plain.trim());
    let message = format!("sluice-module-v1\necho\n1.0.0\n{}\n", ours["sha256"].as_str().unwrap());
    std::fs::write(author.path("message"), message).unwrap();
    std::fs::write(author.path("signature.b64"), plain).unwrap();
    openssl(&author, "base64 -d -in signature.b64 -out signature");
    openssl(&author, "pkeyutl -verify -rawin -pubin -inkey release.pem.pub -in message -sigfile signature");
    // It reads our private key, too.
    openssl(&author, "pkey -in release.pem -pubout -out again.pub");
    assert_eq!(
        std::fs::read(author.path("again.pub")).unwrap(),
        std::fs::read(author.path("release.pem.pub")).unwrap()
    );
}

#[tokio::test]
async fn a_key_that_can_not_be_used_is_told_before_anything_is_sent() {
    let author = Author::new().await;
    let file = put_guest(&author, "echo");
    author.run(&["keygen", "--output", "release.pem"]).await.done();
    let sign = |key: &'static str| ["sign", &file, "--key-file", key, "--name", "echo", "--version", "1.0.0"];
    author.run(&sign("release.pem.pub")).await.failed().says(&["is no signing key", "sluice keygen"]);
    author.run(&sign("none.pem")).await.failed().says(&["none.pem can't be read"]);
    author.run(&["sign", "none.wasm", "--key-file", "release.pem", "--name", "a", "--version", "1.0.0"]).await.failed();
    let upload = ["upload", &file, "--name", "echo", "--version", "1.0.0", "--sign", "release.pem"];
    author.run(&upload).await.ended(2);
}
