//! What shapes are read, what they are worth at which age, and that the schema allows exactly those.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::input::ceilings::Ceilings;
use crate::input::{Resource, above};

/// A member `rate` from 0 to 100, 50 by default.
fn fields(given: Value) -> (Fields, Shape) {
    let given = Map::from_iter([("rate".to_owned(), given)]);
    read_rate(Fields::new("", given))
}

fn read_rate(mut fields: Fields) -> (Fields, Shape) {
    let field = fields.field("rate", "How many.").unit("1/s");
    let shape = field
        .asks_for(Resource::TasksPerSecond)
        .shape(0.0..=100.0, 50.0);
    (fields, shape)
}

fn shape(given: Value) -> Shape {
    let (fields, shape) = fields(given);
    fields.finish().expect("a good shape");
    shape
}

/// The only error: its pointer and its detail.
fn refused(given: Value) -> String {
    let errors = fields(given).0.finish().expect_err("a bad shape");
    let [
        FieldError {
            pointer, detail, ..
        },
    ] = &errors[..]
    else {
        panic!("one error: {errors:?}")
    };
    format!("{pointer}: {detail}")
}

fn at(shape: &Shape, age_s: f64) -> f64 {
    shape.value_at(Duration::from_secs_f64(age_s))
}

fn assert_values(given: Value, expected: &[(f64, f64)]) {
    let shape = shape(given.clone());
    for (age_s, value) in expected {
        let found = at(&shape, *age_s);
        assert!(
            (found - value).abs() < 1e-9,
            "{given} at {age_s} s: {found}"
        );
    }
}

#[test]
fn a_number_is_a_constant_and_an_absent_one_is_the_default() {
    assert_eq!(shape(json!(80)), Shape::constant(80.0));
    assert!(shape(json!(80)).is_constant());
    let (fields, shape) = read_rate(Fields::new("", Map::new()));
    assert_eq!((at(&shape, 0.0), shape.largest()), (50.0, 50.0));
    assert_eq!(fields.finish().expect("good")["rate"], 50);
}

#[test]
fn each_form_has_its_values() {
    assert_values(json!({ "constant": 7 }), &[(0.0, 7.0), (1e6, 7.0)]);
    assert_values(
        json!({ "ramp": { "from": 10, "to": 80, "over_s": 70 } }),
        &[(0.0, 10.0), (35.0, 45.0), (70.0, 80.0), (1e6, 80.0)],
    );
    assert_values(
        json!({ "decay": { "from": 100, "to": 20, "half_s": 40 } }),
        &[(0.0, 100.0), (40.0, 60.0), (80.0, 40.0), (4000.0, 20.0)],
    );
    let square = json!({ "square": { "low": 5, "high": 95, "period_s": 60, "duty": 0.15 } });
    assert_values(
        square,
        &[
            (0.0, 95.0),
            (8.9, 95.0),
            (9.0, 5.0),
            (59.9, 5.0),
            (60.0, 95.0),
        ],
    );
    assert_values(
        json!({ "square": { "low": 1, "high": 2, "period_s": "1m" } }),
        &[(29.9, 2.0), (30.0, 1.0), (3629.0, 2.0)],
    );
    let sine = json!({ "sine": { "low": 20, "high": 60, "period_s": 300 } });
    assert_values(
        sine,
        &[
            (0.0, 40.0),
            (75.0, 60.0),
            (150.0, 40.0),
            (225.0, 20.0),
            (375.0, 60.0),
        ],
    );
    assert_values(
        json!({ "steps": [[0, 10], ["1m", 40], [120, 90]] }),
        &[
            (0.0, 10.0),
            (59.9, 10.0),
            (60.0, 40.0),
            (120.0, 90.0),
            (1e6, 90.0),
        ],
    );
}

#[test]
fn the_largest_value_is_that_of_the_form() {
    for (given, largest) in [
        (
            json!({ "ramp": { "from": 30, "to": 2, "over_s": 1 } }),
            30.0,
        ),
        (
            json!({ "decay": { "from": 2, "to": 30, "half_s": 1 } }),
            30.0,
        ),
        (
            json!({ "square": { "low": 1, "high": 9, "period_s": 1 } }),
            9.0,
        ),
        (
            json!({ "square": { "low": 1, "high": 9, "period_s": 1, "duty": 0 } }),
            1.0,
        ),
        (
            json!({ "sine": { "low": 1, "high": 9, "period_s": 1 } }),
            9.0,
        ),
        (json!({ "steps": [[0, 5], [1, 8], [2, 3]] }), 8.0),
        (json!({ "constant": 20, "noise": 0.05 }), 24.0),
        (json!({ "constant": 90, "noise": 0.05 }), 100.0),
    ] {
        let found = shape(given.clone()).largest();
        assert!((found - largest).abs() < 1e-9, "{given}: {found}");
    }
}

