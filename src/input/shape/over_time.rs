//! What a shape adds up to, when it jumps, and how long it is.

use std::f64::consts::{LN_2, TAU};
use std::time::Duration;

use super::{Form, Shape};

/// Over more than this, noise cancels out.
const NOISE_COUNTS_WITHIN: Duration = Duration::from_secs(3600);
/// From this many half-lives on, a decay has all but arrived.
const DECAY_HALVES: f64 = 5.0;
/// A jump lies at least this far ahead, whatever the numbers round to.
const LEAST_AHEAD: Duration = Duration::from_millis(1);

impl Shape {
    /// The sum of its values from the age `from` to the age `to`: in the unit of its member, times seconds.
    #[must_use]
    pub fn area(&self, from: Duration, to: Duration) -> f64 {
        let area = |from: f64, to: f64| self.form.area(to) - self.form.area(from);
        let (from_s, to_s) = (from.as_secs_f64(), to.as_secs_f64());
        let Some(noise) = self.noise else {
            return area(from_s, to_s);
        };
        if to.saturating_sub(from) > NOISE_COUNTS_WITHIN {
            return area(from_s, to_s);
        }
        let mut sum = 0.0;
        let mut at = from_s;
        while at < to_s {
            // Piece by piece between jumps, so that the bounds of the range apply to each.
            let second = at.floor();
            let jump = self.form.next_jump(at).filter(|jump| *jump > at);
            let end = jump.map_or(to_s, |jump| jump.min(to_s)).min(second + 1.0);
            let noisy = area(at, end) * (1.0 + noise.at(second as u64));
            sum += noisy.clamp(self.least * (end - at), self.most * (end - at));
            at = end;
        }
        sum
    }

    /// The age at which the value next changes at once, after `age`; none where it never does again.
    #[must_use]
    pub fn next_jump(&self, age: Duration) -> Option<Duration> {
        let of_form = self.form.next_jump(age.as_secs_f64());
        let of_form = of_form.and_then(|age_s| Duration::try_from_secs_f64(age_s).ok());
        let of_noise = self.noise.map(|_| Duration::from_secs(age.as_secs() + 1));
        let next = of_form.into_iter().chain(of_noise).min();
        next.map(|next| next.max(age + LEAST_AHEAD))
    }

    /// How long it takes to see all of it: a line, a period, five half-lives, or each step; none where it is the same at
    /// all times, but for noise.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        let length_s = match self.form {
            Form::Constant(_) => return None,
            Form::Ramp { over_s, .. } => over_s,
            Form::Decay { half_s, .. } => half_s * DECAY_HALVES,
            Form::Square { period_s, .. } | Form::Sine { period_s, .. } => period_s,
            Form::Steps(ref steps) => {
                let mut last = steps.iter().rev().map(|(since_s, _)| *since_s);
                let last = last.next().zip(last.next());
                last.map(|(last, before)| 2.0 * last - before)?
            }
        };
        Duration::try_from_secs_f64(length_s).ok()
    }
}

impl Form {
    /// The sum of the values up to `age_s`.
    fn area(&self, age_s: f64) -> f64 {
        match *self {
            Self::Constant(value) => value * age_s,
            Self::Ramp { from, to, over_s } => {
                let on_the_way = age_s.min(over_s);
                let mean = from + (to - from) * on_the_way / over_s / 2.0;
                mean * on_the_way + to * (age_s - on_the_way)
            }
            Self::Decay { from, to, half_s } => {
                let gone = 1.0 - (-age_s / half_s).exp2();
                to * age_s + (from - to) * half_s / LN_2 * gone
            }
            Self::Square {
                low,
                high,
                period_s,
                duty,
            } => {
                let (whole, rest_s) = ((age_s / period_s).floor(), age_s % period_s);
                let high_s = duty * period_s;
                let of_period = high * high_s + low * (period_s - high_s);
                let of_rest = high * rest_s.min(high_s) + low * (rest_s - high_s).max(0.0);
                whole * of_period + of_rest
            }
            Self::Sine {
                low,
                high,
                period_s,
            } => {
                let swing = (high - low) / 2.0 * period_s / TAU;
                f64::midpoint(low, high) * age_s + swing * (1.0 - (TAU * age_s / period_s).cos())
            }
            Self::Steps(ref steps) => {
                let ends = steps.iter().skip(1).map(|(since_s, _)| *since_s);
                let ends = ends.chain([f64::INFINITY]);
                let areas = steps
                    .iter()
                    .zip(ends)
                    .map(|((since_s, value), end_s)| value * (age_s.min(end_s) - since_s).max(0.0));
                areas.sum()
            }
        }
    }

    fn next_jump(&self, age_s: f64) -> Option<f64> {
        match *self {
            Self::Constant(_) | Self::Ramp { .. } | Self::Decay { .. } | Self::Sine { .. } => None,
            Self::Square { period_s, duty, .. } => {
                let (since_s, high_s) = (age_s % period_s, duty * period_s);
                let next_s = if since_s < high_s { high_s } else { period_s };
                let jumps = duty > 0.0 && duty < 1.0;
                jumps.then_some(age_s - since_s + next_s)
            }
            Self::Steps(ref steps) => {
                let next = steps.partition_point(|(since_s, _)| *since_s <= age_s);
                steps.get(next).map(|(since_s, _)| *since_s)
            }
        }
    }
}
