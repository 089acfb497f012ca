//! Tests of the built daemon from outside: its process, sockets, files and signals. One binary, so that it is linked
//! once; the first line of each module says what it tests.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, with its line"
)]

mod api;
mod auth;
mod bad_input;
mod blind;
mod boot;
mod clock_skew;
mod configuration;
mod connections;
mod ctl;
mod exam;
mod exhaustion;
mod faults;
mod fidelity;
mod floors;
mod guard_rails;
mod http_rules;
mod input;
mod labels;
mod ledger;
mod log_faults;
mod logs;
mod metrics;
mod metrics_faults;
mod onsets;
mod openapi;
mod process;
mod readme;
mod recorded;
mod reference;
mod release;
mod requests;
mod resources;
mod sessions;
mod shapes;
mod shop;
mod shutdown;
mod signals;
mod support;
mod traces;
mod traffic;
mod upstreams;
mod words;
mod workload;
