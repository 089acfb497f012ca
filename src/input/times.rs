//! Times as texts with a unit of their own, such as `"5m"`: the reader, and the pattern that says the same in a schema.
//!
//! One number and one unit, so that a pattern can state the exact range of a member: what a JSON Schema allows is what is
//! read. Not the crate humantime: its texts (`2h 37min`) have no such pattern, and of its `5m` and `5M` one is a month.

use std::time::Duration;

/// `time` in milliseconds, as a person would write it.
pub(crate) fn in_ms(time: Duration) -> f64 {
    // Multiplying the seconds would make 49.5 ms of 49.500000000000004.
    time.as_nanos() as f64 / 1e6
}

/// What such a text is, for messages.
pub(super) const FORM: &str =
    "a text of a number and one unit of ms, s, m, h and d, such as \"500ms\" or \"1.5h\"";
/// The same where the time must be whole seconds.
pub(super) const WHOLE_FORM: &str =
    "a text of a whole number and one unit of s, m, h and d, such as \"5m\"";

/// A unit of such a text, with its nanoseconds, and the decimals that it may have: all of them name whole nanoseconds.
struct Unit {
    name: &'static str,
    nanos: u128,
    decimals: u32,
}

const fn unit(name: &'static str, nanos: u128, decimals: u32) -> Unit {
    Unit {
        name,
        nanos,
        decimals,
    }
}

const S: u128 = 1_000_000_000;

const UNITS: [Unit; 5] = [
    unit("ms", S / 1000, 6),
    unit("s", S, 9),
    unit("m", 60 * S, 9),
    unit("h", 3600 * S, 9),
    unit("d", 86_400 * S, 9),
];

/// The texts of one member: those that name at most `most` nanoseconds, and nothing less than a second where `whole`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts {
    pub(super) most: u128,
    pub(super) whole: bool,
}

impl Texts {
    /// The time in nanoseconds; none where the text is not of the form, or names more than the most.
    pub(super) fn read(self, text: &str) -> Option<u128> {
        let end = text.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, name) = text.split_at(end);
        let (unit, decimals) = self.units().find(|(unit, _)| unit.name == name)?;
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (number, ""),
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let has_room = fraction.len() <= decimals as usize;
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) || !has_room {
            return None;
        }
        let whole: u128 = whole.parse().ok()?;
        let fraction: u128 = format!("{fraction:0<width$}", width = decimals as usize)
            .parse()
            .unwrap_or(0);
        let steps = whole.checked_mul(10_u128.pow(decimals))?;
        let nanos = steps
            .checked_add(fraction)?
            .checked_mul(unit.nanos / 10_u128.pow(decimals))?;
        (nanos <= self.most).then_some(nanos)
    }

    /// A regular expression for exactly the texts that are read, in the common dialect of all engines.
    pub(super) fn pattern(self) -> String {
        let of_unit = |(unit, decimals): (&Unit, u32)| {
            let scale = 10_u128.pow(decimals);
            let most = self.most / (unit.nanos / scale);
            let number = at_most(most / scale, most % scale, decimals as usize);
            format!("0*{number}{}", unit.name)
        };
        let units: Vec<_> = self.units().map(of_unit).collect();
        format!("^({})$", units.join("|"))
    }

    /// A regular expression for the texts of the form that name no time at all.
    pub(super) const ZERO: &str = "^[0.]+[a-z]+$";

    fn units(self) -> impl Iterator<Item = (&'static Unit, u32)> {
        let units = UNITS
            .iter()
            .filter(move |unit| !self.whole || unit.nanos >= S);
        units.map(move |unit| (unit, if self.whole { 0 } else { unit.decimals }))
    }
}

/// The numbers of at most `whole` and `fraction`, which has this many decimals.
fn at_most(whole: u128, fraction: u128, decimals: usize) -> String {
    let any_fraction = match decimals {
        0 => String::new(),
        _ => format!(r"(\.[0-9]{{1,{decimals}}})?"),
    };
    let mut numbers = Vec::new();
    if whole > 0 {
        let below = digits_up_to(&(whole - 1).to_string());
        numbers.push(format!("({}){any_fraction}", below.join("|")));
    }
    let fraction = match decimals {
        0 => String::new(),
        _ => format!(r"(\.({}))?", fractions_up_to(fraction, decimals).join("|")),
    };
    numbers.push(format!("{whole}{fraction}"));
    format!("({})", numbers.join("|"))
}

/// The numbers of at most `most`, with or without zeros before them.
fn digits_up_to(most: &str) -> Vec<String> {
    let mut numbers = vec![most.to_owned()];
    for (at, digit) in most.char_indices().filter(|(_, digit)| *digit > '0') {
        let below = lower(digit);
        numbers.push(format!(
            "{}{below}{}",
            &most[..at],
            any(most.len() - at - 1)
        ));
    }
    if most.len() > 1 {
        numbers.push(format!("[0-9]{{1,{}}}", most.len() - 1));
    }
    numbers
}