#[test]
fn noise_has_the_mean_and_the_sigma_that_were_asked_for_and_changes_each_second() {
    let noisy = shape(json!({ "constant": 40, "noise": 0.1, "seed": 7 }));
    assert!(!noisy.is_constant());
    let values: Vec<f64> = (0..10_000_u32)
        .map(|second| at(&noisy, f64::from(second)))
        .collect();
    let mean = values.iter().sum::<f64>() / 10_000.0;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 10_000.0;
    // Four standard errors of either.
    assert!((mean - 40.0).abs() < 0.16, "{mean}");
    assert!((variance.sqrt() - 4.0).abs() < 0.12, "{variance}");
    assert_eq!(at(&noisy, 5.0), at(&noisy, 5.9));
    assert_ne!(at(&noisy, 5.0), at(&noisy, 6.0));
    // The same with the same seed only.
    let same = shape(json!({ "constant": 40, "noise": 0.1, "seed": 7 }));
    let other = shape(json!({ "constant": 40, "noise": 0.1 }));
    assert_eq!(at(&noisy, 3.0), at(&same, 3.0));
    assert_ne!(at(&noisy, 3.0), at(&other, 3.0));
}

#[test]
fn noise_stays_in_the_range_of_the_member_and_below_its_limit() {
    let limit = vec![(Resource::TasksPerSecond, 60.0, "TasksPerSecond")];
    let given = json!({ "ramp": { "from": 0, "to": 60, "over_s": 100 }, "noise": 1 });
    let given = Map::from_iter([("rate".to_owned(), given)]);
    let (fields, shape) = read_rate(Fields::new("", given).below(Ceilings::new(limit)));
    fields.finish().expect("good");
    let values: Vec<f64> = (0..1000_u32).map(|s| at(&shape, f64::from(s))).collect();
    assert!(values.iter().all(|value| (0.0..=60.0).contains(value)));
    assert!(values.contains(&60.0) && values.contains(&0.0));
    assert_eq!(shape.largest(), 60.0);
}

#[test]
fn the_effective_form_is_what_was_given_with_its_defaults() {
    for (given, effective) in [
        (json!(80.0), json!(80)),
        (
            json!({ "square": { "low": 0.5, "high": 95.0, "period_s": "1m" } }),
            json!({ "square": { "low": 0.5, "high": 95, "period_s": 60, "duty": 0.5 } }),
        ),
        (
            json!({ "steps": [[0, 1], ["2m", 2.0]], "noise": 0.1 }),
            json!({ "steps": [[0, 1], [120, 2]], "noise": 0.1, "seed": 0 }),
        ),
    ] {
        let shown = fields(given.clone()).0.finish().expect("good")["rate"].clone();
        assert_eq!(shown, effective);
        assert_eq!(shape(effective), shape(given));
    }
}

#[test]
fn a_bad_shape_is_refused_where_it_is_bad() {
    let forms = "constant, ramp, decay, square, sine, steps";
    for (given, expected) in [
        (
            json!("fast"),
            "/rate: must be a number from 0 to 100, or a shape: an object with constant, ramp, decay, square, sine or \
             steps, not \"fast\""
                .to_owned(),
        ),
        (json!({}), format!("/rate: must have one of {forms}")),
        (json!({ "noise": 0.1 }), format!("/rate: must have one of {forms}")),
        (
            json!({ "constant": 1, "steps": [[0, 1]] }),
            "/rate/steps: give either constant or steps, not both".to_owned(),
        ),
        (
            json!({ "rampe": 1, "constant": 1 }),
            format!("/rate/rampe: unknown key; allowed here: {forms}, noise, seed; did you mean \"ramp\"?"),
        ),
        (json!({ "ramp": null }), "/rate/ramp: must not be null".to_owned()),
        (
            json!({ "ramp": { "from": 1, "over_s": 5 } }),
            "/rate/ramp/to: is missing".to_owned(),
        ),
        (
            json!({ "ramp": { "from": 1, "to": 101, "over_s": 5 } }),
            "/rate/ramp/to: must be a number from 0 to 100, not 101".to_owned(),
        ),
        (
            json!({ "sine": { "low": 5, "high": 4, "period_s": 5 } }),
            "/rate/sine/high: must not be below low".to_owned(),
        ),
        (
            json!({ "constant": 1, "seed": 7 }),
            "/rate/seed: has no effect without noise".to_owned(),
        ),
    ] {
        assert_eq!(refused(given), expected);
    }
}

