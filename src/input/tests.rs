//! What is read, what is refused, and the schema that says both.

use serde_json::{Value, json};

use super::*;

fn fields(value: Value) -> Fields {
    let Value::Object(map) = value else {
        panic!("the test gives an object")
    };
    Fields::new("", map)
}

/// Reads one integer from 0 to 100 and gives the outcome.
fn percent(value: Value) -> Result<u8, String> {
    let mut f = fields(json!({ "p": value }));
    let read = f.field("p", "a share").integer(0..=100_u8, 50);
    f.finish()
        .map(|_| read)
        .map_err(|errors| errors[0].detail.clone())
}

#[test]
fn an_integer_may_be_written_as_a_whole_float_and_as_nothing_else() {
    assert_eq!(percent(json!(80)), Ok(80));
    assert_eq!(percent(json!(80.0)), Ok(80));
    assert_eq!(percent(json!(0)), Ok(0));
    assert_eq!(percent(json!(100)), Ok(100));
    for bad in [
        json!(101),
        json!(-1),
        json!(80.5),
        json!("80"),
        json!(null),
        json!(true),
        json!([80]),
        json!({}),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
    ] {
        let detail = percent(bad.clone()).expect_err("must be refused");
        assert_eq!(
            detail,
            format!("must be an integer from 0 to 100, not {bad}")
        );
    }
}

#[test]
fn a_number_keeps_to_its_open_and_closed_ends() {
    let rate = |value: Value| {
        let mut f = fields(json!({ "r": value }));
        let read = f
            .field("r", "a rate")
            .unit("MiB/s")
            .number(above(0.0, 10.0), 1.0);
        f.finish()
            .map(|_| read)
            .map_err(|errors| errors[0].detail.clone())
    };
    assert_eq!(rate(json!(0.5)), Ok(0.5));
    assert_eq!(rate(json!(10)), Ok(10.0));
    let refused = "must be a number greater than 0 and at most 10, not 0";
    assert_eq!(rate(json!(0)), Err(refused.to_owned()));
    assert!(rate(json!(10.1)).is_err());
    assert!(rate(json!("1")).is_err());
}

#[test]
fn every_fault_is_reported_at_once_and_unknown_keys_are_faults() {
    let mut f = fields(json!({ "a": -1, "b": "x", "c~/d": 1 }));
    f.field("a", "").integer(0..=9_u8, 0);
    f.field("b", "").choice(&[("one", 1), ("two", 2)]);
    let errors = f.finish().expect_err("three faults");
    let at: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(at, ["/a", "/b", "/c~0~1d"]);
    assert_eq!(
        errors[1].detail,
        "must be one of \"one\", \"two\", not \"x\""
    );
    assert_eq!(errors[2].detail, "unknown key; allowed here: a, b");
}

#[test]
fn a_slip_in_a_key_or_a_value_is_answered_with_what_was_meant() {
    let mut f = fields(json!({ "target_precent": 1, "mode": "slwo", "probes": ["b", "Reddy"] }));
    f.field("target_percent", "").integer(0..=9_u8, 0);
    f.field("mode", "").choice(&[("fast", 1), ("slow", 2)]);
    f.field("probes", "")
        .optional()
        .any_of(&[("b", 1), ("ready", 2)]);
    let errors = f.finish().expect_err("three slips");
    for (error, meant) in errors.iter().zip(["slow", "ready", "target_percent"]) {
        let question = format!("; did you mean \"{meant}\"?");
        assert!(error.detail.ends_with(&question), "{error:?}");
    }
}

#[test]
fn an_unknown_key_is_reported_as_far_as_a_message_needs_it() {
    let errors = fields(json!({ "ö".repeat(60_000): 1 })).finish();
    let [error] = &errors.expect_err("a fault")[..] else {
        panic!("one fault")
    };
    assert_eq!(error.pointer, format!("/{}…", "ö".repeat(100)));
    assert_eq!(error.detail, "unknown key; no key is allowed here");
}

#[test]
fn effective_values_fill_in_defaults_and_write_whole_floats_as_integers() {
    let mut f = fields(json!({ "a": 7.0 }));
    f.field("a", "").integer(0..=9_u8, 0);
    f.field("b", "").number(0.0..=1.0, 0.5);
    f.field("c", "").optional().number(0.0..=1.0);
    f.section("d", "nested", |inner| {
        inner.field("e", "").choice(&[("on", true)])
    });
    let effective = f.finish().expect("all good");
    assert_eq!(
        Value::Object(effective),
        json!({ "a": 7, "b": 0.5, "d": { "e": "on" } })
    );
}