/// The decimals, one to `decimals` of them, of at most `most`.
fn fractions_up_to(most: u128, decimals: usize) -> Vec<String> {
    let all = format!("{most:0decimals$}");
    let digits = all.trim_end_matches('0');
    let zeros = |n: usize| match n {
        0 => String::new(),
        n => format!("0{{0,{n}}}"),
    };
    if digits.is_empty() {
        return vec![format!("0{{1,{decimals}}}")];
    }
    let mut fractions = vec![format!("{digits}{}", zeros(decimals - digits.len()))];
    for (at, digit) in digits.char_indices() {
        let rest = decimals - at - 1;
        if digit > '0' {
            let any = match rest {
                0 => String::new(),
                rest => format!("[0-9]{{0,{rest}}}"),
            };
            fractions.push(format!("{}{}{any}", &digits[..at], lower(digit)));
        }
        if at > 0 {
            fractions.push(digits[..at].to_owned());
        }
    }
    fractions
}

/// The digits below `digit`, which is above 0.
fn lower(digit: char) -> String {
    match digit {
        '1' => "0".to_owned(),
        digit => format!("[0-{}]", char::from(digit as u8 - 1)),
    }
}

fn any(digits: usize) -> String {
    match digits {
        0 => String::new(),
        digits => format!("[0-9]{{{digits}}}"),
    }
}

#[cfg(test)]
mod tests {
    use jsonschema::validator_for;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn texts(most: u128) -> Texts {
        Texts { most, whole: false }
    }

    #[test]
    fn a_text_is_one_number_and_one_unit() {
        let day = texts(86_400 * S);
        for (text, nanos) in [
            ("5m", 300 * S),
            ("300s", 300 * S),
            ("500ms", S / 2),
            ("1.5h", 5400 * S),
            ("1d", 86_400 * S),
            ("24.000h", 86_400 * S),
            ("007s", 7 * S),
            ("0s", 0),
            ("0.000000001s", 1),
        ] {
            assert_eq!(day.read(text), Some(nanos), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "5 m",
            " 5m",
            "5m ",
            "+5m",
            "-5m",
            "5M",
            "5min",
            "5us",
            "1h30m",
            "1.m",
            ".5m",
            "1.0000000001s",
            "1e3s",
            "1_000s",
            "5\u{6d}\u{301}",
            "\u{663}s",
            "25h",
            "86400001ms",
            "99999999999999999999999999999999999999999d",
            "0.0000001ms",
        ] {
            assert_eq!(day.read(bad), None, "{bad}");
        }
    }

    #[test]
    fn whole_seconds_have_no_decimals_and_no_milliseconds() {
        let whole = Texts {
            most: 86_400 * S,
            whole: true,
        };
        assert_eq!(whole.read("5m"), Some(300 * S));
        for bad in ["1.5m", "1000ms", "1.0s", "86401s"] {
            assert_eq!(whole.read(bad), None, "{bad}");
        }
    }

    /// Numbers near the ends of ranges, with digits that a carry would change.
    fn number() -> impl Strategy<Value = String> {
        let digits = prop::collection::vec(prop::sample::select(vec!['0', '1', '5', '9']), 1..7);
        let text = digits.prop_map(|digits| digits.into_iter().collect::<String>());
        let fraction = prop::option::of("[019]{1,10}");
        (text, fraction).prop_map(|(whole, fraction)| match fraction {
            Some(fraction) => format!("{whole}.{fraction}"),
            None => whole,
        })
    }

    proptest! {
        #[test]
        fn the_pattern_allows_exactly_what_is_read(
            most in prop_oneof![0..200_000 * S, Just(86_400 * S), Just(600 * S), Just(49_500_000), Just(1)],
            whole: bool,
            number in number(),
            unit in "(ms|s|m|h|d|w)",
            other in "[0-9.msh -]{0,6}",
        ) {
            let texts = Texts { most, whole };
            let schema = json!({ "pattern": texts.pattern() });
            let validator = validator_for(&schema).expect("a schema");
            for text in [format!("{number}{unit}"), other] {
                prop_assert_eq!(validator.is_valid(&json!(text)), texts.read(&text).is_some(), "{}", text);
            }
        }

        #[test]
        fn the_most_itself_is_allowed_and_the_next_is_not(most in 1..400_000 * S) {
            let validator = validator_for(&json!({ "pattern": texts(most).pattern() })).expect("a schema");
            let text = |nanos: u128| format!("{}.{:09}s", nanos / S, nanos % S);
            prop_assert!(validator.is_valid(&json!(text(most))));
            prop_assert!(!validator.is_valid(&json!(text(most + 1))));
        }
    }
}
