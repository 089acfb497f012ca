//! Tests of the built daemon, as its users meet it: a process, its sockets, its files and its signals.
//! One binary, so that it is linked once.

mod common;

/// Every route, byte for byte where the document shows it.
mod api;

/// Every kind of bad input: what is answered, and that what ran before still runs.
mod bad_input;

/// The boot profile: versions that are bad by their configuration.
mod boot;

/// Clients that hold connections and give nothing, and what they cost everybody else.
mod connections;

/// What happens where the system has no more to give.
mod exhaustion;

/// What each fault does, as it is seen from outside.
mod faults;

/// Figures that noise cannot move, at twice the bar of the benchmark.
mod fidelity;

/// Who may ask what: the token, and the pages of other sites.
mod guard;

/// What happened, kept and told: on disk, page by page, as a stream and as sessions.
mod ledger;

/// What earlier versions wrote: their ledgers and their configurations.
mod recorded;

/// Both pages of metrics: what a scraper reads at rest, under faults and after them.
mod metrics;

/// The description of the API beside what the daemon does.
mod openapi;

/// The process: its command line, its configuration, its logs and its signals.
mod process;

/// The folders of `src` as floors: imports go downwards only.
mod floors;

/// What an operator forbids, and what a request may only be told.
mod rails;

/// The documents: their commands run, their links lead somewhere, both READMEs say the same.
mod readme;

/// The generated reference is the one in the repository.
mod reference;

/// What a stop gives back: threads, files, memory, the way in.
mod release;

/// How SIGTERM is taken, and what a fault makes of it.
mod shutdown;

/// What runs together, what takes whose place, and who ends whom.
mod sessions;

/// Spans of requests, as a collector gets them or does not.
mod traces;
