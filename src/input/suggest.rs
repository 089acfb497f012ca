//! "Did you mean": the known name that an unknown one is most likely meant for.

use strsim::normalized_damerau_levenshtein;

/// Below this likeness, from 0 to 1, a suggestion would be a guess.
const LEAST: f64 = 0.6;
/// What shares nothing but its beginning or its end is the weakest of suggestions.
const PART: f64 = LEAST;
/// A part of fewer characters says nothing.
const SHORTEST_PART: usize = 3;
/// A longer name is no slip of the keyboard, and comparing it would cost time.
const LONGEST: usize = 100;

/// The name of `known` that `wrong` is most likely meant for, if any: case and separators do not count, and a slip or a
/// forgotten part is forgiven.
pub(crate) fn closest<'k>(
    wrong: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    if wrong.chars().count() > LONGEST {
        return None;
    }
    let wrong = folded(wrong);
    let mut best = None;
    for name in known {
        let likeness = likeness(&wrong, &folded(name));
        // Of equals the first.
        if likeness >= LEAST && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, name));
        }
    }
    best.map(|(_, name)| name)
}

/// The end of a message about the unknown name `wrong`: a question, or nothing where no name is close.
pub(crate) fn did_you_mean<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    match closest(wrong, known) {
        Some(name) => format!("; did you mean {name:?}?"),
        None => String::new(),
    }
}

/// As people confuse them: `cpu-burner`, `CpuBurner` and `cpu_burner` are one.
fn folded(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

fn likeness(wrong: &str, known: &str) -> f64 {
    let (short, long) = match wrong.len() < known.len() {
        true => (wrong, known),
        false => (known, wrong),
    };
    let is_part = short.chars().count() >= SHORTEST_PART
        && (long.starts_with(short) || long.ends_with(short));
    let whole = normalized_damerau_levenshtein(wrong, known);
    if is_part { whole.max(PART) } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_case_separators_and_missing_parts_are_forgiven() {
        let known = ["cpu_burner", "memory_leaker", "network_latency", "disk_io"];
        for (wrong, right) in [
            ("cpu-burner", "cpu_burner"),
            ("CpuBurner", "cpu_burner"),
            ("cpu", "cpu_burner"),
            ("CPU burner", "cpu_burner"),
            ("latency", "network_latency"),
            ("memory_leak", "memory_leaker"),
            ("diskio", "disk_io"),
            ("dsik_io", "disk_io"),
        ] {
            assert_eq!(closest(wrong, known), Some(right), "{wrong}");
        }
        assert_eq!(
            closest("target_precent", ["cores", "target_percent"]),
            Some("target_percent")
        );
        assert_eq!(closest("hots", ["Port", "Host"]), Some("Host"));
        assert_eq!(closest("/helth", ["/ready", "/health"]), Some("/health"));
    }

    #[test]
    fn what_resembles_nothing_gets_no_suggestion() {
        let known = ["cpu_burner", "disk_io", "a"];
        for wrong in ["", "x", "io", "burst", "chaos", "\u{0}"] {
            assert_eq!(closest(wrong, known), None, "{wrong}");
        }
        assert_eq!(closest(&"cpu_burner".repeat(1000), known), None);
        assert_eq!(closest("x", []), None);
    }

    #[test]
    fn of_several_the_most_alike_is_meant() {
        let known = ["target_percent_of_limit", "target_mb", "target_percent"];
        assert_eq!(closest("target_percnt", known), Some("target_percent"));
        assert_eq!(closest("target_m", known), Some("target_mb"));
        assert_eq!(
            did_you_mean("target_m", known),
            "; did you mean \"target_mb\"?"
        );
        assert_eq!(did_you_mean("xyz", known), "");
    }
}
