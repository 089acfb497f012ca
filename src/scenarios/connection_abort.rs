//! `connection_abort`: connections end instead of the answer, or within it.

use crate::fault::{Action, Edit, Ending, Matcher, TrafficProbe};
use crate::input::{Fields, above};
use crate::plugin::{Active, Group, RunContext, Scenario, StartError};

/// The rate of `drip` without `bytes_per_second`.
const DRIP: f64 = 100.0;

/// Breaks the connections of matching requests.
#[derive(Debug)]
pub(super) struct ConnectionAbort {
    mode: Mode,
    after_bytes: Option<u32>,
    bytes_per_second: Option<f64>,
    matcher: Matcher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A TCP reset instead of the answer.
    Reset,
    /// The connection closes without an answer.
    Close,
    /// The body ends before its promised length.
    Truncate,
    /// The body comes slowly.
    Drip,
    /// No answer comes, and the route is not called.
    Hang,
    /// What comes is not HTTP.
    Garbage,
}

impl Scenario for ConnectionAbort {
    const NAME: &'static str = "connection_abort";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str =
        "Resets, closes, cuts, slows down or hangs the connections of requests";
    const EXAMPLE: &'static str = r#"{"mode": "reset", "match": {"share": 0.1}}"#;

    fn read(fields: &mut Fields) -> Self {
        fields.only_where("after_bytes", ("mode", &["truncate"]), false);
        fields.only_where("bytes_per_second", ("mode", &["drip"]), false);
        let about = "A TCP reset, a close without an answer, a body that is cut, one that comes slowly, no answer at \
                     all, or one that is not HTTP.";
        let mode = fields.field("mode", about).choice(&[
            ("reset", Mode::Reset),
            ("close", Mode::Close),
            ("truncate", Mode::Truncate),
            ("drip", Mode::Drip),
            ("hang", Mode::Hang),
            ("garbage", Mode::Garbage),
        ]);
        let about = "Bytes of the body that are sent (truncate); half of it by default. An answer that is not longer stays.";
        let after_bytes = fields.field("after_bytes", about).unit("bytes").optional();
        let after_bytes = after_bytes.integer(0..=u32::MAX);
        let about = "How fast the body is sent (drip); 100 by default.";
        let rate = fields.field("bytes_per_second", about).unit("bytes/s");
        Self {
            mode,
            after_bytes,
            bytes_per_second: rate.optional().number(above(0.0, 1e9)),
            matcher: Matcher::read(fields),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let action = self.action();
        let tally = cx.arm(self.matcher, move |_, _| action.clone());
        let probe = TrafficProbe::share(tally, "share of requests").metrics(&[
            ("matched_requests", |tally| tally.matched().into()),
            ("aborted_requests", |tally| tally.touched().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

impl ConnectionAbort {
    fn action(&self) -> Action {
        Action::Edit(match self.mode {
            Mode::Hang => return Action::Hang,
            Mode::Reset => Edit::End(Ending::Reset),
            Mode::Close => Edit::End(Ending::Close),
            Mode::Garbage => Edit::End(Ending::Garbage),
            Mode::Truncate => Edit::End(Ending::Truncate(self.after_bytes.map(u64::from))),
            Mode::Drip => Edit::Drip(self.bytes_per_second.unwrap_or(DRIP)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scenarios::tests::{assert_defaults, read};

    #[test]
    fn defaults() {
        assert_defaults::<ConnectionAbort>(json!({
            "mode": "reset",
            "match": {
                "routes": [], "headers": {}, "probes": true, "share": 1, "every": 1,
            },
        }));
    }

    fn action(given: Value) -> Action {
        let (abort, _) = read::<ConnectionAbort>(given).expect("valid");
        abort.action()
    }

    #[test]
    fn each_mode_does_what_its_name_says() {
        let truncate = |after| Action::Edit(Edit::End(Ending::Truncate(after)));
        assert_eq!(action(json!({ "mode": "truncate" })), truncate(None));
        let given = json!({ "mode": "truncate", "after_bytes": 3 });
        assert_eq!(action(given), truncate(Some(3)));
        let given = json!({ "mode": "drip", "bytes_per_second": 5 });
        assert_eq!(action(given), Action::Edit(Edit::Drip(5.0)));
        assert_eq!(action(json!({ "mode": "hang" })), Action::Hang);
    }

    #[test]
    fn a_parameter_of_another_mode_is_refused() {
        for (name, given) in [
            ("/after_bytes", json!({ "after_bytes": 3 })),
            ("/after_bytes", json!({ "mode": "drip", "after_bytes": 3 })),
            (
                "/bytes_per_second",
                json!({ "mode": "truncate", "bytes_per_second": 3 }),
            ),
        ] {
            let errors = read::<ConnectionAbort>(given).expect_err("refused");
            assert_eq!(errors[0].pointer, name);
        }
    }
}
