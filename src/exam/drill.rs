//! Opens, keeps and closes the one open drill of the process.
//!
//! Sketch of what the handlers call; all are methods of [`Exam`], which is cheap to clone and is a member of the `Api`:
//!
//! - `open(body, by) -> Result<DrillView, ExamError>`: reads the request, draws the plan, starts the faults.
//! - `current() -> Option<MaskedView>`
//! - `answer(id, body) -> Result<Accepted, ExamError>`
//! - `release_event(id, body) -> Result<(), ExamError>`; `id` may be `current`
//! - `taint(path)`: notes that someone other than the admin asked for a truth path
//! - `close(id, by) -> Result<String, ExamError>`: the report as JSON text
//! - `report(id) -> Result<(String, Reveal), ExamError>`
//! - `history(query) -> History`
//! - `presets() -> ...`