#[test]
fn a_fault_in_a_section_points_into_it() {
    let mut f = fields(json!({ "Log": { "Level": "loud", "x": 1 } }));
    f.section("Log", "", |log| {
        log.field("Level", "").choice(&[("info", 0)])
    });
    let errors = f.finish().expect_err("two faults");
    let at: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(at, ["/Log/Level", "/Log/x"]);
}

#[test]
fn a_list_of_choices_refuses_repeats_emptiness_and_strangers() {
    let list = |value: Value| {
        let mut f = fields(json!({ "l": value }));
        let read = f.field("l", "").any_of(&[("a", 'a'), ("b", 'b')], &["a"]);
        f.finish().map(|_| read).map_err(|errors| errors.len())
    };
    let mut absent = fields(json!({}));
    let by_default = absent.field("l", "").any_of(&[("a", 1), ("b", 2)], &["b"]);
    assert_eq!(by_default, [2]);
    let effective = absent.finish().expect("good");
    assert_eq!(effective["l"], json!(["b"]));
    assert_eq!(list(json!(["b"])), Ok(vec!['b']));
    assert_eq!(list(json!(["b", "a"])), Ok(vec!['b', 'a']));
    for bad in [
        json!([]),
        json!(["a", "a"]),
        json!(["c"]),
        json!("a"),
        json!([1]),
    ] {
        assert_eq!(list(bad), Err(1));
    }
}

#[test]
fn a_list_is_read_item_by_item_and_a_faulty_item_is_pointed_at() {
    let read = |value: Value| {
        let mut f = fields(json!({ "l": value }));
        let even = |at: &str, item: Value| match item.as_i64() {
            Some(n) if n % 2 == 0 => Ok((n, item)),
            _ => Err(vec![FieldError::new(at, "must be even")]),
        };
        let values = f.list("l", "", even);
        f.finish().map(|effective| (values, effective))
    };
    let (values, effective) = read(json!([2, 4])).expect("good");
    assert_eq!((values, &effective["l"]), (vec![2, 4], &json!([2, 4])));
    let errors = read(json!([1, 2, "x"])).expect_err("two faults");
    let at: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(at, ["/l/0", "/l/2"]);
    assert!(read(json!({})).is_err());
}

#[test]
fn an_absent_section_may_mean_nothing_and_a_given_one_is_read() {
    let read = |value: Value| {
        let mut f = fields(value);
        let flag = |inner: &mut Fields| inner.field("on", "").flag(true);
        let value = f.optional_section("s", "", flag);
        f.finish()
            .map(|effective| (value, Value::Object(effective)))
    };
    assert_eq!(read(json!({})), Ok((None, json!({}))));
    let given = read(json!({ "s": {} }));
    assert_eq!(given, Ok((Some(true), json!({ "s": { "on": true } }))));
    assert_eq!(
        read(json!({ "s": { "on": false } })).expect("good").0,
        Some(false)
    );
    for bad in [json!({ "s": 1 }), json!({ "s": { "on": "no" } })] {
        assert!(read(bad).is_err());
    }
}

