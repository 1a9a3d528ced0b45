//! Jobs at random, and what has to come of them: worked out without the plan, step by step along the edges.

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::world::{ATTEMPTS_MAX, Ending, Kind, Script, allowed, default_next, id};
use crate::model::job::StepStatus;

/// What a job is to come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Of each step, where no step fails.
    pub(super) statuses: Vec<StepStatus>,
    /// Steps that end the run, wherever it comes to them.
    pub(super) failing: Vec<usize>,
}

/// Walks along the ranks: edges lead to higher ranks only, so what leads to a step comes before it.
pub(super) fn expected(scripts: &[Script], ranks: &[usize]) -> Expected {
    let mut order: Vec<usize> = (0..scripts.len()).collect();
    order.sort_by_key(|&step| ranks[step]);
    let mut is_taken = vec![false; scripts.len()];
    is_taken[0] = true;
    let mut found = Expected { statuses: vec![StepStatus::Skipped; scripts.len()], failing: Vec::new() };
    for step in order {
        if !is_taken[step] {
            continue;
        }
        let script = &scripts[step];
        let next = if script.is_skipped {
            default_next(scripts, step)
        } else if fails(script) {
            found.failing.push(step);
            continue;
        } else {
            found.statuses[step] = StepStatus::Completed;
            match script.names.as_ref().filter(|_| script.kind == Kind::Wasm) {
                Some(names) => (0..scripts.len()).filter(|place| names.contains(&id(*place))).collect(),
                None => default_next(scripts, step),
            }
        };
        for next in next {
            is_taken[next] = true;
        }
    }
    found
}

fn fails(script: &Script) -> bool {
    if script.kind == Kind::Wait {
        return false;
    }
    let is_lost = |name: &String| !allowed(script).iter().any(|place| id(*place) == *name);
    script.failures >= ATTEMPTS_MAX || script.ending != Ending::Completes || script.names.iter().flatten().any(is_lost)
}

/// What of a step is drawn before its edges are.
#[derive(Debug, Clone)]
struct Draw {
    kind: Kind,
    next: Option<Vec<Index>>,
    routes: Option<Vec<Index>>,
    names: Option<Vec<Index>>,
    is_skipped: bool,
    parks: usize,
    failures: u32,
    ending: Ending,
}

fn any_draw() -> impl Strategy<Value = Draw> {
    let kind = prop_oneof![3 => Just(Kind::Wasm), 2 => Just(Kind::Http), 1 => Just(Kind::Wait)];
    let some = || proptest::option::of(proptest::collection::vec(any::<Index>(), 0..4));
    let when = prop_oneof![5 => Just(false), 1 => Just(true)];
    let ending =
        prop_oneof![30 => Just(Ending::Completes), 1 => Just(Ending::FailsForGood), 1 => Just(Ending::Invalid)];
    let failures = prop_oneof![20 => 0..ATTEMPTS_MAX, 1 => Just(ATTEMPTS_MAX)];
    (kind, some(), some(), some(), when, 0..2_usize, failures, ending).prop_map(
        |(kind, next, routes, names, is_skipped, parks, failures, ending)| Draw {
            kind,
            next,
            routes,
            names,
            is_skipped,
            parks,
            failures,
            ending,
        },
    )
}

/// Steps, and ranks along which their edges lead. The first step has the lowest.
pub(super) fn any_job() -> impl Strategy<Value = (Vec<Script>, Vec<usize>)> {
    (1..9_usize)
        .prop_flat_map(|count| {
            let ranks = Just((1..count).collect::<Vec<_>>()).prop_shuffle();
            (proptest::collection::vec(any_draw(), count), ranks, any::<bool>())
        })
        .prop_map(|(draws, shuffled, is_in_order)| {
            let ranks: Vec<usize> =
                if is_in_order { (0..draws.len()).collect() } else { std::iter::once(0).chain(shuffled).collect() };
            let scripts = draws.iter().enumerate().map(|(step, draw)| script(step, draw, &ranks)).collect();
            (scripts, ranks)
        })
}

fn script(step: usize, draw: &Draw, ranks: &[usize]) -> Script {
    let later: Vec<usize> = (0..ranks.len()).filter(|&other| ranks[other] > ranks[step]).collect();
    let drawn = |indexes: &Option<Vec<Index>>| {
        let picked = indexes.as_ref()?.iter().filter(|_| !later.is_empty()).map(|index| *index.get(&later));
        let mut picked: Vec<usize> = picked.collect();
        picked.sort_unstable();
        picked.dedup();
        Some(picked)
    };
    let mut next = drawn(&draw.next);
    // The step after it may be one of those before it by rank.
    if next.is_none() && ranks.get(step + 1).is_some_and(|&rank| rank < ranks[step]) {
        next = Some(Vec::new());
    }
    let routes = drawn(&draw.routes).filter(|_| draw.kind == Kind::Wasm);
    let mut script = Script { routes, ..Script::new(draw.kind, next) };
    script.is_skipped = draw.is_skipped;
    script.parks = draw.parks;
    script.failures = draw.failures;
    script.ending = draw.ending;
    if draw.kind == Kind::Wasm {
        let may = allowed(&script);
        let named = draw.names.as_ref().map(|names| names.iter().filter(|_| !may.is_empty()));
        script.names = named.map(|names| names.map(|index| id(*index.get(&may))).collect());
    }
    script
}

/// The same job where nothing fails.
pub(super) fn any_sound_job() -> impl Strategy<Value = (Vec<Script>, Vec<usize>)> {
    any_job().prop_map(|(mut scripts, ranks)| {
        for script in &mut scripts {
            script.ending = Ending::Completes;
            script.failures = script.failures.min(ATTEMPTS_MAX - 1);
        }
        (scripts, ranks)
    })
}

/// Moves.
pub(super) fn any_draws() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), 0..80)
}

/// Some of so many branches.
pub(super) fn some_of(count: usize) -> impl Strategy<Value = Vec<usize>> {
    subsequence((1..=count).collect::<Vec<_>>(), 1..=count)
}
