//! Where the values of secrets and the passwords of databases are, and are not, in the real binary.

use std::fs::File;
use std::sync::Arc;

use local_servers::postgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::otlp_receiver::OtlpReceiver;
use crate::support::process::{Process, command};
use crate::support::{Answer, Upstream, guest};

const SECRET: &str = "canary-5f0c";
/// Can't be a header, and is no more told for that.
const MALFORMED: &str = "canary-5f0c\r\nx: 1";
const PASSWORD: &str = "canary-77ab";

#[tokio::test]
async fn a_secret_is_in_the_request_that_it_is_for_and_in_nothing_that_the_gateway_tells() {
    let (upstream, mut receiver, shop) = (Upstream::start().await, OtlpReceiver::start().await, postgres::database());
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let log = folder.path().join("stderr.txt");
    let port = shop.port().to_string();
    let variables = [
        ("SLUICE_LOG", "trace"),
        ("SLUICE__TELEMETRY__OTLP_ENDPOINT", &*receiver.endpoint()),
        ("SLUICE__TELEMETRY__SAMPLE_RATIO", "1"),
        ("SLUICE__EGRESS__ALLOW_PRIVATE", "127.0.0.0/8"),
        ("SLUICE__SECRETS__KEY", SECRET),
        ("SLUICE__SECRETS__MALFORMED", MALFORMED),
        // The wrong one: the server refuses it, which is told without it.
        ("SLUICE__DATABASES__SHOP__URL", &format!("postgres://sluice:{PASSWORD}@127.0.0.1:{port}/shop")),
    ];
    let stderr = File::create(&log).unwrap();
    let process = Process::start_changed(&folder, |command| {
        command.stderr(stderr).envs(variables);
    })
    .await;
    let gw = &process.gateway;
    let allowed = ["http:read", "http:write", "secret:use", "database:read", "database:write"];
    let allowed: Vec<_> = allowed.iter().map(|kind| json!({"permission": kind, "resource": "**"})).collect();
    for module in ["hosts", "wasi-http"] {
        gw.upload(module, "1.0.0", guest(module)).await.expect_status(201);
        let put = gw.request(Method::PUT, &format!("/api/v1/wasm/modules/{module}/permissions")).json(&allowed);
        Answer::of(put).await.expect_status(200);
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let header = |name: &str| json!([["authorization", format!("Bearer {{{{secret:{name}}}}}")]]);
    let sent_to = |url: String, name: &str| json!(["http", {"method": "POST", "url": url, "headers": header(name), "body": format!("{{{{secret:{name}}}}}")}]);
    let ops = json!([
        sent_to(upstream.url("/status/204"), "key"),
        sent_to(upstream.url("/status/204"), "malformed"),
        sent_to(format!("http://{nobody}/"), "key"),
        sent_to(format!("https://{}/", upstream.authority()), "key"),
        ["http", {"method": "GET", "url": upstream.url("/{{secret:key}}"), "headers": [["{{secret:key}}", "x"]]}],
        ["query", "shop", "select 1", []],
    ]);
    let told = gw.invoke("hosts", json!({ "ops": ops })).await.expect_status(200).json();
    let seen = upstream.seen();
    let [seen] = &seen[..] else { panic!("not one request: {seen:?}") };
    assert_eq!((seen.header("authorization"), &seen.body[..]), (&*format!("Bearer {SECRET}"), SECRET.as_bytes()));
    let request = json!({"authority": upstream.authority(), "path": "/status/204", "headers": header("key")});
    let over_wasi = gw.invoke("wasi-http", request).await.expect_status(200).json();
    assert_eq!(upstream.seen()[0].header("authorization"), format!("Bearer {SECRET}"));

    let mut all = vec![told.to_string(), over_wasi.to_string()];
    for execution in [&told, &over_wasi] {
        let id = execution["execution_id"].as_str().unwrap();
        all.push(gw.ended_execution(id).await.to_string());
        all.push(Value::from(gw.lines(id).await).to_string());
    }
    for path in ["/api/v1/wasm/modules/hosts/denials", "/api/v1/wasm/modules", "/metrics"] {
        let answer = gw.get(path).await.expect_status(200);
        all.push(String::from_utf8_lossy(&answer.body).into_owned());
    }
    process.stop().await;
    let spans = receiver.next(10).await.into_iter().chain(receiver.rest());
    all.extend(spans.map(|span| format!("{:?} {:?}", span.span, span.resource)));
    let printed = command(folder.path(), &["config", "print"]).envs(variables).output().await.unwrap();
    assert!(printed.status.success(), "{printed:?}");
    all.push(format!("{}{}", String::from_utf8_lossy(&printed.stdout), String::from_utf8_lossy(&printed.stderr)));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("\"TRACE\"") && log.contains("hyper"), "the log has what libraries say");
    all.push(log);
    for text in &all {
        for secret in [SECRET, PASSWORD] {
            let found = text.find(secret);
            assert!(found.is_none(), "{}", found.map_or("", |at| &text[at.saturating_sub(500)..at]));
        }
    }
}