#[test]
fn the_schema_says_type_range_default_and_unit() {
    let mut f = fields(json!({}));
    f.field("rate", "How fast.")
        .unit("MiB/s")
        .number(above(0.0, 9.0), 2.5);
    let schema = f.schema();
    assert_eq!(
        schema["properties"]["rate"],
        json!({ "type": "number", "exclusiveMinimum": 0, "minimum": 1e-9, "maximum": 9, "default": 2.5,
                "unit": "MiB/s", "description": "How fast." })
    );
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[test]
fn a_ceiling_ends_the_range_and_the_default_and_says_who_set_it() {
    let mut limits = fields(json!({ "LatencyMs": 49.5, "DiskMbPerSecond": 2 }));
    let set = crate::input::limits::Limits::read(&mut limits, &[]);
    let cgroup = crate::host::cgroup::Cgroup::at("/no", "/no");
    let read = |value: Value| {
        let mut f = fields(value).below(set.ceilings(&cgroup));
        let ms = f.field("ms", "").asks_for(Resource::LatencyMs);
        let ms = ms.integer(0..=600_u32, 100);
        let rate = f.field("rate", "").asks_for(Resource::DiskMbPerSecond);
        let rate = rate.number(above(0.0, 100.0), 50.0);
        let free = f.field("free", "").integer(0..=600_u32, 100);
        (ms, rate, free, f)
    };
    let (ms, rate, free, f) = read(json!({}));
    assert_eq!((ms, rate, free), (49, 2.0, 100));
    assert_eq!(
        Value::Object(f.finish().expect("good")),
        json!({ "ms": 49, "rate": 2, "free": 100 })
    );
    let errors = read(json!({ "ms": 50, "rate": 2.5 })).3.finish();
    let details: Vec<String> = errors
        .expect_err("two")
        .into_iter()
        .map(|e| e.detail)
        .collect();
    assert_eq!(
        details,
        [
            "must be an integer from 0 to 49 (Limits.LatencyMs), not 50",
            "must be a number greater than 0 and at most 2 (Limits.DiskMbPerSecond), not 2.5",
        ]
    );
    let schema = read(json!({})).3.schema();
    assert_eq!(schema["properties"]["ms"]["maximum"], 49);
    assert_eq!(schema["properties"]["rate"]["maximum"], 2);
}

#[test]
fn a_ceiling_below_the_least_value_leaves_nothing() {
    let mut limits = fields(json!({ "LatencyMs": 0.5 }));
    let set = crate::input::limits::Limits::read(&mut limits, &[]);
    let cgroup = crate::host::cgroup::Cgroup::at("/no", "/no");
    let detail = "nothing is allowed (Limits.LatencyMs); the least is 1";
    let read = |value: Value| {
        let mut f = fields(value).below(set.ceilings(&cgroup));
        let ms = f.field("ms", "").asks_for(Resource::LatencyMs);
        ms.integer(1..=9_u32, 5);
        f
    };
    for (given, detail) in [
        (json!({}), detail.to_owned()),
        (json!({ "ms": 3 }), format!("{detail}, not 3")),
    ] {
        let errors = read(given).finish().expect_err("nothing");
        let details: Vec<_> = errors.into_iter().map(|error| error.detail).collect();
        assert_eq!(details, [detail]);
    }
    let schema = read(json!({})).schema();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!((0..10).all(|ms| !validator.is_valid(&json!({ "ms": ms }))));
    assert!(schema["properties"]["ms"].get("maximum").is_none());
}

#[test]
fn two_names_of_one_thing_clash_in_the_reading_and_in_the_schema() {
    let read = |value: Value| {
        let mut f = fields(value);
        f.either("a", "b");
        f.field("a", "").integer(0..=9_u8, 0);
        f.field("b", "").optional().number(0.0..=1.0);
        f
    };
    assert!(read(json!({ "a": 1 })).finish().is_ok());
    assert!(read(json!({ "b": 1 })).finish().is_ok());
    let errors = read(json!({ "a": 1, "b": 1 })).finish();
    let clash = FieldError::new("/b", "give either a or b, not both");
    assert_eq!(errors, Err(vec![clash]));
    let schema = read(json!({})).schema();
    assert_eq!(
        schema["allOf"],
        json!([{ "not": { "required": ["a", "b"] } }])
    );
}

#[test]
fn a_secret_is_in_no_message_and_in_no_effective_value() {
    let read = |value: Value| {
        let mut f = fields(json!({ "token": value }));
        let any = |text: &str| Some(text.to_owned());
        f.field("token", "")
            .secret()
            .optional()
            .text("must be a text", any);
        f.finish()
    };
    let effective = read(json!("s3cret")).expect("good");
    assert_eq!(effective["token"], "(hidden)");
    let errors = read(json!(12_345_678)).expect_err("not a text");
    assert_eq!(errors[0].detail, "must be a text");
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let detail = percent(json!("x".repeat(10_000))).expect_err("not a number");
    assert!(detail.chars().count() < 120, "{detail}");
}

/// Reads one time in seconds, from 0 (apart) or above 0, up to a day.
fn seconds(value: Value, is_positive: bool) -> Result<(std::time::Duration, Value), String> {
    let mut f = fields(json!({ "t": value }));
    let field = f.field("t", "a time");
    let read = match is_positive {
        true => field.seconds(above(0.0, 86_400.0), 1.0),
        false => field.seconds_or_zero(0.0..=86_400.0, 0.0),
    };
    let mut effective = f.finish().map_err(|errors| errors[0].detail.clone())?;
    Ok((read, effective["t"].take()))
}

#[test]
fn a_time_is_a_number_in_its_unit_or_a_text_with_a_unit_of_its_own() {
    for (given, nanos, shown) in [
        (json!(5), 5_000_000_000, json!(5)),
        (json!(0.1), 100_000_000, json!(0.1)),
        (json!("5m"), 300_000_000_000, json!(300)),
        (json!("500ms"), 500_000_000, json!(0.5)),
        (json!("1d"), 86_400_000_000_000, json!(86_400)),
        (json!("0.000000001s"), 1, json!(1e-9)),
    ] {
        let (read, effective) = seconds(given.clone(), true).expect("good");
        assert_eq!((read.as_nanos(), effective), (nanos, shown), "{given}");
    }
    let rule = "must be a number of seconds greater than 0 and at most 86400, or a text of a number and one unit \
                of ms, s, m, h and d, such as \"500ms\" or \"1.5h\"";
    for bad in [
        json!("5"),
        json!("5 m"),
        json!("25h"),
        json!("0s"),
        json!(0),
        json!(86_401),
        json!(-0.0),
    ] {
        assert_eq!(
            seconds(bad.clone(), true),
            Err(format!("{rule}, not {bad}"))
        );
    }
    for zero in [
        json!(0),
        json!("0s"),
        json!("0.0ms"),
        json!(0.0),
        json!(-0.0),
    ] {
        let (read, effective) = seconds(zero, false).expect("good");
        assert_eq!((read.as_nanos(), effective), (0, json!(0)));
    }
}

#[test]
fn what_would_round_to_0_is_below_the_smallest_value() {
    for is_positive in [true, false] {
        for bad in [json!(5e-324), json!(1e-300), json!(9.9e-10)] {
            let detail = seconds(bad, is_positive).expect_err("too small");
            let start =
                "is below the smallest value above 0, which is 1e-9; must be a number of seconds";
            assert!(detail.starts_with(start), "{detail}");
        }
        assert_eq!(
            seconds(json!(1e-9), is_positive)
                .expect("good")
                .0
                .as_nanos(),
            1
        );
    }
    let mut f = fields(json!({ "ms": 1e-7, "rate": 1e-10 }));
    f.field("ms", "").optional().milliseconds(above(0.0, 9.0));
    f.field("rate", "").number(above(0.0, 9.0), 1.0);
    let errors = f.finish().expect_err("both");
    assert!(
        errors[0]
            .detail
            .starts_with("is below the smallest value above 0, which is 1e-6; ")
    );
    assert!(
        errors[1]
            .detail
            .starts_with("is below the smallest value above 0, which is 1e-9; ")
    );
}

proptest::proptest! {
    #[test]
    fn a_time_is_read_exactly_where_its_schema_allows_it(
        text in "[0-9]{1,6}(\\.[0-9]{1,9})?(ms|s|m|h|d)|0{1,3}(\\.0)?(s|m)",
        is_positive: bool,
        number in proptest::prop_oneof![0.0..2e-9, -1.0..90_000.0],
    ) {
        let mut f = fields(json!({}));
        let field = f.field("t", "a time");
        match is_positive {
            true => field.seconds(above(0.0, 86_400.0), 1.0),
            false => field.seconds_or_zero(0.0..=86_400.0, 0.0),
        };
        let validator = jsonschema::validator_for(&f.schema()).expect("a schema");
        for value in [json!(text), json!(number)] {
            let valid = validator.is_valid(&json!({ "t": value }));
            proptest::prop_assert_eq!(seconds(value.clone(), is_positive).is_ok(), valid, "{}", value);
        }
    }
}

#[test]
fn whole_seconds_take_no_fraction() {
    let read = |value: Value| {
        let mut f = fields(json!({ "t": value }));
        let read = f.field("t", "").optional().whole_seconds(0.0..=100.0);
        f.finish().ok().map(|_| read.expect("given").as_secs())
    };
    assert_eq!(read(json!("1m")), Some(60));
    assert_eq!(read(json!(7.0)), Some(7));
    for bad in [json!(7.5), json!("1.5m"), json!("2000ms"), json!("2m")] {
        assert_eq!(read(bad), None);
    }
}

#[test]
fn what_is_read_elsewhere_is_allowed_and_what_belongs_elsewhere_is_answered_with_where() {
    let mut f = fields(json!({ "x": 1, "params": {} }))
        .beside(&["duration", "lease"])
        .elsewhere(["params"], "write them here");
    f.field("a", "").integer(0..=9_u8, 0);
    let errors = f.finish().expect_err("two");
    let rule = "unknown key; allowed here: a, duration, lease";
    assert_eq!(errors[0].detail, rule);
    assert_eq!(errors[1].detail, format!("{rule}; write them here"));
}
