//! Which step may follow which.
//!
//! Owns the edges of one definition. Invariant: a step never reaches itself; `jobs::definition` refuses cycles.

use std::collections::HashMap;

use crate::model::job::{Definition, RetryPolicy, StepDefinition, StepId, StepKind};

/// The edges of a definition, made once a revision.
#[derive(Debug, Clone)]
pub struct Graph {
    nodes: Vec<Node>,
    by_id: HashMap<StepId, usize>,
}

#[derive(Debug, Clone)]
struct Node {
    id: StepId,
    next: Vec<usize>,
    /// What a wasm step may name.
    routes: Vec<usize>,
    retry: RetryPolicy,
    reach: Bits,
}

impl Graph {
    /// The graph of a definition without mistakes; what it names and does not have is passed over.
    #[must_use]
    pub fn of(definition: &Definition) -> Self {
        let steps = &definition.steps;
        let by_id: HashMap<_, _> = steps.iter().enumerate().map(|(index, step)| (step.id.clone(), index)).collect();
        let indexes = |ids: &[StepId]| ids.iter().filter_map(|id| by_id.get(id).copied()).collect::<Vec<_>>();
        let node = |(index, step): (usize, &StepDefinition)| {
            let after = (index + 1 < steps.len()).then_some(index + 1);
            let next = step.next.as_deref().map_or_else(|| after.into_iter().collect(), &indexes);
            let routes = match &step.kind {
                StepKind::Wasm(wasm) => {
                    wasm.routes.as_deref().or(step.next.as_deref()).map(&indexes).unwrap_or_default()
                }
                StepKind::Http(_) | StepKind::Database(_) | StepKind::Wait(_) => Vec::new(),
            };
            let retry = step.retry.unwrap_or(definition.retry);
            Node {
                id: step.id.clone(),
                next: distinct(next),
                routes: distinct(routes),
                retry,
                reach: Bits::new(steps.len()),
            }
        };
        let nodes = steps.iter().enumerate().map(node).collect();
        let mut graph = Self { nodes, by_id };
        graph.find_reach();
        graph
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The place of a step in the definition.
    #[must_use]
    pub fn index(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Where a step leads unless it says otherwise.
    #[must_use]
    pub fn next(&self, step: usize) -> &[usize] {
        self.nodes.get(step).map_or(&[], |node| &node.next)
    }

    /// What a step may name instead.
    #[must_use]
    pub fn routes(&self, step: usize) -> &[usize] {
        self.nodes.get(step).map_or(&[], |node| &node.routes)
    }

    /// Whether a run that is at `from` may still come to `to`.
    #[must_use]
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.nodes.get(from).is_some_and(|node| node.reach.has(to))
    }

    /// A step's name.
    #[must_use]
    pub fn id(&self, step: usize) -> Option<&StepId> {
        self.nodes.get(step).map(|node| &node.id)
    }

    /// How a step is tried again.
    #[must_use]
    pub fn retry(&self, step: usize) -> RetryPolicy {
        self.nodes.get(step).map_or_else(RetryPolicy::default, |node| node.retry)
    }

    /// Depth first without recursion: a definition may have a thousand steps in a row.
    fn find_reach(&mut self) {
        let count = self.nodes.len();
        let edges: Vec<Vec<usize>> =
            self.nodes.iter().map(|node| distinct(node.next.iter().chain(&node.routes).copied().collect())).collect();
        for (start, node) in self.nodes.iter_mut().enumerate() {
            let mut reach = Bits::new(count);
            let mut open = edges.get(start).cloned().unwrap_or_default();
            while let Some(step) = open.pop() {
                if reach.add(step) {
                    open.extend(edges.get(step).into_iter().flatten());
                }
            }
            node.reach = reach;
        }
    }
}

fn distinct(mut indexes: Vec<usize>) -> Vec<usize> {
    let mut seen = Vec::new();
    indexes.retain(|index| {
        let is_new = !seen.contains(index);
        seen.push(*index);
        is_new
    });
    indexes
}

/// A set of places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Tells whether it was not there.
    pub(super) fn add(&mut self, index: usize) -> bool {
        let is_new = !self.has(index);
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
        is_new
    }

    pub(super) fn remove(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }
}
