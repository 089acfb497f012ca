//! Where a value comes from, what is refused, and how the messages read.

use std::collections::HashMap;
use std::ffi::OsString;

use proptest::prelude::*;

use super::environment::{BOOT, OTLP_ENDPOINT, SAFE_BOOT, Setting, settings_of, unknown_variables};
use super::schema::LOOPBACK;
use super::*;
use crate::input::Fields;
use crate::input::json::arbitrary;
use crate::scenarios;

fn settings() -> Vec<Setting> {
    settings_of(&Config::schema(scenarios::ALL))
}

/// Every variable that sets one key, with that key.
fn variables() -> Vec<(&'static str, String)> {
    let settings = settings().into_iter();
    settings
        .map(|setting| (&*setting.variable.leak(), setting.path.join(".")))
        .collect()
}

impl Env for HashMap<&str, &str> {
    fn get(&self, name: &str) -> Option<OsString> {
        HashMap::get(self, name).map(OsString::from)
    }

    fn names(&self) -> Vec<OsString> {
        self.keys().map(OsString::from).collect()
    }
}

fn load(yaml: &str, env: &[(&'static str, &'static str)], flags: Flags) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mockserver.yaml");
    std::fs::write(&file, yaml).expect("a file");
    let env: HashMap<_, _> = env.iter().copied().collect();
    let loaded = Config::load(
        &Flags {
            file: Some(file),
            ..flags
        },
        &env,
        scenarios::ALL,
    );
    loaded
        .map(|loaded| loaded.config)
        .map_err(|error| error.to_string())
}

/// What a file may hold: bytes, text, nearly YAML, and keys that are nearly ours.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let mut keys = vec!["Token", "TokenFile", "Mode", "Level", "Path", "Format"];
    keys.extend([
        "Name", "Version", "Host", "Port", "Log", "Admin", "Auth", "DataDir",
    ]);
    let texts = [
        "127.0.0.1",
        "::1",
        "localhost",
        "info",
        "console",
        "json",
        "a",
        "/",
    ];
    let sections = prop::collection::vec(
        (
            prop::sample::select(vec!["Log", "Admin", "Auth"]),
            arbitrary::object(&keys, &texts),
        ),
        0..3,
    );
    let ours = (arbitrary::object(&keys, &texts), sections).prop_map(|(mut file, sections)| {
        let sections = sections.into_iter();
        file.extend(sections.map(|(name, inner)| (name.to_owned(), inner.into())));
        serde_yaml::to_string(&file)
            .unwrap_or_default()
            .into_bytes()
    });
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "([A-Za-z]{1,4}: ?|[-&*!|>{}\\[\\]\"'#:,%@` \n\t0-9a-z]){0,20}".prop_map(Into::into),
        6 => ours,
    ]
}

proptest! {
    #[test]
    fn any_file_and_environment_are_taken_or_refused_in_one_message(
        file in any_file(),
        boot in prop::option::of("\\{\"(fail|hang|ready_after)\": ?(true|5|\\{\\})\\}|.{0,12}"),
        env in prop::collection::vec(
            (prop::sample::select(variables()), "[0-9]{1,5}|[a-z]{0,6}|[^\\x00]{0,8}"),
            0..3,
        ),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mockserver.yaml");
        std::fs::write(&path, file).expect("a file");
        let flags = Flags { file: Some(path.clone()), ..Flags::default() };
        let env: HashMap<&str, &str> =
            env.iter().map(|((name, _), value)| (*name, value.as_str())).collect();
        let mut env = env;
        env.extend(boot.as_deref().map(|boot| (BOOT, boot)));
        match Config::load(&flags, &env, scenarios::ALL) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(mut loaded) => {
                std::fs::write(&path, loaded.as_yaml()).expect("a file");
                let again = Config::load(&flags, &HashMap::new(), scenarios::ALL);
                let mut again = again.expect("what is shown can be read");
                // Tokens are not shown.
                for config in [&mut loaded.config, &mut again.config] {
                    let auth = &mut config.auth;
                    (auth.token, auth.release_token, auth.candidate_token) = (None, None, None);
                }
                prop_assert_eq!(again.config, loaded.config);
            }
        }
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let yaml = "Name: a\nPort: 1\nLog: {Level: error, Mode: file}\n";
    let flags = Flags {
        port: Some("3".into()),
        ..Flags::default()
    };
    let env = [("MOCKSERVER_PORT", "2"), ("MOCKSERVER_LOG_LEVEL", "debug")];
    let config = load(yaml, &env, flags).expect("good");
    assert_eq!((config.name.as_str(), config.port), ("a", 3));
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.log.mode, LogMode::File);
}

