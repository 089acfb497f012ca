//! From a seed to a plan.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::patient::{Need, Patient};
use super::plan::{GENERATOR, MOST_RESTARTS, Plan, PlannedScenario, start_body};
use super::pool::Pool;
use super::preset::drawing::{Drawing, Ends, plain, resolve};
use super::preset::{Preset, PresetScenario, Presets};
use super::request::DrillRequest;
use super::scale::{scale, scale_shapes, scaled_s, seed_noise};
use super::streams::{Stream, Streams, rounded};

/// How long a drill stays open after its faults, in seconds at a time scale of 1.
const ANSWER_WITHIN_S: f64 = 120.0;
/// The latest that a fault of a preset begins or does what it does, as a share of the time that is left for it: however
/// short the drill is, there is something of it.
const LATEST_SHARE: f64 = 0.5;

/// Why no plan can be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    /// The request names a preset that there is not.
    #[error("unknown preset {name:?}; GET /api/v1/presets lists all{meant}")]
    UnknownPreset {
        /// As it was given.
        name: String,
        /// The name that it is most likely meant for, as a question, or nothing.
        meant: String,
    },
    /// The request names a preset that the service cannot have.
    #[error("{preset} needs {}", need.as_text())]
    Needs {
        /// Its name.
        preset: String,
        /// What there is not.
        need: Need,
    },
    /// No preset is left, or only controls where faults are asked for too.
    #[error(
        "no fault of that difficulty can be started here for so long: see Limits of the configuration"
    )]
    EmptyPool,
}

/// Whether the body of a composite start would be accepted.
pub(crate) type Allows<'a> = &'a dyn Fn(Map<String, Value>) -> bool;

