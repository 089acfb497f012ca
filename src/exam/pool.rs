//! The pool that a drill is drawn from, with how likely each preset is.
//!
//! Faults are drawn by what causes them first and by preset then, so that a cause with many presets is no better guess
//! than one with few.

use std::collections::{BTreeMap, BTreeSet};

use super::draw::{Allows, PlanError, starts_at_ends};
use super::patient::Patient;
use super::plan::PoolMember;
use super::preset::{Preset, Presets};
use super::request::DrillRequest;
use super::streams::{Streams, rounded};
use crate::input::suggest::did_you_mean;

/// The presets that can be drawn, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Pool<'p> {
    controls: Vec<&'p Preset>,
    /// By the set of their causes.
    faults: BTreeMap<BTreeSet<&'p str>, Vec<&'p Preset>>,
    control_rate: f64,
}

impl<'p> Pool<'p> {
    /// The presets that `request` asks for, that `patient` can have and that `allows` accepts.
    ///
    /// # Errors
    /// There is none, or none with a fault though faults are asked for.
    pub(super) fn of(
        request: &DrillRequest,
        presets: &'p Presets,
        patient: &Patient,
        allows: Allows<'_>,
    ) -> Result<Self, PlanError> {
        let mut pool = Self {
            control_rate: request.control_rate,
            ..Self::default()
        };
        if let Some(name) = &request.preset {
            pool.add(named(name, presets, patient)?);
            return Ok(pool);
        }
        let difficulty = request.difficulty;
        let wanted = presets.all().iter();
        let wanted = wanted.filter(|preset| difficulty.is_none_or(|of| of == preset.difficulty));
        let possible =
            wanted.filter(|preset| preset.needs().into_iter().all(|need| patient.has(need)));
        let allowed = possible.filter(|preset| {
            let mut starts = starts_at_ends(preset, request, patient).into_iter();
            starts.all(allows)
        });
        allowed.for_each(|preset| pool.add(preset));
        let has_all = match request.control_rate < 1.0 {
            true => !pool.faults.is_empty(),
            false => !pool.controls.is_empty(),
        };
        has_all.then_some(pool).ok_or(PlanError::EmptyPool)
    }

    fn add(&mut self, preset: &'p Preset) {
        if preset.is_control() {
            self.controls.push(preset);
            return;
        }
        let causes = preset.expect.causes.iter().map(String::as_str).collect();
        self.faults.entry(causes).or_default().push(preset);
    }

    /// How likely a control is.
    fn control_share(&self) -> f64 {
        match (self.controls.is_empty(), self.faults.is_empty()) {
            (true, _) => 0.0,
            (false, true) => 1.0,
            (false, false) => self.control_rate,
        }
    }

    /// Draws one.
    pub(super) fn draw(&self, streams: &Streams) -> Result<&'p Preset, PlanError> {
        let is_control = streams.stream("control").unit() < self.control_share();
        let mut stream = streams.stream("preset");
        let presets = match is_control {
            true => Some(&self.controls),
            false => self.faults.values().nth(stream.below(self.faults.len())),
        };
        let drawn = presets.and_then(|presets| presets.get(stream.below(presets.len())));
        drawn.copied().ok_or(PlanError::EmptyPool)
    }

    /// Every preset that may be drawn, in the order of their names, with how likely it is.
    pub(super) fn members(&self) -> Vec<PoolMember> {
        let control_share = self.control_share();
        let fault_share = (1.0 - control_share) / self.faults.len().max(1) as f64;
        let controls = [(control_share, &self.controls)];
        let faults = self.faults.values().map(|presets| (fault_share, presets));
        let members = controls
            .into_iter()
            .chain(faults)
            .flat_map(|(share, presets)| {
                // As many digits as JSON surely keeps.
                let probability = rounded(share / presets.len().max(1) as f64, 12);
                presets.iter().map(move |preset| PoolMember {
                    preset: preset.name.clone(),
                    probability,
                    expect: preset.expect.clone(),
                })
            });
        let mut members: Vec<_> = members.filter(|member| member.probability > 0.0).collect();
        members.sort_by(|a, b| a.preset.cmp(&b.preset));
        members
    }
}

fn named<'p>(name: &str, presets: &'p Presets, patient: &Patient) -> Result<&'p Preset, PlanError> {
    let all = presets.all();
    let Some(preset) = all.iter().find(|preset| preset.name == name) else {
        let known = all.iter().map(|preset| preset.name.as_str());
        return Err(PlanError::UnknownPreset {
            name: crate::input::cut(name).into_owned(),
            meant: did_you_mean(name, known),
        });
    };
    match preset.needs().into_iter().find(|need| !patient.has(*need)) {
        Some(need) => Err(PlanError::Needs {
            preset: preset.name.clone(),
            need,
        }),
        None => Ok(preset),
    }
}
