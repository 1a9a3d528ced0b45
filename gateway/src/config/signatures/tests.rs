use super::*;
use crate::config::{Config, Sources};

/// The base64 of a key that can be checked with.
fn key() -> String {
    crate::model::PrivateKey::from_seed(&[5; 32]).public_key().to_string()
}

fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sluice.toml");
    std::fs::write(&path, file).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { file: Some(path), env, data_dir: Some("/d".into()), ..Sources::default() };
    Config::load(sources).map_err(|error| {
        let report = error.to_string();
        report.lines().map(|line| line.split("sluice.toml:").last().unwrap()).collect::<Vec<_>>().join("\n")
    })
}

fn report(file: &str) -> String {
    load(file, &[]).unwrap_err()
}

#[test]
fn keys_are_read_with_their_windows_and_printed_as_they_load() {
    let pem = key().parse::<PublicKey>().unwrap().to_pem().unwrap();
    let file = format!(
        "[signatures]\nmode = \"required\"\n[[signatures.keys]]\nid = \"release-2026\"\npublic_key = \"{}\"\n\
         not_before = \"2026-01-01T00:00:00Z\"\n[[signatures.keys]]\nid = \"old\"\npublic_key = \"\"\"\n{pem}\"\"\"\n\
         revoked = true\nnot_after = \"2027-01-01T00:00:00+01:00\"\n",
        key()
    );
    let config = load(&file, &[]).unwrap();
    let [release, old] = config.signatures.keys.as_slice() else { panic!("{:?}", config.signatures) };
    assert_eq!((release.id.as_str(), release.revoked, old.revoked), ("release-2026", false, true));
    assert_eq!(release.public_key, old.public_key);
    assert_eq!(release.not_before, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(old.not_after, Some("2026-12-31T23:00:00Z".parse().unwrap()));
    assert_eq!(config.signatures.mode, SignatureMode::Required);
    assert_eq!(load(&config.print(), &[]).unwrap(), config);
}

#[test]
fn a_variable_holds_the_list_in_toml() {
    let list = format!("[{{id = \"a\", public_key = \"{}\", revoked = true}}]", key());
    let config = load("", &[("SLUICE__SIGNATURES__KEYS", &list)]).unwrap();
    assert_eq!(config.signatures.keys.len(), 1);
    assert!(config.signatures.keys[0].revoked);
    for list in ["a", "3", "[1]", "[{]", "[]\nx = 1"] {
        let error = load("", &[("SLUICE__SIGNATURES__KEYS", list)]).unwrap_err();
        assert!(error.contains("expected a list of tables"), "{list}: {error}");
    }
}

#[test]
fn every_mistake_in_a_key_is_told_where_it_is() {
    let key = key();
    let keys = |keys: &str| report(&format!("[signatures]\n{keys}"));
    assert_eq!(
        keys("[[signatures.keys]]\nid = \"\"\npublic_key = \"AAAA\"\nnot_befor = 3\nrevoked = \"yes\"\n"),
        "3: [signatures.keys] id: expected 1 to 128 characters, none of them a control character\n\
         4: [signatures.keys] public_key: expected base64 of 32 bytes, or a PEM with `-----BEGIN PUBLIC KEY-----`\n\
         5: [signatures.keys] not_befor: there is no such key; did you mean `not_before`?\n\
         6: [signatures.keys] revoked: expected true or false, found a string"
    );
    let missing = keys("[[signatures.keys]]\nrevoked = false\n");
    assert_eq!(missing, "2: [signatures.keys] id: is missing\n2: [signatures.keys] public_key: is missing");
    let one = format!("[[signatures.keys]]\nid = \"a\"\npublic_key = \"{key}\"\n");
    assert_eq!(keys(&format!("{one}{one}")), "6: [signatures.keys] id: another key has this id");
    let turned = format!("{one}not_before = \"2026-01-01T00:00:00Z\"\nnot_after = \"2025-01-01T00:00:00Z\"\n");
    assert!(keys(&turned).contains("not_after: expected a time after `not_before`"), "{}", keys(&turned));
    assert!(keys(&format!("{one}not_after = \"tomorrow\"\n")).contains("2026-01-01T00:00:00Z"));
    assert!(keys("keys = 3\n").contains("expected a list of tables, found 3"));
    // The eight points of small order are keys that sign everything.
    let weak = format!("[[signatures.keys]]\nid = \"a\"\npublic_key = \"{}=\"\n", "A".repeat(43));
    assert!(keys(&weak).contains("small order"), "{}", keys(&weak));
}

#[test]
fn required_without_a_key_that_is_trusted_would_refuse_everything_and_is_a_mistake() {
    let error = report("[signatures]\nmode = \"required\"\n");
    assert!(error.starts_with("2: [signatures] mode: `required` needs a key"), "{error}");
    let revoked = format!(
        "[signatures]\nmode = \"required\"\nkeys = [{{id = \"a\", public_key = \"{}\", revoked = true}}]",
        key()
    );
    assert!(report(&revoked).contains("not revoked"));
    assert!(report("[signatures]\nmode = \"on\"\n").contains("expected `off`, `optional` or `required`"));
}

#[test]
fn a_window_holds_from_its_first_instant_to_before_its_last() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let key = TrustedKey {
        id: "a".to_owned(),
        public_key: key().parse().unwrap(),
        not_before: Some(at("2026-01-01T00:00:00Z")),
        not_after: Some(at("2027-01-01T00:00:00Z")),
        revoked: false,
    };
    assert_eq!(key.trusted_at(at("2026-01-01T00:00:00Z")), Ok(()));
    assert_eq!(key.trusted_at(at("2026-12-31T23:59:59.999999Z")), Ok(()));
    assert!(matches!(key.trusted_at(at("2025-12-31T23:59:59Z")), Err(Untrusted::NotYetValid(_))));
    assert!(matches!(key.trusted_at(at("2027-01-01T00:00:00Z")), Err(Untrusted::Expired(_))));
    let revoked = TrustedKey { revoked: true, ..key };
    assert_eq!(revoked.trusted_at(at("2026-06-01T00:00:00Z")), Err(Untrusted::Revoked));
}
