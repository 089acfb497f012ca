//! What policies get that look at nothing: their expected marks over the pool that a drill was drawn from.
//!
//! Such a policy answers at once, so a fault that it detects has the best speed; it knows no parameter, so its severity
//! is 0. On a control that is answered right both are 1. All of it is computed exactly. The one search is that of the best
//! constant set of names: it begins with none and adds or removes the best name as long as that helps.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::parts::{decision_score, f1, gate};
use super::total;
use crate::exam::plan::PoolMember;
use crate::exam::preset::{Decision, Expected};
use crate::exam::report::{Floor, rounded};
use crate::sync::Lock;

const DECISIONS: [Decision; 4] = [
    Decision::Promote,
    Decision::Hold,
    Decision::Rollback,
    Decision::Restart,
];

/// The last pool and its floors: drills of one exam have the same pool.
static LAST: LazyLock<Lock<Option<Known>>> = LazyLock::new(Lock::default);

type Known = (Vec<PoolMember>, Vec<String>, Floor);

/// The floors of a `pool` where answers may name the scenarios of `vocabulary`.
pub(super) fn of(pool: &[PoolMember], vocabulary: &[String]) -> Floor {
    if let Some((known, names, floor)) = &*LAST.lock()
        && known == pool
        && names == vocabulary
    {
        return *floor;
    }
    let floor = computed(pool, vocabulary);
    *LAST.lock() = Some((pool.to_vec(), vocabulary.to_vec(), floor));
    floor
}

fn computed(pool: &[PoolMember], vocabulary: &[String]) -> Floor {
    let all: BTreeSet<&str> = vocabulary.iter().map(String::as_str).collect();
    let nothing = BTreeSet::new();
    let none = expected(pool, None, Decision::Promote);
    let named_none = expected(pool, Some(&nothing), Decision::Rollback);
    let one = |name: &&str| expected(pool, Some(&BTreeSet::from([*name])), Decision::Rollback);
    let uniform = all.iter().map(one).sum::<f64>() / all.len().max(1) as f64;
    let constant = DECISIONS.map(|decision| {
        let best = best_set(pool, &all, decision);
        best.max(expected(pool, None, decision))
    });
    let constant = constant.into_iter().fold(0.0, f64::max);
    let floors = Floor {
        none,
        named_none,
        all: expected(pool, Some(&all), Decision::Rollback),
        constant,
        uniform,
        best: constant.max(none).max(uniform),
    };
    Floor {
        none: rounded(floors.none),
        named_none: rounded(floors.named_none),
        all: rounded(floors.all),
        constant: rounded(floors.constant),
        uniform: rounded(floors.uniform),
        best: rounded(floors.best),
    }
}

/// The mark that is to be expected of one answer: `names` as causes, or that nothing is wrong.
fn expected(pool: &[PoolMember], names: Option<&BTreeSet<&str>>, decision: Decision) -> f64 {
    let marks = pool.iter().map(|member| {
        let mark = mark(&member.expect, names, decision);
        member.probability * mark
    });
    marks.sum()
}

/// The mark of that answer to a drill with this right answer.
pub(super) fn mark(expect: &Expected, names: Option<&BTreeSet<&str>>, decision: Decision) -> f64 {
    let is_wrong = !expect.causes.is_empty();
    if names.is_some() != is_wrong {
        return 0.0;
    }
    let decided = decision_score(expect.decision, decision);
    let gate = gate(expect.decision, decision);
    let Some(names) = names else {
        return total(gate, decided, 1.0, 1.0, 1.0);
    };
    let is_cause = |name: &&&str| expect.causes.iter().any(|cause| cause == **name);
    let is_neutral = |name: &&str| expect.derived.iter().any(|derived| derived == *name);
    let right = names.iter().filter(is_cause).count();
    let named = names
        .iter()
        .filter(|name| is_cause(name) || !is_neutral(name))
        .count();
    let causes = f1(right as f64, named, expect.causes.len());
    total(gate, decided, causes, 0.0, 1.0)
}

/// The best mark of a set of names with this decision.
fn best_set(pool: &[PoolMember], all: &BTreeSet<&str>, decision: Decision) -> f64 {
    let mut set = BTreeSet::new();
    let mut best = expected(pool, Some(&set), decision);
    loop {
        let others = all.iter().map(|name| {
            let mut other = set.clone();
            if !other.remove(name) {
                other.insert(*name);
            }
            (expected(pool, Some(&other), decision), other)
        });
        match others.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
            Some((mark, other)) if mark > best => (best, set) = (mark, other),
            _ => return best,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn member(
        probability: f64,
        causes: &[&str],
        derived: &[&str],
        decision: Decision,
    ) -> PoolMember {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        PoolMember {
            preset: causes.join("+"),
            probability,
            expect: Expected {
                causes: owned(causes),
                derived: owned(derived),
                decision,
            },
        }
    }

    fn pool() -> Vec<PoolMember> {
        vec![
            member(0.25, &[], &["a"], Decision::Promote),
            member(0.35, &["a"], &["b"], Decision::Rollback),
            member(0.2, &["b"], &[], Decision::Hold),
            member(0.2, &["c", "d"], &[], Decision::Rollback),
        ]
    }

    fn names() -> Vec<String> {
        ["a", "b", "c", "d", "e", "f", "g", "h"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn simulated_policies_get_their_floors() {
        let (pool, names) = (pool(), names());
        let floor = of(&pool, &names);
        let mut rng = SmallRng::seed_from_u64(5);
        let (mut none, mut uniform, mut all) = (0.0, 0.0, 0.0);
        const DRILLS: u32 = 200_000;
        let every: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        for _ in 0..DRILLS {
            let mut left: f64 = rng.random();
            let drawn = pool.iter().find(|member| {
                left -= member.probability;
                left < 0.0
            });
            let expect = &drawn.unwrap_or(&pool[3]).expect;
            let guess = BTreeSet::from([names[rng.random_range(0..8)].as_str()]);
            none += mark(expect, None, Decision::Promote);
            uniform += mark(expect, Some(&guess), Decision::Rollback);
            all += mark(expect, Some(&every), Decision::Rollback);
        }
        for (simulated, exact) in [
            (none, floor.none),
            (uniform, floor.uniform),
            (all, floor.all),
        ] {
            let simulated = simulated / f64::from(DRILLS);
            assert!((simulated - exact).abs() < 0.01, "{simulated} {exact}");
        }
    }

    #[test]
    fn no_constant_answer_is_better_than_the_best() {
        let (pool, names) = (pool(), names());
        let floor = of(&pool, &names);
        let every: Vec<&str> = names.iter().map(String::as_str).collect();
        for bits in 0_u32..1 << every.len() {
            let chosen = (0..every.len()).filter(|at| bits & (1 << at) != 0);
            let set: BTreeSet<&str> = chosen.map(|at| every[at]).collect();
            for decision in DECISIONS {
                let mark = expected(&pool, Some(&set), decision);
                assert!(mark <= floor.constant + 1e-4, "{set:?} {decision:?}");
            }
        }
        // Eight names of which one is right, as in a table that is worked out by hand.
        let one = vec![member(1.0, &["a"], &[], Decision::Rollback)];
        let floor = of(&one, &names);
        assert!(
            (floor.all - (0.25 + 0.75 * 2.0 / 9.0 * 0.8)).abs() < 1e-4,
            "{floor:?}"
        );
        assert_eq!((floor.none, floor.named_none), (0.0, 0.25));
    }
}
