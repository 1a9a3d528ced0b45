//! One circuit: when it opens, who may probe, when it closes.
//!
//! Owns the rules, as a pure machine: it is told the time. Does not know what it is of, nor locks. Invariants: while
//! it is open nobody is let through; while it recovers no more are under way than its stage has; and what began
//! before it opened changes nothing of how it recovers.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::CircuitBounds;

/// At once while it recovers: 1, 2, 4, and last so many. When as many went well it is closed.
const LAST_STAGE: u32 = 8;

/// It is left alone no longer than this, unless the operator's first time is longer: whoever is back is found soon.
const OPEN_MAX: Duration = Duration::from_mins(5);

/// What who is refused while others probe is told to wait: exchanges take less as a rule.
const WHILE_PROBED: Duration = Duration::from_millis(200);

/// So many of those who are refused come back at once, and the others later: they would all be refused again.
const BACK_AT_ONCE: u32 = 64;

/// Nobody is told to come back later than this after the rest.
const SPREAD_MAX: Duration = Duration::from_secs(30);

/// Nobody asked for so long after it could be probed: what was known of it is old.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// Microseconds since 1970.
pub(super) type Micros = i64;

/// When it opens and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    failures: usize,
    window: Micros,
    open: Duration,
}

/// One circuit.
#[derive(Debug)]
pub(super) struct Breaker {
    /// When it failed, oldest first: no more than open it.
    failed: VecDeque<Micros>,
    state: State,
    /// Probes that failed since it was closed.
    reopened: u32,
    /// Who was refused since it last changed.
    refused: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { at: Micros, until: Micros },
    HalfOpen { opened_at: Micros, since: Micros, epoch: u64, stage: u32, under_way: u32, went_well: u32 },
}

/// The word for a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// All are let through.
    Closed,
    /// Nobody is.
    Open,
    /// A few are, to see whether it is back.
    HalfOpen,
}

impl Position {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// Who is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ticket {
    /// One of all.
    Free,
    /// One of the few, of this recovery.
    Probe(u64),
}

impl Rules {
    pub(super) fn new(bounds: &CircuitBounds) -> Self {
        Self {
            failures: bounds.failures as usize,
            window: micros(Duration::from_millis(bounds.window_ms)),
            open: Duration::from_millis(bounds.open_ms),
        }
    }

    /// How long it is left alone when so many probes failed.
    fn open_for(&self, reopened: u32) -> Micros {
        let most = OPEN_MAX.max(self.open);
        micros(self.open.checked_mul(1_u32.checked_shl(reopened).unwrap_or(u32::MAX)).map_or(most, |t| t.min(most)))
    }
}

impl Breaker {
    /// A closed one.
    pub(super) fn new() -> Self {
        Self { failed: VecDeque::new(), state: State::Closed, reopened: 0, refused: 0 }
    }

    pub(super) fn position(&self) -> Position {
        match self.state {
            State::Closed => Position::Closed,
            State::Open { .. } => Position::Open,
            State::HalfOpen { .. } => Position::HalfOpen,
        }
    }

    /// Whether somebody may go through; else how long to wait. `epoch` is of the recovery that begins here, if one does.
    pub(super) fn ask(&mut self, now: Micros, epoch: u64) -> Result<Ticket, Duration> {
        if let State::Open { at, until } = self.state {
            if is_open(at, until, now) {
                return Err(self.refuse(duration(until - now)));
            }
            self.refused = 0;
            self.state = State::HalfOpen { opened_at: at, since: now, epoch, stage: 1, under_way: 0, went_well: 0 };
        }
        match &mut self.state {
            State::Closed => Ok(Ticket::Free),
            State::HalfOpen { epoch, stage, under_way, .. } if *under_way < *stage => {
                *under_way += 1;
                Ok(Ticket::Probe(*epoch))
            }
            State::HalfOpen { .. } | State::Open { .. } => Err(self.refuse(WHILE_PROBED)),
        }
    }

    /// How long nobody is let through yet: without being one of those who ask.
    pub(super) fn left_alone_for(&self, now: Micros) -> Option<Duration> {
        match self.state {
            State::Open { at, until } if is_open(at, until, now) => Some(duration(until - now)),
            State::Open { .. } | State::Closed | State::HalfOpen { .. } => None,
        }
    }