#[test]
fn a_bad_step_is_refused_where_it_is_bad() {
    for (given, expected) in [
        (
            json!([[1, 5]]),
            "/0/0: must be 0: the first value is that of the start",
        ),
        (
            json!([[0, 5], [2, 5], [2, 6]]),
            "/2/0: must be above 2, the time of the step before",
        ),
        (
            json!([[0, 5], [2, 500]]),
            "/1/1: must be a number from 0 to 100, not 500",
        ),
        (
            json!([[0, 5], [7]]),
            "/1: must be a pair of a time in seconds and a value, not [7]",
        ),
        (json!([]), ": must have 1 to 1000 steps, not 0"),
    ] {
        assert_eq!(
            refused(json!({ "steps": given })),
            format!("/rate/steps{expected}")
        );
    }
}

#[test]
fn a_limit_ends_the_values_of_a_shape_too() {
    let limit = vec![(Resource::TasksPerSecond, 10.0, "TasksPerSecond")];
    let given = json!({ "ramp": { "from": 0, "to": 80, "over_s": 60 } });
    let given = Map::from_iter([("rate".to_owned(), given)]);
    let fields = Fields::new("", given).below(Ceilings::new(limit));
    let errors = read_rate(fields).0.finish().expect_err("beyond the limit");
    let expected = "must be a number from 0 to 10 (Limits.TasksPerSecond), not 80";
    assert_eq!(
        (errors[0].pointer.as_str(), errors[0].detail.as_str()),
        ("/rate/ramp/to", expected)
    );
}

#[test]
fn a_shape_of_times_takes_texts_with_a_unit_and_has_milliseconds() {
    let read = |given: Value| {
        let given = Map::from_iter([("ms".to_owned(), given)]);
        let mut fields = Fields::new("", given);
        let shape = fields
            .field("ms", "")
            .shape_of_milliseconds(0.0..=600_000.0, 100.0);
        fields
            .finish()
            .map(|effective| (shape, effective["ms"].clone()))
    };
    let (shape, shown) = read(json!("1.5s")).expect("good");
    assert_eq!((at(&shape, 0.0), shown), (1500.0, json!(1500)));
    let decay = json!({ "decay": { "from": "1s", "to": 50, "half_s": 10 } });
    let (shape, shown) = read(decay).expect("good");
    assert_eq!((at(&shape, 0.0), at(&shape, 10.0)), (1000.0, 525.0));
    assert_eq!(shown["decay"]["from"], 1000);
    assert!(read(json!({ "constant": "11m" })).is_err());
}

#[test]
fn an_optional_shape_is_none_where_it_is_absent() {
    let read = |given: Map<String, Value>| {
        let mut fields = Fields::new("", given);
        let shape = fields.field("x", "").optional().shape(above(0.0, 8.0));
        (shape, fields.finish().expect("good").len())
    };
    assert_eq!(read(Map::new()), (None, 0));
    let given = Map::from_iter([("x".to_owned(), json!({ "constant": 8 }))]);
    let (shape, shown) = read(given);
    assert_eq!((shape.map(|shape| shape.largest()), shown), (Some(8.0), 1));
}

/// Values that are shapes or nearly so.
fn any_shape() -> impl Strategy<Value = Value> {
    let figure = || {
        prop_oneof![
            4 => (0..=100_u8).prop_map(Value::from),
            1 => prop_oneof![Just(json!(-1)), Just(json!(101)), Just(json!("5m")), Just(json!(null))],
        ]
    };
    let members = prop::sample::subsequence(
        vec!["from", "to", "over_s", "half_s", "period_s", "duty", "x"],
        0..5,
    );
    let inner = prop::collection::vec(figure(), 7);
    let object = (members, inner).prop_map(|(names, figures)| {
        let names = names.into_iter().map(str::to_owned);
        Value::Object(names.zip(figures).collect())
    });
    let good = Just(json!({ "from": 1, "to": 2, "over_s": 3 }));
    let steps = prop_oneof![
        Just(json!([[0, 1]])),
        Just(json!([])),
        Just(json!([[0]])),
        Just(json!([[0, 1, 2]])),
        Just(json!([["0s", 1], ["1m", 101]])),
    ];
    let forms = prop::sample::subsequence(
        vec![
            "constant", "ramp", "decay", "square", "sine", "steps", "noise", "seed",
        ],
        0..3,
    );
    let value = || prop_oneof![figure(), object.clone(), good.clone(), steps.clone()];
    (forms, prop::collection::vec(value(), 3)).prop_map(|(forms, values)| {
        let forms = forms.into_iter().map(str::to_owned);
        Value::Object(forms.zip(values).collect())
    })
}

