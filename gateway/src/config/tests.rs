use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::{Blobs, Config, Error, Limits, LogFormat, Runtime, Server, Sources, Store, Telemetry};

/// Loads `file` and `env`, with an absent default file.
pub(super) fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sluice.toml");
    fs::write(&path, file).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(Sources { file: Some(path), env, data_dir: Some("/d".into()), ..Sources::default() })
}

/// The report on `file` and `env`, with the file's name as it is by default.
pub(super) fn report(file: &str, env: &[(&str, &str)]) -> Vec<String> {
    let error = load(file, env).unwrap_err().to_string();
    let lines = error.lines().map(|line| match line.find("sluice.toml:") {
        Some(start) => line[start..].to_owned(),
        None => line.to_owned(),
    });
    lines.collect()
}

#[test]
fn nothing_given_means_the_defaults_on_loopback_below_the_data_folder() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.server, Server::default());
    assert!(config.server.listen.ip().is_loopback());
    assert_eq!(config.store, Store::Sqlite { path: "/d/sluice.db".into() });
    assert_eq!(config.blobs, Blobs::Folder { path: "/d/blobs".into() });
    assert_eq!((config.runtime, config.limits), (Runtime::default(), Limits::default()));
    assert_eq!(config.telemetry, Telemetry::default());
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    fs::write(&file, "[server]\nlisten = \"127.0.0.1:1\"\nhead_bytes = 2000\nbody_bytes = 3000\n").unwrap();
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let config = Config::load(Sources {
        file: Some(file),
        listen: Some("[::1]:3".to_owned()),
        data_dir: None,
        env: vec![
            variable("SLUICE__SERVER__LISTEN", "127.0.0.1:2"),
            variable("SLUICE__SERVER__HEAD_BYTES", "4000"),
            variable("SLUICE_SERVER", "http://not.ours"),
            variable("PATH", "/bin"),
        ],
    })
    .unwrap();
    assert_eq!(config.server.listen, "[::1]:3".parse::<SocketAddr>().unwrap());
    assert_eq!((config.server.head_bytes, config.server.body_bytes), (4000, 3000));
    assert_eq!(config.data_dir, Path::new("./data"));
}

