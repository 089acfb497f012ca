//! What many drills add up to.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use schemars::JsonSchema;
use serde::Serialize;

use crate::exam::record::CloseReason;
use crate::exam::report::{Outcome, Report, rounded};

/// How often presets are drawn anew for the interval, and from what.
const RESAMPLES: usize = 1000;
const SEED: u64 = 1;

/// Means over drills, without those that are void, aborted or contaminated. What has no meaning is null.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Aggregate {
    /// How many drills count.
    pub n: usize,
    /// How many do not.
    pub left_out: usize,
    /// The mean total of each preset, and then over the presets.
    pub total: Option<f64>,
    /// Where that is in 95 of 100 draws of as many presets.
    pub interval_95: Option<[f64; 2]>,
    /// The mean of the best floors.
    pub floor: Option<f64>,
    pub detection: DetectionRates,
    /// Mean seconds from the effect to the detection, of so many drills.
    pub mttd: Mean,
    /// Mean seconds from the effect until an act from outside had ended the faults.
    pub mttm: Mean,
    /// Share of the presets whose causes were exact in each of their drills.
    pub pass_all: Option<f64>,
    /// Controls to which nothing was said.
    pub no_answer: usize,
    /// By preset: how many drills and their mean total.
    pub presets: BTreeMap<String, Mean>,
}

/// A mean, and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Mean {
    pub mean: Option<f64>,
    pub n: usize,
}

/// How well faults and controls were kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub(crate) struct DetectionRates {
    /// Share of the faults that were detected.
    pub tpr: Option<f64>,
    /// Share of the controls that were taken for faults.
    pub fpr: Option<f64>,
    pub balanced_accuracy: Option<f64>,
    /// Matthews' correlation coefficient.
    pub mcc: Option<f64>,
}

/// Adds `reports` up.
pub(crate) fn aggregate(reports: &[Report]) -> Aggregate {
    let counted: Vec<&Report> = reports.iter().filter(|report| counts(report)).collect();
    let mut by_preset: BTreeMap<&str, Vec<&Report>> = BTreeMap::new();
    for report in &counted {
        by_preset.entry(&report.preset).or_default().push(report);
    }
    let means: Vec<f64> = by_preset
        .values()
        .filter_map(|of| mean(of.iter().filter_map(|one| one.total)).mean)
        .collect();
    let exact = by_preset
        .values()
        .filter(|of| of.iter().all(|one| one.identification.exact == Some(true)));
    let of = |outcome| {
        counted
            .iter()
            .filter(|one| one.detection.outcome == outcome)
            .count()
    };
    Aggregate {
        n: counted.len(),
        left_out: reports.len() - counted.len(),
        total: mean(means.iter().copied()).mean,
        interval_95: interval(&means),
        floor: mean(counted.iter().map(|one| one.floor.best)).mean,
        detection: DetectionRates::of(
            of(Outcome::Tp),
            of(Outcome::Fn),
            of(Outcome::Fp),
            of(Outcome::Tn) + of(Outcome::NoAnswer),
        ),
        mttd: mean(counted.iter().filter_map(|one| one.detection.ttd_s)),
        mttm: mean(counted.iter().filter_map(|one| one.mitigation.ttm_s)),
        pass_all: ratio(exact.count(), by_preset.len()),
        no_answer: of(Outcome::NoAnswer),
        presets: by_preset
            .iter()
            .map(|(name, of)| {
                (
                    (*name).to_owned(),
                    mean(of.iter().filter_map(|one| one.total)),
                )
            })
            .collect(),
    }
}

fn counts(report: &Report) -> bool {
    let is_whole = report.contaminated.is_empty() && report.closed != CloseReason::Aborted;
    is_whole && report.detection.outcome != Outcome::Void
}

fn mean(figures: impl Iterator<Item = f64>) -> Mean {
    let (sum, n) = figures.fold((0.0, 0), |(sum, n), figure| (sum + figure, n + 1));
    Mean {
        mean: (n > 0).then(|| rounded(sum / n as f64)),
        n,
    }
}

fn ratio(part: usize, all: usize) -> Option<f64> {
    (all > 0).then(|| rounded(part as f64 / all as f64))
}

/// The bootstrap interval of the mean of `means`.
fn interval(means: &[f64]) -> Option<[f64; 2]> {
    if means.is_empty() {
        return None;
    }
    let mut rng = SmallRng::seed_from_u64(SEED);
    let mut draw = || {
        let drawn = (0..means.len()).map(|_| means[rng.random_range(0..means.len())]);
        drawn.sum::<f64>() / means.len() as f64
    };
    let mut all: Vec<f64> = (0..RESAMPLES).map(|_| draw()).collect();
    all.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| rounded(all[(share * (RESAMPLES - 1) as f64) as usize]);
    Some([at(0.025), at(0.975)])
}

impl DetectionRates {
    fn of(tp: usize, fn_: usize, fp: usize, tn: usize) -> Self {
        let (tpr, fpr) = (ratio(tp, tp + fn_), ratio(fp, fp + tn));
        let balanced = tpr
            .zip(fpr)
            .map(|(tpr, fpr)| rounded((tpr + 1.0 - fpr) / 2.0));
        let [tp, fn_, fp, tn] = [tp, fn_, fp, tn].map(|count| count as f64);
        let product = (tp + fp) * (tp + fn_) * (tn + fp) * (tn + fn_);
        let mcc = (product > 0.0).then(|| rounded((tp * tn - fp * fn_) / product.sqrt()));
        Self {
            tpr,
            fpr,
            balanced_accuracy: balanced,
            mcc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_their_usual_meaning_and_none_where_there_is_nothing() {
        let rates = DetectionRates::of(3, 1, 1, 3);
        assert_eq!((rates.tpr, rates.fpr), (Some(0.75), Some(0.25)));
        assert_eq!(
            (rates.balanced_accuracy, rates.mcc),
            (Some(0.75), Some(0.5))
        );
        let rates = DetectionRates::of(2, 0, 0, 0);
        assert_eq!(
            (rates.fpr, rates.balanced_accuracy, rates.mcc),
            (None, None, None)
        );
        let nothing = aggregate(&[]);
        assert_eq!(
            (nothing.n, nothing.total, nothing.interval_95),
            (0, None, None)
        );
    }
}