proptest! {
    #[test]
    fn a_shape_is_read_exactly_where_its_schema_allows_it(given in any_shape()) {
        static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
            jsonschema::validator_for(&fields(json!(1)).0.schema()).expect("a schema")
        });
        let valid = VALIDATOR.is_valid(&json!({ "rate": given }));
        let errors = fields(given.clone()).0.finish();
        prop_assert_eq!(errors.is_ok(), valid, "{}: {:?}", given, errors);
    }
}

/// One of each form, with and without noise.
fn each_form() -> Vec<Shape> {
    let forms = [
        json!({ "constant": 7 }),
        json!({ "ramp": { "from": 10, "to": 80, "over_s": 7 } }),
        json!({ "decay": { "from": 100, "to": 20, "half_s": 4 } }),
        json!({ "square": { "low": 5, "high": 95, "period_s": 3, "duty": 0.15 } }),
        json!({ "sine": { "low": 20, "high": 60, "period_s": 5 } }),
        json!({ "steps": [[0, 10], [2.5, 40], [6, 0]] }),
    ];
    let noisy = forms.iter().cloned().map(|mut form| {
        form["noise"] = json!(0.1);
        form
    });
    forms.iter().cloned().chain(noisy).map(shape).collect()
}

#[test]
fn an_area_is_the_sum_of_the_values() {
    let seconds = Duration::from_secs_f64;
    for shape in each_form() {
        for (from, to) in [(0.0, 0.0), (0.0, 1.3), (1.7, 9.1), (30.25, 31.0)] {
            // The middle of each of many short times.
            let parts = 100_000;
            let part = (to - from) / f64::from(parts);
            let middles = (0..parts).map(|i| from + part * (f64::from(i) + 0.5));
            let sum: f64 = middles.map(|middle| at(&shape, middle) * part).sum();
            let area = shape.area(seconds(from), seconds(to));
            assert!((area - sum).abs() < 0.01, "{shape:?}: {area}, not {sum}");
        }
    }
}

#[test]
fn a_shape_jumps_where_its_value_changes_at_once_and_nowhere_else() {
    for shape in each_form() {
        let mut age = Duration::ZERO;
        let before = Duration::from_micros(1);
        for _ in 0..20 {
            let next = shape.next_jump(age);
            let end = next.unwrap_or(age + Duration::from_secs(20));
            assert!(end > age, "{shape:?} at {age:?}");
            // Smooth until then.
            let step = (end - before - age) / 1000;
            for part in 0..1000 {
                let (from, to) = (age + step * part, age + step * (part + 1));
                let change = (shape.value_at(to) - shape.value_at(from)).abs();
                assert!(change < 1.0, "{shape:?} at {from:?}: {change}");
            }
            let Some(next) = next else { break };
            age = next + before;
        }
    }
}

#[test]
fn a_shape_is_as_long_as_it_takes_to_see_all_of_it() {
    let lengths = each_form().into_iter().take(6).map(|shape| {
        let length = shape.length();
        length.map(|length| length.as_secs_f64())
    });
    let expected = [None, Some(7.0), Some(20.0), Some(3.0), Some(5.0), Some(9.5)];
    assert!(lengths.eq(expected));
    assert_eq!(shape(json!({ "steps": [[0, 10]] })).length(), None);
}

#[test]
fn a_shape_may_come_down_to_the_lower_end_that_a_number_must_exceed() {
    let read = |given: Value| {
        let mut fields = Fields::new("", Map::from_iter([("x".to_owned(), given)]));
        fields.field("x", "").shape(above(0.0, 8.0), 1.0);
        let shapes = fields.shapes().to_vec();
        let names: Vec<_> = shapes.into_iter().map(|(name, _)| name).collect();
        (names, fields.finish().is_ok())
    };
    let rests = json!({ "square": { "low": 0, "high": 8, "period_s": 1 } });
    assert_eq!(read(rests), (vec!["x".to_owned()], true));
    assert_eq!(read(json!(1)), (vec![], true));
    assert!(!read(json!(0)).1);
    assert!(!read(json!({ "constant": -1 })).1);
}
