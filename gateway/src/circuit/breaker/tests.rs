use proptest::prelude::*;

use super::*;

const MS: Micros = 1_000;

fn rules() -> Rules {
    Rules::new(&CircuitBounds { failures: 3, window_ms: 1_000, open_ms: 100 })
}

/// A breaker, the time, and the next epoch.
struct Tried {
    breaker: Breaker,
    now: Micros,
    epoch: u64,
}

impl Tried {
    fn new() -> Self {
        Self { breaker: Breaker::new(), now: 1_000_000, epoch: 0 }
    }

    fn ask(&mut self) -> Result<Ticket, Duration> {
        self.epoch += 1;
        self.breaker.ask(self.now, self.epoch)
    }

    fn fails(&mut self) {
        let ticket = self.ask().unwrap();
        self.breaker.failed(ticket, self.now, &rules());
    }

    fn goes_well(&mut self) {
        let ticket = self.ask().unwrap();
        self.breaker.succeeded(ticket);
    }

    fn open(&mut self) {
        while self.breaker.position() == Position::Closed {
            self.fails();
        }
    }
}

#[test]
fn failures_in_a_window_open_it_and_older_ones_do_not() {
    let mut tried = Tried::new();
    for _ in 0..10 {
        tried.fails();
        tried.now += 600 * MS;
    }
    assert_eq!(tried.breaker.position(), Position::Closed);
    tried.fails();
    tried.fails();
    assert_eq!(tried.breaker.position(), Position::Open);
    assert_eq!(tried.ask(), Err(Duration::from_millis(100)));
}

#[test]
fn who_works_as_often_as_it_fails_is_not_left_alone() {
    let mut tried = Tried::new();
    for _ in 0..1_000 {
        tried.fails();
        tried.goes_well();
    }
    assert_eq!(tried.breaker.position(), Position::Closed);
    for _ in 0..1_000 {
        tried.goes_well();
    }
    // Whatever went well before, it opens as fast.
    for _ in 0..3 {
        tried.fails();
    }
    assert_eq!(tried.breaker.position(), Position::Open);
}

#[test]
fn one_at_a_time_probes_and_more_and_more_go_through_until_it_is_closed() {
    let mut tried = Tried::new();
    tried.open();
    tried.now += 100 * MS;
    for stage in [1, 2, 4, 8] {
        let tickets: Vec<_> = (0..stage).map(|_| tried.ask().unwrap()).collect();
        assert_eq!(tried.ask(), Err(WHILE_PROBED), "{stage}");
        assert_eq!(tried.breaker.position(), Position::HalfOpen);
        for ticket in tickets {
            tried.breaker.succeeded(ticket);
        }
    }
    assert_eq!(tried.breaker.position(), Position::Closed);
    assert_eq!(tried.breaker.failures(tried.now, &rules()), 0);
}

#[test]
fn each_probe_that_fails_doubles_the_time_up_to_its_bound() {
    let mut tried = Tried::new();
    tried.open();
    for doubled in 0..40_u32 {
        let wait = tried.ask().unwrap_err();
        let expected = Duration::from_millis(100).saturating_mul(1 << doubled.min(20)).min(OPEN_MAX);
        assert_eq!(wait, expected);
        tried.now += micros(wait);
        tried.fails();
    }
    tried.now += micros(OPEN_MAX);
    for _ in 0..15 {
        tried.goes_well();
    }
    assert_eq!(tried.breaker.position(), Position::Closed);
    tried.open();
    assert_eq!(tried.ask(), Err(Duration::from_millis(100)));
}

#[test]
fn a_probe_that_is_dropped_leaves_its_place_and_what_is_of_another_time_changes_nothing() {
    let mut tried = Tried::new();
    let early = tried.ask().unwrap();
    tried.open();
    tried.now += 100 * MS;
    let probe = tried.ask().unwrap();
    tried.breaker.failed(early, tried.now, &rules());
    tried.breaker.succeeded(early);
    assert_eq!(tried.breaker.position(), Position::HalfOpen);
    assert!(tried.ask().is_err());
    tried.breaker.dropped(probe);
    let other = tried.ask().unwrap();
    tried.breaker.failed(other, tried.now, &rules());
    tried.now += 200 * MS;
    let next = tried.ask().unwrap();
    // Of the recovery before.
    tried.breaker.succeeded(probe);
    tried.breaker.dropped(probe);
    assert!(tried.ask().is_err());
    tried.breaker.succeeded(next);
    assert!(tried.ask().is_ok() && tried.ask().is_ok() && tried.ask().is_err());
}