#[test]
fn every_fault_is_in_one_message() {
    let yaml = "Port: 70000\nHost: here\nLog: {Level: loud}\nColour: red\nAdmin: 5\n";
    let message = load(yaml, &[], Flags::default()).expect_err("five faults");
    for part in [
        "Port: must be",
        "Host: must be",
        "Log.Level: must be",
        "Colour: unknown key",
        "Admin: must be an object",
    ] {
        assert!(message.contains(part), "{part} is missing in {message}");
    }
}

#[test]
fn a_bad_number_is_reported_as_it_was_given() {
    for (variable, text, shown) in [
        ("MOCKSERVER_LIMITS_CPU_PERCENT", "0", "not 0 (set by"),
        ("MOCKSERVER_LIMITS_MEMORY_MB", "-0.50", "not -0.50 (set by"),
        ("MOCKSERVER_LIMITS_LATENCY_MS", "1e9", "not 1e9 (set by"),
        ("MOCKSERVER_LIMITS_CPU_CORES", "NaN", "not \"NaN\" (set by"),
        ("MOCKSERVER_PORT", "070000", "not 070000 (set by"),
        ("MOCKSERVER_PORT", "-1", "not \"-1\" (set by"),
        ("MOCKSERVER_PORT", "1e4", "not \"1e4\" (set by"),
    ] {
        let message = load("", &[(variable, text)], Flags::default()).expect_err("a fault");
        let end = format!("{shown} {variable})");
        assert!(message.ends_with(&end), "{end} is missing in {message}");
    }
    let message = load("Limits: {CpuPercent: 0}", &[], Flags::default());
    assert!(message.expect_err("a fault").ends_with(", not 0"));
}

#[test]
fn a_bad_value_is_reported_with_the_variable_or_flag_that_set_it() {
    let flags = Flags {
        port: Some("many".into()),
        ..Flags::default()
    };
    let env = [("MOCKSERVER_PORT", "2"), ("MOCKSERVER_HOST", "here")];
    let message = load("Name: 5", &env, flags).expect_err("three faults");
    let lines: Vec<&str> = message.lines().skip(1).collect();
    assert_eq!(lines.len(), 3, "{message}");
    for (key, by) in [
        ("Host:", "(set by MOCKSERVER_HOST)"),
        ("Port:", "(set by --port)"),
        (
            "Name:",
            "not 5; in YAML this is a number and not a text: put it in quotes",
        ),
    ] {
        let line = lines.iter().find(|line| line.trim().starts_with(key));
        assert!(line.is_some_and(|line| line.ends_with(by)), "{message}");
    }
}

#[test]
fn a_kubernetes_service_link_is_not_a_port() {
    let env = [("MOCKSERVER_PORT", "tcp://10.0.0.1:8888")];
    assert_eq!(load("", &env, Flags::default()).expect("good").port, 8888);
    assert!(load("", &[("MOCKSERVER_PORT", "eighty")], Flags::default()).is_err());
}

#[test]
fn only_a_port_may_be_a_kubernetes_service_link() {
    let env = [("MOCKSERVER_AUTH_TOKEN", "tcp://s3cret")];
    let config = load("", &env, Flags::default()).expect("good");
    assert_eq!(config.auth.token.as_deref(), Some("tcp://s3cret"));
    let env = [("MOCKSERVER_HOST", "tcp://10.0.0.1:8888")];
    assert!(load("", &env, Flags::default()).is_err());
}

