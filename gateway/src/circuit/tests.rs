use super::*;
use crate::clock::ManualClock;

struct Set {
    circuits: Circuits,
    metrics: Metrics,
    hand: ManualClock,
}

fn set() -> Set {
    let (clock, hand) = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
    let metrics = Metrics::new();
    let bounds = CircuitBounds { failures: 2, window_ms: 1_000, open_ms: 10_000 };
    Set { circuits: Circuits::new(&bounds, clock, metrics.clone()), metrics, hand }
}

fn key(host: &str) -> Key {
    Key::origin("https", host, 443)
}

fn name(text: &str) -> ModuleName {
    text.parse().unwrap()
}

fn fail(circuits: &Circuits, key: &Key) {
    for _ in 0..2 {
        circuits.ask(key).unwrap().failed();
    }
}

#[test]
fn what_fails_is_left_alone_and_nothing_else_is() {
    let Set { circuits, metrics, hand } = set();
    fail(&circuits, &key("a.example"));
    let open = circuits.ask(&key("a.example")).unwrap_err();
    assert_eq!(open.retry_after, Duration::from_secs(10));
    assert_eq!(open.to_string(), "https://a.example:443 is failing and is left alone for 10 s");
    for other in [key("b.example"), Key::origin("http", "a.example", 443), Key::database("a.example")] {
        assert!(circuits.ask(&other).is_ok(), "{other}");
    }
    assert!(metrics.encode().contains("sluice_circuits_open 1"), "{}", metrics.encode());
    hand.advance_ms(10_000);
    for _ in 0..15 {
        circuits.ask(&key("a.example")).unwrap().succeeded();
    }
    assert_eq!(circuits.list(), []);
    let text = metrics.encode();
    for line in [
        "sluice_circuits_open 0",
        "sluice_circuit_transitions_total{kind=\"origin\",state=\"open\"} 1",
        "sluice_circuit_transitions_total{kind=\"origin\",state=\"half-open\"} 1",
        "sluice_circuit_transitions_total{kind=\"origin\",state=\"closed\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn a_module_opens_a_circuit_of_its_own_and_sees_that_of_the_jobs() {
    let Set { circuits, hand, .. } = set();
    let (loud, quiet) = (name("loud"), name("quiet"));
    for _ in 0..2 {
        circuits.ask_for_module(&loud, &key("a.example")).unwrap().failed();
    }
    assert!(circuits.ask_for_module(&loud, &key("a.example")).is_err());
    assert!(circuits.ask_for_module(&quiet, &key("a.example")).is_ok());
    assert!(circuits.ask(&key("a.example")).is_ok());
    assert_eq!(circuits.list()[0].module.as_deref(), Some("loud"));

    fail(&circuits, &key("b.example"));
    assert!(circuits.ask_for_module(&quiet, &key("b.example")).is_err());
    hand.advance_ms(10_000);
    // When it may be probed modules go there, and take no place of a probe.
    let of_module = circuits.ask_for_module(&quiet, &key("b.example")).unwrap();
    let probe = circuits.ask(&key("b.example")).unwrap();
    assert!(circuits.ask(&key("b.example")).is_err());
    drop((of_module, probe));
}

#[test]
fn what_is_listed_can_be_closed_by_its_id() {
    let Set { circuits, metrics, hand } = set();
    fail(&circuits, &key("b.example"));
    circuits.ask(&Key::database("orders")).unwrap().failed();
    let listed = circuits.list();
    let shown: Vec<_> = listed.iter().map(|one| (one.kind, one.name.as_str(), one.state, one.failures)).collect();
    assert_eq!(
        shown,
        [("origin", "https://b.example:443", Position::Open, 2), ("database", "orders", Position::Closed, 1)]
    );
    let open = &listed[0];
    assert!(open.id.len() == 32 && open.id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", open.id);
    assert_eq!(open.opened_at.map(Timestamp::as_second), Some(1_800_000_000));
    assert_eq!(open.next_probe_at.map(Timestamp::as_second), Some(1_800_000_010));
    let other = set();
    fail(&other.circuits, &key("b.example"));
    assert_eq!(other.circuits.list()[0].id, open.id);

    assert!(circuits.close(&open.id) && !circuits.close(&open.id) && !circuits.close("nothing"));
    assert!(circuits.ask(&key("b.example")).is_ok());
    assert!(metrics.encode().contains("sluice_circuits_open 0"));
    hand.advance_ms(1_000);
    assert_eq!(circuits.list(), []);
}

#[test]
fn a_permit_that_is_dropped_says_nothing_and_gives_its_place_back() {
    let Set { circuits, hand, .. } = set();
    for _ in 0..10 {
        drop(circuits.ask(&key("a.example")).unwrap());
    }
    assert_eq!(circuits.list(), []);
    fail(&circuits, &key("a.example"));
    hand.advance_ms(10_000);
    drop(circuits.ask(&key("a.example")).unwrap());
    let probe = circuits.ask(&key("a.example")).unwrap();
    assert!(circuits.ask(&key("a.example")).is_err());
    // Closed by hand while somebody probes: that one's failure is of a circuit that is gone.
    assert!(circuits.close(&circuits.list()[0].id));
    probe.failed();
    assert_eq!(circuits.list(), []);
}

#[test]
fn no_more_are_kept_than_there_is_room_for_and_old_ones_make_room() {
    let Set { circuits, hand, .. } = set();
    for number in 0..KEPT_MAX * 2 {
        circuits.ask(&key(&format!("{number}.example"))).unwrap().failed();
    }
    let kept = circuits.0.kept.load(Ordering::Relaxed);
    assert!((KEPT_MAX / 2..=KEPT_MAX).contains(&kept), "{kept}");
    // One module has its own part, and none of the jobs'.
    for number in 0..1_000 {
        let key = key(&format!("{number}.example"));
        circuits.ask_for_module(&name("loud"), &key).unwrap().failed();
    }
    let of_module = circuits.0.kept.load(Ordering::Relaxed) - kept;
    assert!(of_module <= OF_ONE_MODULE_MAX, "{of_module}");
    circuits.ask_for_module(&name("quiet"), &key("a.example")).unwrap().failed();
    assert!(circuits.list().iter().any(|one| one.module.as_deref() == Some("quiet")));

    hand.advance_ms(1_000);
    fail(&circuits, &key("new.example"));
    assert_eq!(circuits.list()[0].name, "https://new.example:443");
}

#[test]
fn statuses_say_who_fails() {
    for (status, fails) in
        [(200, false), (404, false), (429, false), (500, true), (501, false), (503, true), (599, true)]
    {
        assert_eq!(is_failing(status), fails, "{status}");
    }
}