/// The plan of the drill that `request` asks for: a pure function of what it is given. What is drawn is drawn from those
/// presets that `allows` accepts, whatever their values are.
///
/// # Errors
/// There is no such preset, or none.
pub(crate) fn draw(
    request: &DrillRequest,
    seed: &str,
    presets: &Presets,
    (patient, allows): (&Patient, Allows<'_>),
    vocabulary: &[&str],
) -> Result<Plan, PlanError> {
    let streams = Streams::of(seed);
    let pool = Pool::of(request, presets, patient, allows)?;
    let preset = pool.draw(&streams)?;
    let onset_s = match preset.from_birth {
        true => 0.0,
        false => onset_of(request, &streams),
    };
    let parts = Parts {
        request,
        patient,
        onset_s,
    };
    let mut noise = streams.stream("noise");
    let labelled = |prefix| Labelled {
        streams: &streams,
        prefix,
    };
    let scenarios = preset.scenarios.iter().map(|scenario| {
        let mut drawing = labelled(format!("param/{}/", scenario.name));
        parts.scenario(scenario, &mut drawing, &mut || noise.seed())
    });
    let scenarios = scenarios.collect();
    let traffic = preset.traffic.as_ref().map(|shape| {
        let mut drawing = labelled("traffic/".to_owned());
        parts.traffic(shape, &mut drawing, &mut || noise.seed())
    });
    let (duration_s, time_scale) = (request.duration_s, request.time_scale);
    // Not from the onset that was drawn: the deadline is shown, and would give it away.
    let latest_end_s = request.onset_s.1 + duration_s;
    let earliest_s = latest_end_s + scaled_s(ANSWER_WITHIN_S, time_scale);
    Ok(Plan {
        generator: GENERATOR,
        preset: preset.name.clone(),
        difficulty: preset.difficulty,
        scenarios,
        traffic: traffic.map(|shape| (onset_s, shape)),
        expect: preset.expect.clone(),
        persist: request.persist.or(preset.persist).unwrap_or_default(),
        time_scale,
        onset_s,
        duration_s,
        deadline_s: request
            .deadline_s
            .unwrap_or_default()
            .max(in_ms(earliest_s)),
        max_answers: request.max_answers,
        max_restarts: MOST_RESTARTS,
        traffic_rps: request.traffic_rps,
        pool: pool.members(),
        vocabulary: vocabulary.iter().map(|&name| name.to_owned()).collect(),
    })
}

fn onset_of(request: &DrillRequest, streams: &Streams) -> f64 {
    let (earliest, latest) = request.onset_s;
    let share = streams.stream("onset").unit();
    in_ms(earliest + share * (latest - earliest)).clamp(earliest, latest)
}

/// Lowers the time `name` of `params` to `most_s`.
fn cap(params: &mut Map<String, Value>, name: &str, most_s: f64) {
    if let Some(time) = params.get_mut(name)
        && time.as_f64().is_some_and(|time_s| time_s > most_s)
    {
        *time = plain(in_ms(most_s));
    }
}

/// In whole milliseconds.
fn in_ms(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// The bodies of the starts of `preset` at the ends of all that is drawn.
pub(super) fn starts_at_ends(
    preset: &Preset,
    request: &DrillRequest,
    patient: &Patient,
) -> Vec<Map<String, Value>> {
    let parts = Parts {
        request,
        patient,
        onset_s: request.onset_s.1,
    };
    let starts = (0..preset.ways()).filter_map(|way| {
        let scenarios = preset.scenarios.iter();
        let scenarios =
            scenarios.map(|scenario| parts.scenario(scenario, &mut Ends(way), &mut || 0));
        start_body(&scenarios.collect::<Vec<_>>(), 0.0)
    });
    starts.collect()
}

/// What each part of a plan is made with.
struct Parts<'d> {
    request: &'d DrillRequest,
    patient: &'d Patient,
    onset_s: f64,
}

impl Parts<'_> {
    /// `seed` gives the seeds of noise.
    fn scenario(
        &self,
        scenario: &PresetScenario,
        drawing: &mut dyn Drawing,
        seed: &mut dyn FnMut() -> u32,
    ) -> PlannedScenario {
        let mut drawn = |value: &Value, at: &str| resolve(value, at, drawing, self.patient);
        let params = scenario.params.iter();
        let params = params.map(|(name, value)| (name.clone(), drawn(value, name)));
        let mut params: Map<String, Value> = params.collect();
        params
            .values_mut()
            .for_each(|value| seed_noise(value, seed));
        let time_scale = self.request.time_scale;
        scale(&mut params, &scenario.times, &scenario.rates, time_scale);
        let mut seconds = |time: &Value, at: &str| {
            let time_s = drawn(time, at).as_f64();
            time_s.map(|time_s| scaled_s(time_s, time_scale))
        };
        let lasts_s = self.request.duration_s;
        let after_s = seconds(&scenario.after, "after").unwrap_or_default();
        let after_s = after_s.min(lasts_s * LATEST_SHARE);
        let left_s = lasts_s - after_s;
        for time in &scenario.times {
            cap(&mut params, time, left_s * LATEST_SHARE);
        }
        let duration = scenario.duration.as_ref();
        let duration_s = duration.and_then(|duration| seconds(duration, "duration"));
        PlannedScenario {
            name: scenario.name.clone(),
            after_s: in_ms(self.onset_s + after_s),
            duration_s: in_ms(duration_s.map_or(left_s, |own_s| own_s.min(left_s))),
            params,
            graded: scenario.graded.clone(),
        }
    }

    fn traffic(
        &self,
        shape: &Value,
        drawing: &mut dyn Drawing,
        seed: &mut dyn FnMut() -> u32,
    ) -> Value {
        let mut shape = resolve(shape, "shape", drawing, self.patient);
        seed_noise(&mut shape, seed);
        scale_shapes(&mut shape, self.request.time_scale);
        shape
    }
}

/// Draws each value from a stream of its own.
struct Labelled<'s> {
    streams: &'s Streams,
    prefix: String,
}

impl Labelled<'_> {
    fn stream(&self, at: &str) -> Stream {
        self.streams.stream(&format!("{}{at}", self.prefix))
    }
}

impl Drawing for Labelled<'_> {
    fn number(&mut self, at: &str, low: f64, high: f64) -> f64 {
        let drawn = self.stream(at).log_uniform(low, high);
        rounded(drawn, 12)
    }

    fn index(&mut self, at: &str, count: usize) -> usize {
        self.stream(at).below(count)
    }
}