#[test]
fn a_variable_with_a_typo_in_its_name_is_reported_and_a_service_link_is_not() {
    let links = [
        "MOCKSERVER_SERVICE_HOST",
        "MOCKSERVER_SERVICE_PORT",
        "MOCKSERVER_SERVICE_PORT_HTTP",
        "MOCKSERVER_PORT_8888_TCP",
        "MOCKSERVER_PORT_8888_TCP_PROTO",
        "MOCKSERVER_PORT_8888_TCP_PORT",
        "MOCKSERVER_PORT_8888_TCP_ADDR",
        "MOCKSERVER_PODS_SERVICE_HOST",
        "MOCKSERVER_PODS_PORT_8889_TCP",
    ];
    let typos = [
        "MOCKSERVER_ADMN_PORT",
        "MOCKSERVER_BOOOT",
        "MOCKSERVER_LIMITS_CPU_PERCNT",
    ];
    let ours = ["MOCKSERVER_NAME", SAFE_BOOT, BOOT, "PATH"];
    let names = links.iter().chain(&typos).chain(&ours);
    let mut env: HashMap<&str, &str> = names.map(|name| (*name, "0")).collect();
    env.insert("MOCKSERVER_PODS_PORT", "tcp://10.0.0.2:8889");
    let ignored = unknown_variables(&env, &settings());
    let names: Vec<_> = ignored.iter().map(|ignored| &*ignored.name).collect();
    assert_eq!(names, typos);
    let meant = [
        "MOCKSERVER_ADMIN_PORT",
        BOOT,
        "MOCKSERVER_LIMITS_CPU_PERCENT",
    ];
    for (ignored, meant) in ignored.iter().zip(meant) {
        let question = format!("mockserver has no such variable; did you mean {meant:?}?");
        assert_eq!(ignored.because, question);
    }
}