#[test]
fn five_mistakes_are_five_lines_in_the_order_of_the_file() {
    let file = "[server]\nlisten = \"localhost\"\nhead_bytes = 12\n\n[limits]\nfeul = 3\nmemory_bytes = \"64 MB\"\n";
    assert_eq!(
        report(file, &[("SLUICE__RUNTIME__INSTANCES", "many")]),
        [
            "sluice.toml:2: [server] listen: expected ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080",
            "sluice.toml:3: [server] head_bytes: expected 1024 to 1048576, found 12",
            "sluice.toml:6: [limits] feul: there is no such key; did you mean `fuel`?",
            "sluice.toml:7: [limits] memory_bytes: expected a whole number, found a string",
            "SLUICE__RUNTIME__INSTANCES: [runtime] instances: expected a whole number, found `many`",
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_is_one_mistake_with_its_position_and_the_rest_is_still_checked() {
    let lines = report("[server]\nhead_bytes = = 1\n", &[("SLUICE__LIMITS__FUEL", "0")]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("sluice.toml:2: column 14: not TOML: "), "{lines:?}");
    assert!(lines[1].starts_with("SLUICE__LIMITS__FUEL: [limits] fuel: "), "{lines:?}");
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("sluice.toml");
    let error = Config::load(Sources { file: Some(absent.clone()), ..Sources::default() }).unwrap_err();
    assert!(error.to_string().contains("the file can't be read"), "{error}");
    Config::load_or_default(Sources::default(), &absent).unwrap();

    fs::write(&absent, "[runtime]\ninstances = 7\n").unwrap();
    let config = Config::load_or_default(Sources::default(), &absent).unwrap();
    assert_eq!(config.runtime.instances, 7);
}

#[test]
fn a_file_without_end_is_refused_and_not_read_to_the_end() {
    let error = Config::load(Sources { file: Some("/dev/zero".into()), ..Sources::default() }).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn databases_have_names_of_their_own_in_the_file_and_in_variables() {
    let file = "[databases.orders]\nurl = \"sqlite:orders.db\"\nread_only = true\n\
                [databases.shop]\nurl = \"postgres://ann:hunter2@db/shop\"";
    let env = [("SLUICE__DATABASES__SHOP__POOL", "3"), ("SLUICE__DATABASES__LEGACY__URL", "mysql://u:hunter2@h/d")];
    let config = load(file, &env).unwrap();
    assert_eq!(config.databases.keys().collect::<Vec<_>>(), ["legacy", "orders", "shop"]);
    assert!(config.databases["orders"].read_only && !config.databases["shop"].read_only);
    assert_eq!(config.databases["shop"].pool, 3);
    assert!(!config.print().contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    let lines = report(
        "[databases]\nurl = \"sqlite:a\"\n[databases.a]\npool = 1\n[databases.\"a b\"]\nurl = \"sqlite:a\"\n\
         [databases.c]\nurl = \"oracle:x\"\npol = 2",
        &[("SLUICE__DATABASES__URL", "sqlite:a")],
    );
    let form = "expected `sqlite:PATH`, `postgres://…` or `mysql://…`";
    assert_eq!(
        lines,
        [
            "sluice.toml:2: [databases] url: expected a section, [databases.NAME]",
            &format!("sluice.toml:4: [databases.a] url: {form}"),
            "sluice.toml:6: [databases.a b]: the name of a database has 1 to 64 letters, digits, `-` and `_`",
            &format!("sluice.toml:8: [databases.c] url: {form}"),
            "sluice.toml:9: [databases.c] pol: there is no such key; did you mean `pool`?",
            "SLUICE__DATABASES__URL: expected SLUICE__DATABASES__NAME__KEY",
        ]
    );
}

#[test]
fn secrets_come_from_the_configuration_a_variable_or_a_file_and_are_never_shown() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "from a file\n").unwrap();
    let file =
        format!("[secrets]\nKey-1 = \"hunter2\"\ntoken = {{file = \"{}\"}}\nhome = {{env = \"PATH\"}}", path.display());
    let config = load(&file, &[("SLUICE__SECRETS__OTHER", "hunter3")]).unwrap();
    let value = |name: &str| config.secrets.get(name).map(|value| value.expose_secret().to_owned());
    assert_eq!(value("Key-1").as_deref(), Some("hunter2"));
    assert_eq!(value("token").as_deref(), Some("from a file"));
    assert_eq!(value("home"), std::env::var("PATH").ok());
    assert_eq!(value("other").as_deref(), Some("hunter3"));
    assert!(!config.print().contains("hunter") && !format!("{config:?}").contains("hunter"));
    let wrong = "[secrets]\na = 5\n\"b c\" = \"x\"\nd = {env = \"NO_SUCH_VARIABLE\"}\n\
                 e = {file = \"/no/such\"}\nf = \"\"\ng = {env = \"PATH\", file = \"x\"}";
    let lines = report(wrong, &[]);
    let said = ["expected a string", "1 to 64", "is not set", "can't be read", "empty", "expected a string"];
    assert_eq!(lines.len(), said.len(), "{lines:#?}");
    for (line, said) in lines.iter().zip(said) {
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn unknown_sections_and_keys_are_refused_with_the_likeliest_known_one() {
    assert!(report("[sever]\n", &[])[0].ends_with("did you mean `server`?"));
    assert!(report("[weather]\n", &[])[0].contains("there are server, store"));
    assert!(report("listen = \"127.0.0.1:1\"\n", &[])[0].contains("every key is in a section"));
    assert!(report("server = 3\n", &[])[0].contains("this is a section"));
    assert!(report("[server]\ndata_dir = \"/d\"\n", &[])[0].contains("--data-dir"));
    assert!(report("", &[("SLUICE__SERVER__DATA_DIR", "/d")])[0].contains("--data-dir"));
    assert!(report("", &[("SLUICE__SERVER", "x")])[0].contains("SLUICE__SECTION__KEY"));
    assert!(report("", &[("SLUICE__server__listen", "x")])[0].contains("lower-case"));
}

#[test]
fn a_mistake_stays_one_line_whatever_is_given() {
    let file = "[server]\n\"a\\nb\" = 1\n[\"c\\nd\"]\n";
    let lines = report(file, &[("SLUICE__LIMITS__FUEL", "1\n2"), ("SLUICE__LIMITS__X\nY", "3")]);
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[test]
fn the_default_bound_of_output_follows_a_small_memory_and_a_given_one_is_refused() {
    let config = load("[limits]\nmemory_bytes = 65536\n", &[]).unwrap();
    assert_eq!(config.limits.output_bytes, 65536);
    let lines = report("[limits]\noutput_bytes = 65537\nmemory_bytes = 65536\n", &[]);
    assert_eq!(lines, ["sluice.toml:2: [limits] output_bytes: expected 1 to 65536, found 65537"]);
}

#[test]
fn a_password_is_neither_printed_nor_reported_nor_debugged() {
    let file = "[telemetry]\notlp_endpoint = \"https://ann:hunter2@collector.example\"\n";
    let config = load(file, &[]).unwrap();
    assert!(!config.print().contains("hunter2") && !config.print().contains("ann"), "{}", config.print());
    assert!(config.print().contains("***@collector.example"));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.telemetry.otlp_endpoint.unwrap(), "https://ann:hunter2@collector.example");

    let lines = report("[telemetry]\notlp_endpoint = \"ftp://ann:hunter2@collector.example\"\n", &[]);
    assert!(!lines[0].contains("hunter2"), "{lines:?}");
}

#[test]
fn the_password_of_a_database_is_in_nothing_that_is_shown() {
    let file = "[store]\nurl = \"postgres://ann:hunter2@db.example/rows\"\npool = 3\n";
    let config = load(file, &[]).unwrap();
    assert!(!config.print().contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    assert!(config.print().contains("\"postgres://ann:***@db.example/rows\"\npool = 3"), "{}", config.print());
    let lines = report("[store]\nurl = \"postgres://ann:hunter2@db.example/rows?sslmod=x\"\n", &[]);
    assert!(lines[0].contains("[store] url") && !lines[0].contains("hunter2"), "{lines:?}");
}

#[test]
fn a_relative_path_is_below_the_data_folder_and_an_absolute_one_is_not() {
    let config = load("[store]\nurl = \"sqlite:rows/a.db\"\n[blobs]\nurl = \"fs:/srv/blobs\"\n", &[]).unwrap();
    assert_eq!(config.store, Store::Sqlite { path: "/d/rows/a.db".into() });
    assert_eq!(config.blobs, Blobs::Folder { path: "/srv/blobs".into() });
}

#[test]
fn a_bucket_has_its_parts_and_its_keys_are_never_shown() {
    let url = "url = \"s3://bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-1\"";
    let keys = "access_key_id = \"AKIA1\"\nsecret_access_key = \"hunter2\"\nsession_token = \"hunter3\"";
    let config = load(&format!("[blobs]\n{url}\n{keys}\ntimeout_ms = 7\n"), &[]).unwrap();
    let Blobs::S3(s3) = &config.blobs else { panic!("{config:?}") };
    assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("bucket", "a/b"));
    assert_eq!((s3.endpoint.as_deref(), s3.region.as_deref()), (Some("http://127.0.0.1:9000"), Some("eu-1")));
    assert_eq!((s3.timeout_ms, s3.total_timeout_ms), (7, 300_000));
    let credentials = s3.credentials.clone().unwrap();
    assert_eq!(
        (credentials.secret_access_key.as_str(), credentials.session_token.as_deref()),
        ("hunter2", Some("hunter3"))
    );
    for shown in [config.print(), format!("{config:?}")] {
        assert!(!shown.contains("hunter") && !shown.contains("AKIA1"), "{shown}");
    }
    assert!(
        config.print().contains("s3://bucket/a/b?endpoint=http://127.0.0.1:9000&region=eu-1"),
        "{}",
        config.print()
    );
}

#[test]
fn a_bucket_that_is_wrongly_written_is_refused_without_repeating_it() {
    for (wrong, said) in [
        ("url = \"s3:bucket\"", "bucket is missing"),
        ("url = \"s3:///prefix\"", "bucket is missing"),
        ("url = \"s3://AKIA:hunter2@bucket\"", "keys are not part"),
        ("url = \"s3://bucket:9000\"", "endpoint"),
        ("url = \"s3://bucket?endpoint=127.0.0.1\"", "`endpoint` is a URL"),
        ("url = \"s3://bucket?endpoint=http://a:hunter2@h\"", "`endpoint` is a URL"),
        ("url = \"s3://bucket?region=a&region=b\"", "twice"),
        ("url = \"s3://bucket?secret=hunter2\"", "parameters"),
        ("url = \"s3://bucket\"\naccess_key_id = \"hunter2\"", "go together"),
        ("url = \"s3://bucket\"\nsecret_access_key = \"hunter2\"", "go together"),
        ("access_key_id = \"a\"\nsecret_access_key = \"hunter2\"", "`s3://` only"),
        ("url = \"s3://bucket\"\ntimeout_ms = 0", "expected 1 to"),
        ("url = \"fs:blobs\"\ntimeout_ms = 5000", "`s3://` only"),
        ("total_timeout_ms = 5000", "`s3://` only"),
    ] {
        let lines = report(&format!("[blobs]\n{wrong}\n"), &[]);
        assert!(lines[0].contains(said), "{wrong}: {lines:?}");
        assert!(!lines.concat().contains("hunter2"), "{lines:?}");
    }
}

/// Every mistake is in a key, section or variable of its own: where, what (its
/// section and line of the file, or its variable), and the path in the report.
enum Wrong {
    File(&'static str, &'static str, &'static str),
    Variable(&'static str, &'static str, &'static str),
}

const WRONG: &[Wrong] = &[
    Wrong::File("server", "listen = \"8080\"", "[server] listen"),
    Wrong::File("server", "drain_ms = 0", "[server] drain_ms"),
    Wrong::File("server", "head_bytes = 1023", "[server] head_bytes"),
    Wrong::File("server", "body_bytes = 1073741825", "[server] body_bytes"),
    Wrong::File("server", "idle_timeout_ms = 86400001", "[server] idle_timeout_ms"),
    Wrong::File("server", "body_timeout_ms = 1.5", "[server] body_timeout_ms"),
    Wrong::File("server", "port = 80", "[server] port"),
    Wrong::File("store", "url = \"mysql:x\"", "[store] url"),
    Wrong::File("store", "pool = 0", "[store] pool"),
    Wrong::File("blobs", "url = \"fs:\"", "[blobs] url"),
    Wrong::File("runtime", "instances = 100001", "[runtime] instances"),
    Wrong::File("runtime", "wait_ms = -1", "[runtime] wait_ms"),
    Wrong::File("runtime", "cache_bytes = [1]", "[runtime] cache_bytes"),
    Wrong::File("limits", "fuel = \"of\"", "[limits] fuel"),
    Wrong::File("limits", "memory_bytes = 4294967297", "[limits] memory_bytes"),
    Wrong::File("limits", "output_bytes = 0", "[limits] output_bytes"),
    Wrong::File("limits", "timeout_ms = 0", "[limits] timeout_ms"),
    Wrong::File("limits", "log_lines = true", "[limits] log_lines"),
    Wrong::File("limits", "log_bytes = 99999999999999999999999999999999999999999999", "[limits] log_bytes"),
    Wrong::File("limits", "module_bytes = 1073741825", "[limits] module_bytes"),
    Wrong::File("telemetry", "sample_ratio = 1.01", "[telemetry] sample_ratio"),
    Wrong::File("telemetry", "otlp_endpoint = \"grpc://h\"", "[telemetry] otlp_endpoint"),
    Wrong::File("telemetry", "log_format = \"xml\"", "[telemetry] log_format"),
    Wrong::File("store", "retention_executions_days = 0", "[store] retention_executions_days"),
    Wrong::File("store", "retention_audit_days = \"never\"", "[store] retention_audit_days"),
    Wrong::File("rate_limits", "key = 100", "[rate_limits] key"),
    Wrong::File("rate_limits", "address = {requests = 1}", "[rate_limits] address"),
    Wrong::Variable("SLUICE__RATE_LIMITS__ADRESS", "{}", "[rate_limits] adress"),
    Wrong::File("egress", "timeout_ms = 0", "[egress] timeout_ms"),
    Wrong::File("egress", "allow_private = [\"10.0.0.0/33\"]", "[egress] allow_private"),
    Wrong::File("egress", "request_bytes = 0", "[egress] request_bytes"),
    Wrong::File("egress", "response_bytes = [1]", "[egress] response_bytes"),
    Wrong::File("limit", "fuel = 3", "[limit]"),
    Wrong::Variable("SLUICE__SERVER__HEAD_TIMEOUT_MS", "", "[server] head_timeout_ms"),
    Wrong::Variable("SLUICE__RUNTIME__CACHE_MODULES", "0", "[runtime] cache_modules"),
    Wrong::Variable("SLUICE__LIMITS__HOST_CALLS", "1e3", "[limits] host_calls"),
    Wrong::Variable("SLUICE__LIMITS__NOPE", "1", "[limits] nope"),
    Wrong::File("jobs", "data_bytes = 0", "[jobs] data_bytes"),
    Wrong::File("jobs", "circuit_failures = 0", "[jobs] circuit_failures"),
    Wrong::Variable("SLUICE__JOBS__WORKERS", "0", "[jobs] workers"),
    Wrong::Variable("SLUICE__WEATHER__RAIN", "1", "[weather] rain"),
];

/// The settings of valid configurations, by section, key and value as TOML.
fn settings() -> impl Strategy<Value = Vec<(&'static str, &'static str, String)>> {
    let number = |section, key, low: u64, high: u64| {
        (low..=high).prop_map(move |number| (section, key, number.to_string())).boxed()
    };
    let word = |section, key, pattern: &'static str| {
        pattern.prop_map(move |text: String| (section, key, toml::Value::from(text).to_string())).boxed()
    };
    let all = vec![
        (1_u16..).prop_map(|port| ("server", "listen", format!("\"[::1]:{port}\""))).boxed(),
        number("server", "drain_ms", 1, 86_400_000),
        number("server", "head_bytes", 1024, 1_048_576),
        word("store", "url", "sqlite:/?[a-z \"\\\\é]{1,10}/[a-z]{1,9}\\.db"),
        word(
            "blobs",
            "url",
            "fs:(\\.\\./)?[a-z \"\\\\é]{1,10}/[a-z]{1,9}|s3://[a-z0-9.-]{3,9}(/[a-z0-9]{1,3}){0,2}(\\?endpoint=https?://[a-z]{1,9}(:[1-9][0-9]{0,3})?(&region=[a-z0-9-]{1,9})?)?",
        ),
        number("runtime", "instances", 1, 100_000),
        number("runtime", "wait_ms", 0, 86_400_000),
        prop_oneof![Just("\"off\"".to_owned()), (1..=i64::MAX).prop_map(|fuel| fuel.to_string())]
            .prop_map(|fuel| ("limits", "fuel", fuel))
            .boxed(),
        number("store", "retention_executions_max", 1, 1_000_000_000_000),
        number("store", "retention_audit_days", 1, 36_525),
        (1..1_000_000_u32, 1..86_400_u32)
            .prop_map(|(n, w)| ("rate_limits", "key", format!("{{requests = {n}, window_s = {w}}}")))
            .boxed(),
        number("jobs", "lease_ms", 1_000, 3_600_000),
        number("jobs", "circuit_open_ms", 1, 3_600_000),
        number("limits", "memory_bytes", 65_536, 4_294_967_296),
        number("limits", "output_bytes", 1, 65_536),
        number("limits", "log_lines", 0, 1_000_000),
        (0.0..=1.0).prop_map(|ratio: f64| ("telemetry", "sample_ratio", format!("{ratio:?}"))).boxed(),
        word("telemetry", "otlp_endpoint", "https?://[a-z]{1,20}(:[1-9][0-9]{0,3})?(/[a-z]{1,5})?"),
        word("telemetry", "log_format", "auto|text|json"),
    ];
    let count = all.len();
    (all, subsequence((0..count).collect::<Vec<_>>(), 0..=count))
        .prop_map(|(all, kept)| kept.into_iter().map(|index| all[index].clone()).collect())
}

fn as_toml<'a>(lines: &(impl Iterator<Item = (&'a str, String)> + Clone)) -> String {
    let mut sections: Vec<&str> = lines.clone().map(|(section, _)| section).collect();
    sections.sort_unstable();
    sections.dedup();
    let text = sections.into_iter().flat_map(|section| {
        let body = lines.clone().filter(move |(of, _)| *of == section).map(|(_, line)| line);
        std::iter::once(format!("[{section}]")).chain(body)
    });
    text.map(|line| line + "\n").collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_set_of_mistakes_is_reported_whole_one_line_each(
        wrong in subsequence((0..WRONG.len()).collect::<Vec<_>>(), 1..=WRONG.len())
    ) {
        let wrong: Vec<&Wrong> = wrong.into_iter().map(|index| &WRONG[index]).collect();
        let lines = wrong.iter().filter_map(|wrong| match wrong {
            Wrong::File(section, line, _) => Some((*section, (*line).to_owned())),
            Wrong::Variable(..) => None,
        });
        let env: Vec<(&str, &str)> = wrong.iter().filter_map(|wrong| match wrong {
            Wrong::File(..) => None,
            Wrong::Variable(name, value, _) => Some((*name, *value)),
        }).collect();
        let reported = report(&as_toml(&lines), &env);
        prop_assert_eq!(reported.len(), wrong.len(), "{:#?}", reported);
        for Wrong::File(.., path) | Wrong::Variable(.., path) in wrong {
            let found = reported.iter().filter(|line| line.contains(&format!(": {path}: "))).count();
            prop_assert_eq!(found, 1, "{} in {:#?}", path, reported);
        }
    }

    #[test]
    fn what_is_printed_loads_to_the_same_configuration(settings in settings()) {
        let lines = settings.iter().map(|(section, key, value)| (*section, format!("{key} = {value}")));
        let config = load(&as_toml(&lines), &[]).unwrap();
        prop_assert_eq!(load(&config.print(), &[]).unwrap(), config);
    }

    #[test]
    fn a_variable_means_what_the_file_means(settings in settings()) {
        let lines = settings.iter().map(|(section, key, value)| (*section, format!("{key} = {value}")));
        let env: Vec<(String, String)> = settings.iter().map(|(section, key, value)| {
            let text = format!("v = {value}").parse::<toml::Table>().unwrap().remove("v").unwrap();
            let text = text.as_str().map_or(value.clone(), str::to_owned);
            (format!("SLUICE__{}__{}", section.to_uppercase(), key.to_uppercase()), text)
        }).collect();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        prop_assert_eq!(load("", &env).unwrap(), load(&as_toml(&lines), &[]).unwrap());
    }

    #[test]
    fn no_file_and_no_variable_panics(file in "(\\[[a-z]{1,6}\\]\n)?[ -~\n]{0,200}", value in ".{0,50}") {
        let _ = load(&file, &[("SLUICE__LIMITS__FUEL", &value), ("SLUICE__STORE__URL", &value)]);
    }
}

#[test]
fn log_format_is_one_of_three_words() {
    for (word, format) in [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)] {
        let config = load("", &[("SLUICE__TELEMETRY__LOG_FORMAT", word)]).unwrap();
        assert_eq!(config.telemetry.log_format, format);
    }
}

#[test]
fn the_configuration_of_a_folder_is_one_that_could_be_loaded() {
    let folder = PathBuf::from("/d");
    let config = Config::in_folder(folder);
    assert_eq!(load(&config.print(), &[]).unwrap(), config);
}

#[test]
fn a_rate_limit_is_a_table_of_two_numbers_in_the_file_and_in_a_variable() {
    for (file, env) in [
        ("[rate_limits]\nkey = {requests = 5, window_s = 60}", None),
        ("[rate_limits.key]\nrequests = 5\nwindow_s = 60", None),
        ("", Some(("SLUICE__RATE_LIMITS__KEY", "{requests = 5, window_s = 60}"))),
    ] {
        let limits = load(file, env.as_slice()).unwrap().rate_limits;
        let key = limits.key.unwrap();
        assert_eq!((key.requests.get(), key.window_s.get(), limits.address), (5, 60, None), "{file}");
    }
    let lines = report("[rate_limits]\nkey = {requests = 0, window_s = 60}", &[]);
    assert_eq!(lines, ["sluice.toml:2: [rate_limits] key: requests: expected 1 to 1000000, found 0"]);
    for wrong in ["5", "[5]", "{requests = 5}", "{requests = 5, window_s = 60, more = 1}", "{", "{}\n[limits]"] {
        assert_eq!(report("", &[("SLUICE__RATE_LIMITS__KEY", wrong)]).len(), 1, "{wrong}");
    }
}

#[test]
fn retention_has_defaults_and_can_be_off() {
    use super::Retention;
    assert_eq!(load("", &[]).unwrap().retention, Retention::default());
    let file =
        "[store]\nretention_executions_days = \"off\"\nretention_executions_max = \"off\"\nretention_audit_days = 7";
    let expected = Retention { executions_days: None, executions_max: None, audit_days: Some(7) };
    assert_eq!(load(file, &[]).unwrap().retention, expected);
}
