//! The command line as a user types it.

use clap::{CommandFactory as _, Parser as _};

use super::Cli;

fn parses(line: &str) -> bool {
    Cli::try_parse_from(line.split_whitespace()).is_ok()
}

#[test]
fn the_definition_of_the_arguments_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_line_of_the_guide_is_understood() {
    for line in [
        "sluice serve --config sluice.toml --listen 127.0.0.1:0 --data-dir ./data",
        "sluice init price-check --lang rust --path steps/price-check",
        "sluice build",
        "sluice build steps/price-check --json",
        "sluice build -- -Zbuild-std=std,panic_abort",
        "sluice build --watch --server http://127.0.0.1:8080",
        "sluice init price-check --lang tinygo --example transform",
        "sluice test",
        "sluice test steps/price-check --filter coupon --junit report.xml --json",
        "sluice test --record good --input {} --data {} --module price-check --function run",
        "sluice invoke --local --input {}",
        "sluice invoke --local=steps/price-check --function run --env A=1 --json",
        "sluice completions fish",
        "sluice man",
        "sluice man --dir man",
        "sluice upload",
        "sluice upload x.wasm --name x --version 1.0.0 --description text --permissions p.json --limits l.json",
        "sluice list --q order --name order-check --kind job-step --page 2 --limit 10 --json",
        "sluice show order-check@^1",
        "sluice download order-check@1.0.0 --output x.wasm",
        "sluice delete order-check@1.0.0 --yes",
        "sluice permissions show order-check --json",
        "sluice permissions set order-check --file permissions.json",
        "sluice permissions explain order-check POST https://api.example.com/orders",
        "sluice permissions explain order-check secret:use stripe-key@api.stripe.com",
        "sluice permissions suggest order-check@^1 --json",
        "sluice invoke order-check --function run --input {} --data @d.json --env A=1 --env B=2 --timeout-ms 5 --fuel 6 --memory-bytes 7",
        "sluice invoke order-check --server https://gateway.example --key sk_x --data-dir /d --insecure-http",
        "sluice logs 01900000-0000-7000-8000-000000000000 --level warn",
        "sluice logs --follow order-check",
        "sluice key create --name ci --role invoker --expires 30d --modules order-*,tax --jobs nightly --json",
        "sluice key create --name ci --role viewer --expires 2030-01-01T00:00:00Z",
        "sluice key list --page 2 --limit 10",
        "sluice key delete 01900000-0000-7000-8000-000000000000 --yes",
        "sluice upload x.wasm --name x --version 1.0.0 --sign release.pem --key-id release-2026",
        "sluice keygen --output release.pem",
        "sluice sign x.wasm --key-file release.pem --name x --version 1.0.0 --json",
        "sluice config check --config sluice.toml",
        "sluice config print",
        "sluice --json list",
    ] {
        assert!(parses(line), "{line}");
    }
}

#[test]
fn wrong_usage_is_refused_before_anything_happens() {
    for line in [
        "sluice",
        "sluice frobnicate",
        "sluice init Bad_Name",
        "sluice init a --lang cobol",
        "sluice show a@",
        "sluice download a",
        "sluice permissions",
        "sluice permissions show",
        "sluice permissions set a",
        "sluice permissions set a --add http:write",
        "sluice permissions explain a GET",
        "sluice invoke a --env A",
        "sluice invoke a --timeout-ms soon",
        "sluice logs",
        "sluice logs not-an-id",
        "sluice logs 01900000-0000-7000-8000-000000000000 --follow a",
        "sluice upload x.wasm --sign release.pem",
        "sluice upload x.wasm --key-id release-2026",
        "sluice sign x.wasm --key-file release.pem --name x",
        "sluice keygen",
        "sluice compile-worker {}",
        "sluice init a --example nothing",
        "sluice test --record a",
        "sluice test --module a",
        "sluice invoke",
        "sluice invoke a --local",
        "sluice completions cmd",
    ] {
        assert!(!parses(line), "{line}");
    }
}

#[test]
fn help_never_shows_the_key_that_the_environment_has() {
    let mut command = Cli::command();
    let list = command.find_subcommand_mut("list").unwrap();
    let key = list.get_arguments().find(|argument| argument.get_id() == "key").unwrap();
    assert!(key.is_hide_env_values_set());
}

#[test]
fn a_permission_is_its_kind_and_its_resource() {
    let set = |flags: &[&str]| Cli::try_parse_from([&["sluice", "permissions", "set", "a"], flags].concat()).is_ok();
    assert!(set(&[
        "--add",
        "http:read https://a.example/*",
        "--add",
        "database:read orders",
        "--remove",
        "http:read [a"
    ]));
    for add in ["http:all https://a.example/*", "http:read", "http:read ", "http:read [a", ""] {
        assert!(!set(&["--add", add]), "{add}");
    }
    assert!(!set(&["--file", "a.json", "--add", "database:read orders"]));
}
