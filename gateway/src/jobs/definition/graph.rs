//! Which step can follow which.

use std::collections::VecDeque;

use crate::model::job::{StepDefinition, StepId, StepKind};

/// The steps that can come after each step, by their places: what `next` names, else the one after it, and what a wasm
/// step's `routes` allow. Names without a step are left out.
#[must_use]
pub fn edges(steps: &[StepDefinition]) -> Vec<Vec<usize>> {
    let place = |id: &StepId| steps.iter().position(|step| step.id == *id);
    let outlines = steps.iter().map(|step| {
        let routes = match &step.kind {
            StepKind::Wasm(wasm) => wasm.routes.as_deref().unwrap_or_default(),
            StepKind::Http(_) | StepKind::Database(_) | StepKind::Wait(_) => &[],
        };
        let places = |ids: &[StepId]| ids.iter().filter_map(place).collect();
        (step.next.as_deref().map(places), places(routes))
    });
    let outlines: Vec<(Option<Vec<usize>>, Vec<usize>)> = outlines.collect();
    of_places(outlines.iter().map(|(next, routes)| (next.as_deref(), routes.as_slice())), steps.len())
}

/// As [`edges`], of steps whose `next` and `routes` are places already.
pub(super) fn of_places<'a>(
    steps: impl Iterator<Item = (Option<&'a [usize]>, &'a [usize])>,
    count: usize,
) -> Vec<Vec<usize>> {
    let edges = |(index, (next, routes)): (usize, (Option<&[usize]>, &[usize]))| {
        let mut after = match next {
            Some(next) => next.to_vec(),
            None => (index + 1..count).take(1).collect(),
        };
        after.extend(routes);
        after.sort_unstable();
        after.dedup();
        after
    };
    steps.enumerate().map(edges).collect()
}

/// The steps that can come after `start`, near or far; `start` itself only where steps go round in a circle.
pub(super) fn after(edges: &[Vec<usize>], start: usize) -> Vec<bool> {
    let mut reached = vec![false; edges.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(step) = queue.pop_front() {
        for &next in edges.get(step).into_iter().flatten() {
            if let Some(reached) = reached.get_mut(next).filter(|reached| !**reached) {
                *reached = true;
                queue.push_back(next);
            }
        }
    }
    reached
}

/// A circle for each edge that closes one, from the step that the edge leads to, to the one that it leaves.
pub(super) fn circles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut circles = Vec::new();
    let mut done = vec![false; edges.len()];
    for start in 0..edges.len() {
        let mut way: Vec<(usize, std::slice::Iter<'_, usize>)> = Vec::new();
        enter(edges, start, &done, &mut way);
        while let Some((step, rest)) = way.last_mut() {
            let step = *step;
            let Some(&next) = rest.next() else {
                if let Some(done) = done.get_mut(step) {
                    *done = true;
                }
                way.pop();
                continue;
            };
            match way.iter().position(|(step, _)| *step == next) {
                Some(at) => circles.push(way.iter().skip(at).map(|(step, _)| *step).collect()),
                None => enter(edges, next, &done, &mut way),
            }
        }
    }
    circles
}

fn enter<'e>(edges: &'e [Vec<usize>], step: usize, done: &[bool], way: &mut Vec<(usize, std::slice::Iter<'e, usize>)>) {
    if let (Some(after), Some(false)) = (edges.get(step), done.get(step)) {
        way.push((step, after.iter()));
    }
}