#[test]
fn a_token_that_no_client_can_send_is_refused() {
    for bad in ["", "   ", "abc\n", "a b", "t\u{f6}ken", "\u{fffd}"] {
        let env = [("MOCKSERVER_AUTH_TOKEN", bad)];
        let message = load("", &env, Flags::default()).expect_err(bad);
        assert!(message.contains("Auth.Token: must be"), "{message}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "one\ntwo\n").expect("a file");
    let yaml = format!("Auth: {{TokenFile: {}}}", file.display());
    let message = load(&yaml, &[], Flags::default()).expect_err("two lines");
    assert!(message.contains("Auth.TokenFile: must be"), "{message}");
}

#[test]
fn each_role_has_a_token_of_its_own_beside_the_one_of_the_admin() {
    let good = "Auth: {Token: a, ReleaseToken: b, CandidateToken: c}";
    let auth = load(good, &[], Flags::default()).expect("good").auth;
    assert_eq!(auth.release_token.as_deref(), Some("b"));
    assert_eq!(auth.candidate_token.as_deref(), Some("c"));
    for (yaml, fault) in [
        ("{CandidateToken: c}", "Auth.CandidateToken: needs a Token"),
        ("{ReleaseToken: c}", "Auth.ReleaseToken: needs a Token"),
        (
            "{Token: a, ReleaseToken: a}",
            "Auth.ReleaseToken: must be another token than Token",
        ),
        (
            "{Token: a, ReleaseToken: b, CandidateToken: b}",
            "Auth.CandidateToken: must be another token than ReleaseToken",
        ),
        (
            "{Token: a, CandidateToken: b, CandidateTokenFile: c}",
            "give either CandidateToken or CandidateTokenFile",
        ),
    ] {
        let message = load(&format!("Auth: {yaml}"), &[], Flags::default()).expect_err(yaml);
        assert!(message.contains(fault), "{yaml}: {message}");
    }
    let env = [("MOCKSERVER_AUTH_CANDIDATE_TOKEN", "d")];
    let yaml = "Auth: {Token: a, CandidateTokenFile: /no/such/file}";
    let auth = load(yaml, &env, Flags::default()).expect("good").auth;
    assert_eq!(auth.candidate_token.as_deref(), Some("d"));
}

#[test]
fn a_blind_service_that_would_give_itself_away_is_refused() {
    for (yaml, fault) in [
        ("Blind: true", "Name: must be the name of the service"),
        (
            "Blind: true\nName: My-MockServer",
            "Name: must be the name of the service",
        ),
        (
            "Blind: true\nName: a\nAdmin: {Port: 0}",
            "Blind: needs the admin listener",
        ),
        (
            "Blind: true\nName: a\nAdmin: {Host: 0.0.0.0}",
            "Blind: needs Auth.Token",
        ),
    ] {
        let message = load(yaml, &[], Flags::default()).expect_err(yaml);
        assert!(message.contains(fault), "{yaml}: {message}");
    }
    for yaml in [
        "Blind: true\nName: a",
        "Blind: true\nName: a\nAdmin: {Host: 0.0.0.0}\nAuth: {Token: t}",
        "Blind: false\nAdmin: {Port: 0}",
    ] {
        assert!(load(yaml, &[], Flags::default()).is_ok(), "{yaml}");
    }
}

#[test]
fn a_variable_that_is_not_unicode_is_refused_by_its_name() {
    struct NotUnicode;
    impl Env for NotUnicode {
        fn get(&self, name: &str) -> Option<OsString> {
            use std::os::unix::ffi::OsStringExt;
            (name == "MOCKSERVER_AUTH_TOKEN").then(|| OsString::from_vec(vec![0xff, 0xfe]))
        }

        fn names(&self) -> Vec<OsString> {
            vec!["MOCKSERVER_AUTH_TOKEN".into()]
        }
    }
    let error = Config::load(&Flags::default(), &NotUnicode, scenarios::ALL).expect_err("no text");
    let message = error.to_string();
    assert!(
        message.contains("MOCKSERVER_AUTH_TOKEN: must be valid UTF-8"),
        "{message}"
    );
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let env = HashMap::new();
    let named = Flags {
        file: Some("/no/such/file.yaml".into()),
        ..Flags::default()
    };
    assert!(Config::load(&named, &env, scenarios::ALL).is_err());
    let config = Config::read(&mut Fields::new("", Map::new()), scenarios::ALL);
    assert_eq!(
        (config.host, config.port, config.admin.port),
        (LOOPBACK, 8888, Some(8889))
    );
}

#[test]
fn a_repeated_key_is_refused() {
    assert!(load("Port: 1\nPort: 2\n", &[], Flags::default()).is_err());
}

#[test]
fn the_shipped_file_is_the_defaults_on_every_address() {
    let shipped = include_str!("../../etc/mockserver.yaml");
    let mut expected = load("", &[], Flags::default()).expect("the defaults");
    expected.host = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    assert_eq!(load(shipped, &[], Flags::default()), Ok(expected));
}

#[test]
fn every_key_stands_in_the_shipped_file_with_a_comment() {
    let mut fields = Fields::new("", Map::new());
    Config::read(&mut fields, scenarios::ALL);
    let lines: Vec<&str> = include_str!("../../etc/mockserver.yaml").lines().collect();
    let schema = fields.schema();
    let mut keys = Vec::new();
    for (key, spec) in schema["properties"].as_object().expect("keys") {
        keys.push(key.clone());
        keys.extend(
            spec["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, _)| k.clone()),
        );
    }
    for key in keys {
        let at = lines.iter().position(|line| {
            line.trim_start_matches(['#', ' '])
                .starts_with(&format!("{key}:"))
        });
        let at = at.unwrap_or_else(|| panic!("{key} is missing"));
        assert!(
            at > 0 && lines[at - 1].trim_start().starts_with("# "),
            "{key} has no comment"
        );
    }
}

#[test]
fn a_variable_is_heeded_whatever_the_file_says_of_its_section() {
    let shipped = include_str!("../../etc/mockserver.yaml");
    let values = ["/", "warn", "json", "file", "127.0.0.2", "7", "t0ken"];
    for (variable, path) in variables() {
        for yaml in [shipped, "Log:\nAdmin:\nAuth:\n", ""] {
            let mut changed = false;
            for value in values {
                let before = load(yaml, &[], Flags::default());
                let after = load(yaml, &[(variable, value)], Flags::default());
                changed |= after.is_err() || after != before;
            }
            assert!(changed, "{variable} sets {path}");
        }
    }
    let token = [("MOCKSERVER_AUTH_TOKEN", "t0ken")];
    let config = load(shipped, &token, Flags::default()).expect("good");
    assert_eq!(config.auth.token.as_deref(), Some("t0ken"));
    let other_way = "Auth: {TokenFile: /no/such/file}";
    let config = load(other_way, &token, Flags::default()).expect("the variable wins");
    assert_eq!(config.auth.token.as_deref(), Some("t0ken"));
}

#[test]
fn traces_go_to_a_plain_url_and_ours_wins_over_the_common_variable() {
    let endpoint = |yaml, env: &[(&'static str, &'static str)]| {
        let config = load(yaml, env, Flags::default());
        config.map(|config| config.otel.endpoint.map(|uri| uri.to_string()))
    };
    let file = "Otel: {Endpoint: 'http://a:4318'}";
    let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4318/base");
    let ours = ("MOCKSERVER_OTEL_ENDPOINT", "http://[::1]:4318");
    let off = ("MOCKSERVER_OTEL_ENDPOINT", "");
    assert_eq!(endpoint("", &[]), Ok(None));
    assert_eq!(endpoint(file, &[]), Ok(Some("http://a:4318/".to_owned())));
    assert_eq!(endpoint(file, &[common]), Ok(Some(common.1.to_owned())));
    let both = endpoint(file, &[common, ours]);
    assert_eq!(both, Ok(Some("http://[::1]:4318/".to_owned())));
    assert_eq!(endpoint(file, &[common, off]), Ok(None));
    for bad in [
        "a:4318",
        "https://a:4318",
        "http://",
        "http://user:pass@a:4318",
        "http://a:4318/?key=1",
        "/v1/traces",
    ] {
        let message = endpoint("", &[("MOCKSERVER_OTEL_ENDPOINT", bad)]);
        let message = message.expect_err(bad);
        assert!(message.contains("Otel.Endpoint: must be"), "{message}");
    }
}

#[test]
fn the_boot_profile_of_the_environment_wins_over_the_file_as_a_whole() {
    let yaml = "Boot: {ready_after: 5, start_delay: 1}\n";
    let config = load(yaml, &[], Flags::default()).expect("good");
    assert_eq!(config.boot.ready_after.as_secs(), 5);
    let env = [(BOOT, r#"{"start_delay": 2}"#)];
    let config = load(yaml, &env, Flags::default()).expect("good");
    let boot = (config.boot.ready_after.as_secs(), config.boot.start_delay);
    assert_eq!(boot, (0, std::time::Duration::from_secs(2)));
    let none = load(yaml, &[(BOOT, "{}")], Flags::default()).expect("good");
    assert_eq!(none.boot, BootProfile::default());
    let fault = load(yaml, &[(BOOT, r#"{"ready_after": -1}"#)], Flags::default());
    let fault = fault.expect_err("a bad time");
    assert!(
        fault.ends_with("not -1 (set by MOCKSERVER_BOOT)"),
        "{fault}"
    );
    let twice = [(BOOT, r#"{"hang": true, "hang": true}"#)];
    assert!(load(yaml, &twice, Flags::default()).is_err());
}

#[test]
fn a_safe_boot_looks_at_no_profile() {
    let yaml = "Boot: {colour: red}\n";
    assert!(load(yaml, &[], Flags::default()).is_err());
    for (value, ignored) in [("1", true), ("true", true), ("0", false), ("", false)] {
        let env = [(SAFE_BOOT, value), (BOOT, "{")];
        assert_eq!(
            load(yaml, &env, Flags::default()).is_ok(),
            ignored,
            "{value}"
        );
    }
    let message = load("", &[(SAFE_BOOT, "yes")], Flags::default()).expect_err("no");
    assert!(message.contains("MOCKSERVER_SAFE_BOOT: must"), "{message}");
}

#[test]
fn reads_are_protected_by_a_token_or_not_at_all() {
    let yaml = "Auth: {ProtectReads: true, AllowedHosts: [a.example]}";
    let message = load(yaml, &[], Flags::default()).expect_err("no token");
    assert!(message.contains("Auth.ProtectReads: needs"), "{message}");
    let env = [("MOCKSERVER_AUTH_TOKEN", "t0ken")];
    let auth = load(yaml, &env, Flags::default()).expect("good").auth;
    assert!(auth.protect_reads);
    assert_eq!(auth.allowed_hosts, ["a.example"]);
}

#[test]
fn the_environment_lists_hosts_by_commas() {
    let hosts = |list| {
        let env = [("MOCKSERVER_AUTH_ALLOWED_HOSTS", list)];
        load("", &env, Flags::default()).map(|config| config.auth.allowed_hosts)
    };
    assert_eq!(
        hosts("a.example, b").expect("good"),
        ["a.example", "b"].map(str::to_owned)
    );
    for bad in ["a.example:80", "http://a.example", "a b", ",", "a/"] {
        let message = hosts(bad).expect_err(bad);
        assert!(message.contains("Auth.AllowedHosts: must be"), "{message}");
    }
}

#[test]
fn a_token_is_read_from_its_file_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret\n").expect("a file");
    let yaml = format!("Auth: {{TokenFile: {}}}", file.display());
    let config = load(&yaml, &[], Flags::default()).expect("good");
    assert_eq!(config.auth.token.as_deref(), Some("s3cret"));
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn an_empty_variable_is_unset_save_the_token_and_the_collector() {
    let yaml = "Port: 5\nBoot: {ready_after: 5}\nOtel: {Endpoint: http://a}\n";
    let expected = load(yaml, &[], Flags::default()).expect("good");
    let others = variables().into_iter().map(|(variable, _)| variable);
    for variable in others.chain([BOOT, SAFE_BOOT, OTLP_ENDPOINT]) {
        for empty in ["", " "] {
            let config = load(yaml, &[(variable, empty)], Flags::default());
            match variable {
                "MOCKSERVER_AUTH_TOKEN" | "MOCKSERVER_AUTH_TOKEN_FILE" => {
                    let message = config.expect_err(variable);
                    assert!(
                        message.ends_with(&format!("(set by {variable})")),
                        "{message}"
                    );
                    let says_empty = message.contains("it is empty: give it a value, or unset it");
                    assert_eq!(says_empty, empty.is_empty(), "{message}");
                }
                of_role if of_role.contains("_TOKEN") => assert!(config.is_err(), "{of_role}"),
                "MOCKSERVER_OTEL_ENDPOINT" if empty.is_empty() => {
                    assert_eq!(config.expect("good").otel.endpoint, None);
                }
                "MOCKSERVER_OTEL_ENDPOINT" => assert!(config.is_err()),
                _ => assert_eq!(config.expect(variable), expected, "{variable}"),
            }
        }
    }
}

#[test]
fn a_collector_that_is_named_for_all_programs_is_no_reason_to_refuse() {
    let read = |yaml: &str, env: &[(&'static str, &'static str)]| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), yaml).expect("a file");
        let flags = Flags {
            file: Some(file.path().to_owned()),
            ..Flags::default()
        };
        let env: HashMap<_, _> = env.iter().copied().collect();
        let loaded = Config::load(&flags, &env, scenarios::ALL).expect("good");
        let ignored: Vec<_> = loaded
            .ignored_variables
            .iter()
            .map(|one| one.name.clone())
            .collect();
        (
            loaded.config.otel.endpoint.map(|uri| uri.to_string()),
            ignored,
        )
    };
    let ours = Some("http://ours/".to_owned());
    for bad in [
        "https://collector:4318",
        "collector:4317",
        "grpc://a",
        "http://a:b@c",
        "-",
    ] {
        let (endpoint, ignored) = read("", &[(OTLP_ENDPOINT, bad)]);
        assert_eq!(
            (endpoint, ignored),
            (None, vec![OTLP_ENDPOINT.to_owned()]),
            "{bad}"
        );
        let (endpoint, _) = read("Otel: {Endpoint: http://ours}", &[(OTLP_ENDPOINT, bad)]);
        assert_eq!(endpoint, ours);
        let both = [
            (OTLP_ENDPOINT, bad),
            ("MOCKSERVER_OTEL_ENDPOINT", "http://ours"),
        ];
        assert_eq!(read("", &both), (ours.clone(), Vec::new()));
    }
    let (endpoint, ignored) = read("", &[(OTLP_ENDPOINT, "http://collector:4318")]);
    assert_eq!(
        (endpoint.as_deref(), ignored.len()),
        (Some("http://collector:4318/"), 0)
    );
    let refused = load(
        "",
        &[("MOCKSERVER_OTEL_ENDPOINT", "https://a")],
        Flags::default(),
    );
    assert!(refused.is_err(), "ours must be right");
}

#[test]
fn words_are_read_in_any_case() {
    let env = [
        ("MOCKSERVER_LOG_LEVEL", "WARN"),
        ("MOCKSERVER_LOG_FORMAT", "Json"),
        ("MOCKSERVER_LIMITS_SCENARIOS", "Crash,CPU_BURNER"),
        ("MOCKSERVER_AUTH_PROTECT_READS", "TRUE"),
        ("MOCKSERVER_AUTH_TOKEN", "t"),
        (SAFE_BOOT, "True"),
    ];
    let config = load(
        "Log: {Mode: FILE}\nBoot: {colour: red}",
        &env,
        Flags::default(),
    );
    let config = config.expect("good");
    assert_eq!(config.log.mode, LogMode::File);
    assert_eq!(
        (config.log.level, config.log.format),
        (tracing::Level::WARN, LogFormat::Json)
    );
    assert!(config.limits.allows("crash") && config.limits.allows("cpu_burner"));
    assert!(config.auth.protect_reads);
    let flags = Flags {
        log_level: Some("Debug".into()),
        ..Flags::default()
    };
    let config = load("", &env[..1], flags).expect("good");
    assert_eq!(config.log.level, tracing::Level::DEBUG);
}

#[test]
fn a_text_that_yaml_reads_as_something_else_is_shown_as_written_and_to_be_quoted() {
    let quote = |kind: &str| format!("; in YAML this is {kind} and not a text: put it in quotes");
    for (yaml, end) in [
        ("Version: 1.10", format!("not 1.10{}", quote("a number"))),
        ("Version: 0x1F", format!("not 0x1F{}", quote("a number"))),
        ("Version: 0o17", format!("not 0o17{}", quote("a number"))),
        ("Version: 1e3", format!("not 1e3{}", quote("a number"))),
        ("Name: TRUE", format!("not true{}", quote("true or false"))),
        ("Name: ~", format!("not null{}", quote("nothing"))),
        ("Host: 127.1", format!("not 127.1{}", quote("a number"))),
        (
            "Auth: {AllowedHosts: [5]}",
            format!("not [5]{}", quote("a number")),
        ),
        (
            "Auth: {Token: 12345678}",
            format!("carries them{}", quote("a number")),
        ),
        ("Limits: {CpuPercent: 0.0}", "not 0.0".to_owned()),
        ("Port: 0x1FFFF", "not 0x1FFFF".to_owned()),
    ] {
        let message = load(yaml, &[], Flags::default()).expect_err(yaml);
        assert!(message.ends_with(&end), "{yaml}: {message}");
        assert!(!message.contains("12345678"), "{message}");
    }
    for text in [
        "yes",
        "no",
        "on",
        "off",
        "2024-01-01",
        "0123",
        "1_000",
        "\"1.10\"",
        "1.1.0",
    ] {
        let config = load(&format!("Name: {text}"), &[], Flags::default()).expect(text);
        assert_eq!(config.name, text.trim_matches('"'));
    }
}

#[test]
fn a_byte_order_mark_merge_keys_and_keys_of_extensions_are_read() {
    let yaml = "\u{feff}x-log: &log {Level: warn, Format: json}\nx-other: 5\nLog: {<<: *log, Format: text}\n";
    let config = load(yaml, &[], Flags::default()).expect("good");
    let log = (config.log.level, config.log.format);
    assert_eq!(log, (tracing::Level::WARN, LogFormat::Text));
    for bad in ["Log: {x-a: 1}", "X-a: 1", "Log: {<<: 5}", "a: 1\n---\nb: 2"] {
        assert!(load(bad, &[], Flags::default()).is_err(), "{bad}");
    }
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "\u{feff}s3cret\n").expect("a file");
    let yaml = format!("Auth: {{TokenFile: {}}}", token.path().display());
    let config = load(&yaml, &[], Flags::default()).expect("good");
    assert_eq!(config.auth.token.as_deref(), Some("s3cret"));
}

#[test]
fn an_address_may_be_written_as_in_a_url_and_a_name_is_refused_with_what_is_allowed() {
    for (text, address) in [("[::]", "::"), ("[::1]", "::1"), ("LocalHost", "127.0.0.1")] {
        let env = [("MOCKSERVER_HOST", text), ("MOCKSERVER_ADMIN_HOST", text)];
        let config = load("", &env, Flags::default()).expect(text);
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!((config.host, config.admin.host), (address, address));
    }
    let config = load("Host: \"[::]\"\n", &[], Flags::default()).expect("good");
    assert!(config.host.is_unspecified());
    for bad in ["example.com", "[127.0.0.1]", "127.0.0.1:80", "[::", ""] {
        let flags = Flags {
            host: Some(bad.to_owned()),
            ..Flags::default()
        };
        let message = load("", &[], flags).expect_err(bad);
        assert!(
            message.contains("an IP address without a port, such as 0.0.0.0"),
            "{message}"
        );
    }
}

#[test]
fn times_take_texts_with_a_unit_in_the_file_and_in_variables() {
    let yaml = "Boot: {ready_after: 500ms}\nLimits: {MaxDuration: 1.5h, LatencyMs: 0.5s}";
    let env = [("MOCKSERVER_LIMITS_DEFAULT_DURATION", "5m")];
    let config = load(yaml, &env, Flags::default()).expect("good");
    assert_eq!(config.boot.ready_after.as_millis(), 500);
    assert_eq!(config.limits.default_duration_s, Some(300.0));
    let message = load("", &[(env[0].0, "5")], Flags::default());
    assert!(message.is_ok(), "{message:?}");
    for (yaml, end) in [
        (
            "Limits: {MaxDuration: \"5\"}",
            "such as \"500ms\" or \"1.5h\", not \"5\"",
        ),
        (
            "Limits: {MaxDuration: 1e-400}",
            "at most 31536000, or a text of a number and one unit of ms, s, m, h and d, such as \"500ms\" or \"1.5h\", not 1e-400",
        ),
        (
            "Boot: {scenarios: [{name: crash, duration: 1e-400}]}",
            "not 1e-400",
        ),
    ] {
        let message = load(yaml, &[], Flags::default()).expect_err(yaml);
        assert!(message.ends_with(end), "{yaml}: {message}");
    }
}
