//! What a candidate sees of a control and of a fault, and how long that takes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::patient::Patient;
use crate::row::Row;
use crate::support::{agent, send};
use crate::table::Table;

const REQUESTS: usize = 1000;

pub(crate) fn measure(table: &mut Table) {
    let mut patients = ["control_quiet", "latency_regression_p50"].map(|preset| {
        let mut patient = Patient::start(&[]);
        let body = json!({
            "preset": preset, "time_scale": 1, "onset_s": [300, 300], "duration_s": 600, "traffic_rps": 0,
        });
        patient.open(body, Duration::from_secs(60)).unwrap();
        patient
    });
    let lengths = patients.each_mut().map(|patient| {
        let answer = patient.ask("GET", "/api/v1/drills/current", &json!({}));
        answer.body.to_string().len()
    });
    table.row(Row {
        what: "bytes of the masked view of a control and of a fault",
        asked: lengths[0].to_string(),
        achieved: lengths[1].to_string(),
        error: String::new(),
        bar: "equal",
        held: lengths[0] == lengths[1],
    });
    let agents = [agent(), agent()];
    let mut times = [Vec::new(), Vec::new()];
    // In turn, so that both meet the same noise.
    for _ in 0..REQUESTS {
        for (i, patient) in patients.iter().enumerate() {
            let began = Instant::now();
            send(
                &agents[i],
                "GET",
                patient.daemon.admin,
                "/api/v1/drills/current",
                b"",
                &[],
            );
            times[i].push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [control, fault] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        (at(0.5), at(0.75) - at(0.25))
    });
    let noise = control.1.max(fault.1);
    table.row(Row {
        what: "time to answer it, median of 1,000: control; fault",
        asked: format!("{:.0} us", control.0),
        achieved: format!("{:.0} us", fault.0),
        error: format!("{:+.0} us", fault.0 - control.0),
        bar: &format!("less than the noise, {noise:.0} us between quartiles"),
        held: (fault.0 - control.0).abs() < noise,
    });
}