    pub(super) fn succeeded(&mut self, ticket: Ticket) {
        match (&mut self.state, ticket) {
            // One that works as often as it fails is not left alone.
            (State::Closed, Ticket::Free) => {
                self.failed.pop_front();
            }
            (State::HalfOpen { epoch, stage, under_way, went_well, .. }, Ticket::Probe(of)) if *epoch == of => {
                *under_way = under_way.saturating_sub(1);
                *went_well += 1;
                if *went_well >= *stage {
                    (*stage, *went_well) = (*stage * 2, 0);
                    self.refused = 0;
                    if *stage > LAST_STAGE {
                        *self = Self::new();
                    }
                }
            }
            (State::Closed | State::Open { .. } | State::HalfOpen { .. }, Ticket::Free | Ticket::Probe(_)) => {}
        }
    }

    pub(super) fn failed(&mut self, ticket: Ticket, now: Micros, rules: &Rules) {
        match (self.state, ticket) {
            (State::Closed, Ticket::Free) => {
                self.forget_old(now, rules);
                self.push(now, rules);
                if self.failed.len() >= rules.failures {
                    self.open(now, now, rules);
                }
            }
            (State::HalfOpen { opened_at, epoch, .. }, Ticket::Probe(of)) if epoch == of => {
                self.push(now, rules);
                self.reopened = self.reopened.saturating_add(1);
                self.open(opened_at.min(now), now, rules);
            }
            (State::Closed | State::Open { .. } | State::HalfOpen { .. }, Ticket::Free | Ticket::Probe(_)) => {}
        }
    }

    /// Nothing is known of how it went.
    pub(super) fn dropped(&mut self, ticket: Ticket) {
        if let (State::HalfOpen { epoch, under_way, .. }, Ticket::Probe(of)) = (&mut self.state, ticket)
            && *epoch == of
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    /// Whether what is known of it says nothing any more.
    pub(super) fn is_idle(&self, now: Micros, rules: &Rules) -> bool {
        let is_old = |since: Micros| now.saturating_sub(since) > micros(FORGOTTEN_AFTER);
        match self.state {
            State::Closed => self.failed.back().is_none_or(|last| is_before_window(*last, now, rules)),
            State::Open { until, .. } => is_old(until),
            State::HalfOpen { since, under_way, .. } => under_way == 0 && is_old(since),
        }
    }

    /// Failures lately.
    pub(super) fn failures(&self, now: Micros, rules: &Rules) -> usize {
        match self.state {
            State::Closed => self.failed.iter().filter(|at| !is_before_window(**at, now, rules)).count(),
            State::Open { .. } | State::HalfOpen { .. } => self.failed.len(),
        }
    }

    /// When it was opened, and when it may be probed.
    pub(super) fn times(&self) -> (Option<Micros>, Option<Micros>) {
        match self.state {
            State::Closed => (None, None),
            State::Open { at, until } => (Some(at), Some(until)),
            State::HalfOpen { opened_at, .. } => (Some(opened_at), None),
        }
    }

    fn open(&mut self, at: Micros, now: Micros, rules: &Rules) {
        self.refused = 0;
        self.state = State::Open { at, until: now.saturating_add(rules.open_for(self.reopened)) };
    }

    fn push(&mut self, now: Micros, rules: &Rules) {
        if self.failed.len() >= rules.failures {
            self.failed.pop_front();
        }
        self.failed.push_back(now);
    }

    fn forget_old(&mut self, now: Micros, rules: &Rules) {
        while self.failed.front().is_some_and(|first| is_before_window(*first, now, rules)) {
            self.failed.pop_front();
        }
    }

    /// Counts one more who has to wait, and spreads them.
    fn refuse(&mut self, wait: Duration) -> Duration {
        let turn = self.refused / BACK_AT_ONCE;
        self.refused = self.refused.saturating_add(1);
        wait + WHILE_PROBED.saturating_mul(turn).min(SPREAD_MAX)
    }
}

/// A clock that was set back must not keep it open for as long.
fn is_open(at: Micros, until: Micros, now: Micros) -> bool {
    at <= now && now < until
}

fn is_before_window(at: Micros, now: Micros, rules: &Rules) -> bool {
    at > now || now - at >= rules.window
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

fn duration(micros: Micros) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

#[cfg(test)]
mod tests;
