//! Modules over HTTP: what is stored is shown, found, given back and let go.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use sluice::model::Digest;

use crate::support::component::echo;
use crate::support::{Answer, TestGateway, guest};

const MODULES: &str = "/api/v1/wasm/modules";

fn form(name: &str, version: &str, component: Vec<u8>) -> Form {
    Form::new().part("module", Part::bytes(component)).text("name", name.to_owned()).text("version", version.to_owned())
}

fn names(listing: &Answer) -> Vec<String> {
    let items = listing.json()["items"].as_array().unwrap().clone();
    let full = |item: &Value| format!("{}@{}", item["name"].as_str().unwrap(), item["version"].as_str().unwrap());
    items.iter().map(full).collect()
}

#[tokio::test]
async fn an_upload_is_answered_with_all_that_is_known_of_the_module() {
    let gw = TestGateway::start().await;
    let component = guest("echo");
    let permissions = json!([{"permission": "http:write", "resource": "https://api.example.com/*"}]);
    let form = form("order-rules", "1.2.0", component.clone())
        .text("description", "Prüft Bestellungen")
        .text("permissions", permissions.to_string())
        .text("limits", r#"{"memory_bytes": 33554432, "timeout_ms": 5000}"#);
    let answer = gw.upload_form(form).await.expect_status(201);
    let module = answer.json();
    assert_eq!(answer.header("location"), format!("{MODULES}/{}", module["id"].as_str().unwrap()));
    assert_eq!(answer.header("content-type"), "application/json");
    let expected = json!({
        "name": "order-rules", "version": "1.2.0", "description": "Prüft Bestellungen", "kind": "job-step",
        "sha256": Digest::of(&component).to_string(), "size_bytes": component.len(),
        "functions": ["nothing", "route", "run", "shout", "twice"],
        "permissions": permissions,
        "limits": {"fuel": null, "memory_bytes": 33_554_432, "timeout_ms": 5000},
        "signature": null, "created_by": "admin",
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(module[member], *value, "{member}");
    }
    let id: uuid::Uuid = module["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    let imports = module["imports"].as_array().unwrap();
    assert!(imports.iter().any(|import| import == "sluice:step/types@0.1.0"), "{imports:?}");
    let created: jiff::Timestamp = module["created_at"].as_str().unwrap().parse().unwrap();
    assert!(created.duration_until(jiff::Timestamp::now()).as_secs().abs() < 600, "{created}");
    assert!(module["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(gw.get(&format!("{MODULES}/{id}")).await.expect_status(200).json(), module);
}

#[tokio::test]
async fn the_same_upload_again_is_200_and_other_bytes_are_refused() {
    let gw = TestGateway::start().await;
    let first = gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201).json();
    let before = gw.files();
    let described = form("echo", "1.0.0", echo("a")).text("description", "is not stored");
    let again = gw.upload_form(described).await.expect_status(200);
    assert_eq!(again.json(), first);
    assert_eq!(again.header("location"), "");
    gw.upload("echo", "1.0.0", echo("b")).await.expect_problem(409, "version-exists");
    // It is told even for bytes that would be refused otherwise: the version is what is wrong.
    gw.upload("echo", "1.0.0", guest("unknown-import")).await.expect_problem(409, "version-exists");
    assert_eq!(gw.files(), before);
    assert_eq!(gw.get(&format!("{MODULES}/echo")).await.json(), first);
}

#[tokio::test]
async fn a_list_has_pages_a_total_and_filters() {
    let gw = TestGateway::start().await;
    for (index, name) in ["alpha", "beta", "gamma", "beta-two"].into_iter().enumerate() {
        let form = form(name, "1.0.0", echo(name)).text("description", format!("100%_{index}"));
        gw.upload_form(form).await.expect_status(201);
    }
    gw.upload("beta", "1.1.0", echo("newer")).await.expect_status(201);
    let listed = gw.get(MODULES).await.expect_status(200);
    let all = names(&listed);
    assert_eq!((listed.json()["page"].clone(), listed.json()["limit"].clone()), (json!(1), json!(50)));
    assert_eq!((listed.json()["total"].clone(), all.len()), (json!(5), 5));
    let mut paged = Vec::new();
    for page in 1..=3 {
        let listing = gw.get(&format!("{MODULES}?page={page}&limit=2")).await.expect_status(200);
        assert_eq!(listing.json()["total"], 5);
        paged.extend(names(&listing));
    }
    assert_eq!(paged, all);
    let beyond = gw.get(&format!("{MODULES}?page=4294967295&limit=200")).await.expect_status(200);
    assert_eq!((names(&beyond).len(), beyond.json()["total"].clone()), (0, json!(5)));
    for (query, expected) in [
        ("name=beta", 2),
        ("name=bet", 0),
        ("q=beta", 3),
        ("q=BETA", 3),
        ("q=100%25_2", 1),
        ("q=%25", 4),
        ("q=_", 4),
        ("q=';drop table modules;--", 0),
        ("kind=job-step", 5),
        ("kind=http", 0),
        ("q=beta&name=beta-two&kind=job-step", 1),
        ("q=&name=", 5),
    ] {
        let listing = gw.get(&format!("{MODULES}?{query}")).await.expect_status(200);
        assert_eq!((names(&listing).len(), listing.json()["total"].clone()), (expected, json!(expected)), "{query}");
    }
}

#[tokio::test]
async fn a_bad_parameter_of_a_list_is_refused_by_name() {
    let gw = TestGateway::start().await;
    for (query, code, path) in [
        ("page=0", "bad-request", "page"),
        ("page=-1", "bad-request", "page"),
        ("page=x", "bad-request", "page"),
        ("page=4294967296", "bad-request", "page"),
        ("limit=0", "bad-request", "limit"),
        ("limit=201", "bad-request", "limit"),
        ("kind=wasm", "bad-request", "kind"),
        ("page=1&page=2", "bad-request", "page"),
        ("colour=red", "unknown-field", "colour"),
        (&format!("q={}", "x".repeat(201)), "bad-request", "q"),
    ] {
        let problem = gw.get(&format!("{MODULES}?{query}")).await.expect_problem(400, code);
        assert_eq!(problem["errors"][0]["path"], path, "{query}: {problem}");
        assert_eq!(problem["instance"], MODULES);
    }
    let problem = gw.get(&format!("{MODULES}?page=0&limit=0&a=1")).await.expect_problem(400, "bad-request");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
}

#[tokio::test]
async fn a_module_is_found_by_id_by_name_and_by_what_its_version_must_be() {
    let gw = TestGateway::start().await;
    for version in ["1.2.0", "1.10.0", "1.9.9", "2.0.0-rc.1"] {
        gw.upload("rules", version, echo(version)).await.expect_status(201);
    }
    let show = async |reference: &str| gw.get(&format!("{MODULES}/{reference}")).await;
    for (reference, version) in [
        ("rules", "1.10.0"),
        ("rules@1.2.0", "1.2.0"),
        ("rules@^1.2", "1.10.0"),
        ("rules@%5E1.2", "1.10.0"),
        ("rules%40~1.9", "1.9.9"),
        ("rules@*", "1.10.0"),
        ("rules@2.0.0-rc.1", "2.0.0-rc.1"),
    ] {
        let module = show(reference).await.expect_status(200).json();
        assert_eq!(module["version"], version, "{reference}");
        let by_id = show(module["id"].as_str().unwrap()).await.expect_status(200).json();
        assert_eq!(by_id, module);
    }
    for reference in [
        "other",
        "rules@2.0.0",
        "rules@^3",
        "rules@",
        "@1.0.0",
        "Rules",
        "rules@1@2",
        "..",
        "rules%00",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%2f..%2fsluice.db",
        "rules%ff",
        "019377ab-0000-7000-8000-000000000000",
    ] {
        for path in ["", "/download"] {
            let answer = gw.get(&format!("{MODULES}/{reference}{path}")).await;
            answer.expect_problem(404, "not-found");
        }
        gw.invoke(reference, json!(1)).await.expect_problem(404, "not-found");
        let delete = gw.request(Method::DELETE, &format!("{MODULES}/{reference}"));
        Answer::of(delete).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn a_download_is_the_bytes_that_were_uploaded_with_their_digest_as_tag() {
    let gw = TestGateway::start().await.module("echo").await;
    let path = format!("{MODULES}/echo@1.0.0/download");
    let answer = gw.get(&path).await.expect_status(200);
    assert_eq!(answer.body, guest("echo"));
    let etag = format!("\"{}\"", Digest::of(&guest("echo")));
    assert_eq!(answer.header("etag"), etag);
    assert_eq!(answer.header("content-type"), "application/wasm");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"echo-1.0.0.wasm\"");
    assert_eq!(answer.header("content-length"), guest("echo").len().to_string());
    for (tag, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"other\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (etag.trim_matches('"').to_owned(), 200),
    ] {
        let conditional = gw.request(Method::GET, &path).header("if-none-match", &tag);
        let answer = Answer::of(conditional).await.expect_status(status);
        assert_eq!((answer.header("etag"), answer.body.is_empty()), (&*etag, status == 304), "{tag}");
    }
    let head = Answer::of(gw.request(Method::HEAD, &path)).await.expect_status(200);
    assert_eq!(head.body.len(), 0);
    for name in ["etag", "content-type", "content-disposition", "content-length"] {
        assert_eq!(head.header(name), answer.header(name), "{name}");
    }
}

#[tokio::test]
async fn a_deleted_module_is_gone_with_its_bytes_and_its_code() {
    let gw = TestGateway::start().await;
    let before = gw.files();
    let module = gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201).json();
    gw.invoke("echo", json!(1)).await.expect_status(200);
    assert_eq!((gw.files().blobs.len(), gw.files().artifacts.len()), (1, 1));
    let id = module["id"].as_str().unwrap();
    let delete = || gw.request(Method::DELETE, &format!("{MODULES}/{id}"));
    let answer = Answer::of(delete()).await.expect_status(204);
    assert!(answer.body.is_empty());
    assert_eq!(gw.files(), before);
    Answer::of(delete()).await.expect_problem(404, "not-found");
    for path in [format!("{MODULES}/{id}"), format!("{MODULES}/echo"), format!("{MODULES}/echo/download")] {
        gw.get(&path).await.expect_problem(404, "not-found");
    }
    gw.invoke("echo", json!(1)).await.expect_problem(404, "not-found");
    assert_eq!(gw.get(MODULES).await.json()["total"], 0);
    // A version is immutable while it is there, and free again afterwards.
    let other = gw.upload("echo", "1.0.0", echo("b")).await.expect_status(201).json();
    assert_ne!(other["id"], module["id"]);
    gw.invoke("echo", json!(1)).await.expect_status(200);
}

#[tokio::test]
async fn two_names_share_their_bytes_until_the_last_of_them_goes() {
    let gw = TestGateway::start().await;
    for name in ["one", "two"] {
        gw.upload(name, "1.0.0", echo("a")).await.expect_status(201);
    }
    assert_eq!((gw.files().blobs.len(), gw.files().artifacts.len()), (1, 1));
    let delete = async |name: &str| Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/{name}"))).await;
    delete("one").await.expect_status(204);
    assert_eq!((gw.files().blobs.len(), gw.files().artifacts.len()), (1, 1));
    assert_eq!(gw.get(&format!("{MODULES}/two/download")).await.expect_status(200).body, echo("a"));
    gw.invoke("two", json!("x")).await.expect_status(200);
    delete("two").await.expect_status(204);
    assert_eq!((gw.files().blobs.len(), gw.files().artifacts.len()), (0, 0));
}

#[tokio::test]
async fn a_call_that_runs_while_its_module_is_deleted_finishes() {
    let gw = TestGateway::start().await.module("spin").await;
    let (answer, ()) = tokio::join!(gw.invoke_with("spin", "sleep", json!({"input": {"ms": 1500}})), async {
        let running = |answer: &Answer| answer.json()["total"] == 1;
        gw.eventually("/api/v1/wasm/executions?status=running", running).await;
        Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/spin"))).await.expect_status(204);
        assert_eq!((gw.files().blobs.len(), gw.files().artifacts.len()), (0, 0));
    });
    let answer = answer.expect_status(200);
    let id = answer.json()["execution_id"].as_str().unwrap().to_owned();
    // Its log went with the module, and does not come back with its end.
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let later = gw.invoke("echo", json!(1)).await.json()["execution_id"].as_str().unwrap().to_owned();
    gw.execution(&later).await;
    gw.get(&format!("/api/v1/wasm/executions/{id}")).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn of_several_uploads_of_one_version_at_once_one_is_stored() {
    let gw = TestGateway::start().await;
    for round in 0..4 {
        let version = format!("1.{round}.0");
        // Two kinds of bytes, four uploads of each.
        let uploads = (0..8).map(|index| {
            let seed = format!("{round}-{}", index % 2);
            let (gw, version) = (&gw, &version);
            async move { (seed.clone(), gw.upload("raced", version, echo(&seed)).await) }
        });
        let answers = join_all(uploads).await;
        let stored = gw.get(&format!("{MODULES}/raced@{version}")).await.expect_status(200).json();
        let created = answers.iter().filter(|(_, answer)| answer.status == 201).count();
        assert_eq!(created, 1);
        for (seed, answer) in answers {
            let is_stored = stored["sha256"] == Digest::of(&echo(&seed)).to_string();
            match answer.status.as_u16() {
                200 | 201 => assert_eq!((is_stored, answer.json()), (true, stored.clone())),
                _ => {
                    answer.expect_problem(409, "version-exists");
                    assert!(!is_stored);
                }
            }
        }
        assert_eq!(gw.files().blobs.len(), round + 1);
        assert_eq!(gw.files().artifacts.len(), round + 1);
    }
}

#[tokio::test]
async fn uploads_and_deletes_of_the_same_bytes_at_once_never_lose_them() {
    let gw = TestGateway::start().await;
    let one = |index: usize| {
        let gw = &gw;
        async move {
            let name = format!("n{index}");
            for _ in 0..5 {
                gw.upload(&name, "1.0.0", echo("shared")).await.expect_status(201);
                gw.invoke(&name, json!(index)).await.expect_status(200);
                let download = gw.get(&format!("{MODULES}/{name}/download")).await.expect_status(200);
                assert_eq!(download.body, echo("shared"));
                Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/{name}"))).await.expect_status(204);
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(2), join_all((0..6).map(one))).await.unwrap();
    assert_eq!((gw.files().blobs.len(), gw.files().artifacts.len(), gw.files().others.len()), (0, 0, 0));
}

#[tokio::test]
async fn a_module_that_somebody_else_deletes_is_deleted_once() {
    let gw = TestGateway::start().await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let delete = || async { Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/echo"))).await.status.as_u16() };
    let mut statuses = join_all((0..6).map(|_| delete())).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404, 404, 404, 404, 404]);
}