#[test]
fn those_who_are_refused_do_not_come_back_all_at_once() {
    let mut tried = Tried::new();
    tried.open();
    let waits: Vec<_> = (0..100_000).map(|_| tried.ask().unwrap_err()).collect();
    let at = |wait: Duration| waits.iter().filter(|one| **one == wait).count();
    assert_eq!(at(Duration::from_millis(100)), 64);
    assert_eq!(at(Duration::from_millis(300)), 64);
    assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(100) + SPREAD_MAX));
}

#[test]
fn a_clock_that_is_set_back_keeps_nothing_open() {
    let mut tried = Tried::new();
    tried.open();
    tried.now -= 3_600_000 * MS;
    assert!(tried.ask().is_ok());
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Ask,
    Succeed(usize),
    Fail(usize),
    Drop(usize),
    Pass(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Ask),
        2 => (0..8_usize).prop_map(Event::Succeed),
        2 => (0..8_usize).prop_map(Event::Fail),
        1 => (0..8_usize).prop_map(Event::Drop),
        2 => (0..400_i64).prop_map(Event::Pass),
    ];
    proptest::collection::vec(event, 0..300)
}

proptest! {
    /// Whatever happens in whatever order: nobody goes through while it is open, no more than its stage has while it
    /// recovers, it opens only after as many failures as it takes, and it never stays shut.
    #[test]
    fn a_circuit_lets_through_whom_its_state_allows(events in events()) {
        let mut tried = Tried::new();
        let mut held: Vec<Ticket> = Vec::new();
        let mut failures = 0;
        for event in events {
            let before = tried.breaker.position();
            match event {
                Event::Ask => {
                    let until = tried.breaker.times().1;
                    match tried.ask() {
                        Ok(ticket) => {
                            prop_assert!(before != Position::Open || until.is_some_and(|until| tried.now >= until));
                            held.push(ticket);
                            if let Ticket::Probe(epoch) = ticket {
                                let probes = held.iter().filter(|one| **one == Ticket::Probe(epoch)).count();
                                prop_assert!(probes <= LAST_STAGE as usize);
                            }
                        }
                        Err(wait) => {
                            prop_assert!(before != Position::Closed && wait > Duration::ZERO);
                        }
                    }
                }
                Event::Succeed(at) if at < held.len() => {
                    let ticket = held.swap_remove(at);
                    tried.breaker.succeeded(ticket);
                    prop_assert!(before != Position::Open || tried.breaker.position() == Position::Open);
                }
                Event::Fail(at) if at < held.len() => {
                    let ticket = held.swap_remove(at);
                    failures += 1;
                    tried.breaker.failed(ticket, tried.now, &rules());
                    if before == Position::Closed && tried.breaker.position() == Position::Open {
                        prop_assert!(failures >= 3);
                    }
                }
                Event::Drop(at) if at < held.len() => {
                    tried.breaker.dropped(held.swap_remove(at));
                    prop_assert_eq!(tried.breaker.position(), before);
                }
                Event::Succeed(_) | Event::Fail(_) | Event::Drop(_) => {}
                Event::Pass(ms) => tried.now += ms * MS,
            }
        }
        // When all are back and all goes well it closes, with no more than the stages take.
        for ticket in held {
            tried.breaker.dropped(ticket);
        }
        tried.now += micros(OPEN_MAX);
        for _ in 0..15 {
            tried.goes_well();
        }
        prop_assert_eq!(tried.breaker.position(), Position::Closed);
        prop_assert!(tried.breaker.failed.is_empty() || before_any(&tried));
    }
}

/// A breaker that was closed all the time has lost a failure with each success.
fn before_any(tried: &Tried) -> bool {
    tried.breaker.failed.len() < 3
}
