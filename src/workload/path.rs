//! Paths of routes: texts and names in braces, such as `/api/orders/{id}`.

use std::cmp::Ordering;
use std::fmt;

/// The path of a route, in which a name in braces takes the place of any one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(String),
    Name(String),
}

/// What is allowed, for messages.
pub(crate) const PATH_RULE: &str = "must be a path that begins with /, of segments of letters, digits, - . _ ~ or a \
                                    name in braces, such as /api/orders/{id}";

impl PathTemplate {
    /// None where `text` breaks the [`PATH_RULE`] or has a name twice.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('/')?;
        let segments = match rest {
            "" => Vec::new(),
            rest => rest
                .split('/')
                .map(Segment::parse)
                .collect::<Option<Vec<_>>>()?,
        };
        let template = Self {
            text: text.to_owned(),
            segments,
        };
        let mut names = template.names();
        names.sort_unstable();
        let is_unique = names.windows(2).all(|pair| pair[0] != pair[1]);
        is_unique.then_some(template)
    }

    /// As it was given.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The names in braces.
    pub(crate) fn names(&self) -> Vec<&str> {
        let names = self.segments.iter().filter_map(|segment| match segment {
            Segment::Name(name) => Some(name.as_str()),
            Segment::Text(_) => None,
        });
        names.collect()
    }

    /// The same path with names that depend on nothing but their place: a router takes no two names in one place.
    pub(crate) fn for_router(&self) -> String {
        let segments = self.segments.iter().enumerate();
        let path: String = segments
            .map(|(at, segment)| match segment {
                Segment::Text(text) => format!("/{text}"),
                Segment::Name(_) => format!("/{{p{at}}}"),
            })
            .collect();
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }

    /// A path that fits: `value` gives the segment in the place of each name.
    pub(crate) fn filled(&self, mut value: impl FnMut(&str) -> String) -> String {
        let segments = self.segments.iter();
        let path: String = segments
            .map(|segment| match segment {
                Segment::Text(text) => format!("/{text}"),
                Segment::Name(name) => format!("/{}", value(name)),
            })
            .collect();
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }

    /// Whether some path fits both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let pairs = self.segments.iter().zip(&other.segments);
        let fits = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Text(a), Segment::Text(b)) => a == b,
            _ => true,
        };
        self.segments.len() == other.segments.len() && pairs.into_iter().all(fits)
    }

    /// Whether `path` is one of those that it stands for.
    pub(crate) fn fits(&self, path: &str) -> bool {
        let given = path.strip_prefix('/').unwrap_or(path);
        let given: Vec<&str> = given.split('/').filter(|_| !given.is_empty()).collect();
        let fits = |(segment, given): (&Segment, &&str)| match segment {
            Segment::Text(text) => text == given,
            Segment::Name(_) => !given.is_empty(),
        };
        given.len() == self.segments.len() && self.segments.iter().zip(&given).all(fits)
    }

    /// Which of two that fit a path a router takes: the lesser, which has a text where they first differ.
    pub(crate) fn precedence(a: &Self, b: &Self) -> Ordering {
        let is_name = |segment: &Segment| matches!(segment, Segment::Name(_));
        let (a, b) = (
            a.segments.iter().map(is_name),
            b.segments.iter().map(is_name),
        );
        a.cmp(b)
    }

    /// Each name with its segment of `path`, which fits this template.
    pub(crate) fn values<'a>(&'a self, path: &'a str) -> Vec<(&'a str, &'a str)> {
        let given = path.strip_prefix('/').unwrap_or(path).split('/');
        let pairs = self.segments.iter().zip(given);
        let values = pairs.filter_map(|(segment, given)| match segment {
            Segment::Name(name) => Some((name.as_str(), given)),
            Segment::Text(_) => None,
        });
        values.collect()
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(text: &str) -> Option<Self> {
        let inner = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'));
        let is_plain = |text: &str, more: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        match inner {
            Some(name) => is_plain(name, "_").then(|| Self::Name(name.to_owned())),
            None => is_plain(text, "-._~").then(|| Self::Text(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PathTemplate {
        PathTemplate::parse(text).expect("a good path")
    }

    #[test]
    fn what_no_router_takes_is_no_path() {
        for bad in [
            "", "a", "/a/", "//", "/a b", "/{}", "/{a}{b}", "/a{b}", "/{*a}", "/%41", "/{a}/{a}",
            "/a?b",
        ] {
            assert_eq!(PathTemplate::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_those_of_the_segments_in_their_place() {
        let path = template("/api/{shop}/orders/{id}");
        assert_eq!(path.names(), ["shop", "id"]);
        assert_eq!(path.values("/api/a/orders/7"), [("shop", "a"), ("id", "7")]);
        assert_eq!(path.for_router(), "/api/{p1}/orders/{p3}");
        assert_eq!(template("/").for_router(), "/");
    }

    #[test]
    fn a_name_overlaps_with_any_segment() {
        for (a, b, overlaps) in [
            ("/a/{x}", "/a/b", true),
            ("/a/{x}", "/a/{y}", true),
            ("/a/{x}", "/b/{x}", false),
            ("/a", "/a/b", false),
            ("/", "/{x}", false),
        ] {
            assert_eq!(template(a).overlaps(&template(b)), overlaps, "{a} {b}");
        }
    }
}
