use http::{HeaderValue, header};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::model::{NameGlobs, NewKey};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn with(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
}

fn bearer(key: &str) -> HeaderMap {
    with(&[&format!("Bearer {key}")])
}

fn generated(name: &str, role: Role) -> (String, Key) {
    generate_key(NewKey::unrestricted(name, role), NOW).unwrap()
}

fn holder(key: &Key) -> KeyHolder {
    KeyHolder { id: key.id, name: key.name.as_str().into() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn a_generated_key_is_recognised_with_its_name_and_role() {
    let (text, key) = generated("ci", Role::Invoker);
    let (_, other) = generated("other", Role::Admin);
    assert_eq!(text.len(), "sk_".len() + 43);
    assert!(!format!("{key:?}").contains(&text));
    let id = key.id;
    let ring = KeyRing::new(&[other, key]);
    for headers in [bearer(&text), with(&[&format!("bearer  {text} ")])] {
        let caller = ring.authenticate(&headers, NOW).unwrap();
        assert_eq!((&**caller.name(), caller.role(), caller.id()), ("ci", Role::Invoker, id));
        assert!(caller.sees_all_modules() && caller.sees_module("any") && caller.sees_job("any"));
    }
}

#[test]
fn a_key_with_a_known_prefix_and_another_secret_is_as_unknown_to_its_sender_as_any_other() {
    let (text, key) = generated("ci", Role::Invoker);
    let last = if text.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{last}", &text[..text.len() - 1]);
    let holder = holder(&key);
    let error = KeyRing::new(&[key]).authenticate(&bearer(&forged), NOW).unwrap_err();
    assert_eq!(error, Error::WrongSecret { key: holder.clone() });
    assert_eq!(error.to_string(), Error::Unknown.to_string());
    let problem = Problem::from(error);
    assert_eq!(problem.code(), Code::Unauthenticated);
    assert_eq!(problem.suspected(), Some(&Suspect::Claimed(holder)));
}

#[test]
fn what_is_no_bearer_key_is_told_from_an_unknown_key() {
    let (text, key) = generated("ci", Role::Admin);
    let ring = KeyRing::new(&[key]);
    let header = format!("Bearer {text}");
    assert_eq!(ring.authenticate(&HeaderMap::new(), NOW), Err(Error::Missing));
    for headers in [
        with(&["Bearer"]),
        with(&["Basic dXNlcjpwYXNz"]),
        with(&["Bearer sk_short"]),
        with(&[&format!("Bearer {text}x")]),
        with(&[&format!("Bearer xx_{}", &text[3..])]),
        with(&[&header, &header]),
    ] {
        assert_eq!(ring.authenticate(&headers, NOW), Err(Error::Malformed), "{headers:?}");
    }
    let (unknown, _) = generated("ci", Role::Admin);
    assert_eq!(ring.authenticate(&bearer(&unknown), NOW), Err(Error::Unknown));
}

#[test]
fn a_role_may_what_the_lower_ones_may() {
    let (text, key) = generated("ci", Role::Invoker);
    let holder = holder(&key);
    let caller = KeyRing::new(&[key]).authenticate(&bearer(&text), NOW).unwrap();
    assert_eq!(caller.require(Role::Viewer), Ok(()));
    assert_eq!(caller.require(Role::Invoker), Ok(()));
    let refused = caller.require(Role::Admin).unwrap_err();
    assert_eq!(refused, Error::Forbidden { key: holder.clone(), needed: Role::Admin, role: Role::Invoker });
    let problem = Problem::from(refused);
    assert_eq!((problem.code(), problem.suspected()), (Code::Forbidden, Some(&Suspect::Proven(holder))));
}

#[test]
fn a_key_is_over_from_the_instant_of_its_end() {
    let wanted = NewKey { expires_at: Some(at(10)), ..NewKey::unrestricted("ci", Role::Viewer) };
    let (text, key) = generate_key(wanted, NOW).unwrap();
    let (clock, hand) = Clock::manual(at(9));
    let key_holder = holder(&key);
    let keys = Keys::new(&[key], clock);
    keys.authenticate(&bearer(&text)).unwrap();
    hand.advance_ms(999);
    keys.authenticate(&bearer(&text)).unwrap();
    hand.advance_ms(1);
    assert_eq!(keys.authenticate(&bearer(&text)), Err(Error::Expired { key: key_holder }));
}

#[test]
fn a_restricted_key_sees_what_its_globs_match() {
    let globs = |glob: &str| Some(NameGlobs::new(vec![glob.to_owned()]).unwrap());
    let wanted =
        NewKey { modules: globs("order-*"), jobs: globs("nightly"), ..NewKey::unrestricted("ci", Role::Viewer) };
    let (text, key) = generate_key(wanted, NOW).unwrap();
    let caller = KeyRing::new(&[key]).authenticate(&bearer(&text), NOW).unwrap();
    assert!(!caller.sees_all_modules());
    assert!(caller.sees_module("order-rules") && !caller.sees_module("tax"));
    assert!(caller.sees_job("nightly") && !caller.sees_job("order-rules"));
}

#[tokio::test]
async fn a_key_stops_and_starts_with_the_list_that_was_read_last() {
    let (text, key) = generated("ci", Role::Viewer);
    let (other_text, other) = generated("other", Role::Viewer);
    let keys = Keys::new(std::slice::from_ref(&key), Clock::system());
    keys.refresh(async { Ok::<_, Error>(vec![other]) }).await.unwrap();
    assert_eq!(keys.authenticate(&bearer(&text)), Err(Error::Unknown));
    keys.authenticate(&bearer(&other_text)).unwrap();
    // A store that fails changes nothing.
    keys.refresh(async { Err(Error::Missing) }).await.unwrap_err();
    keys.authenticate(&bearer(&other_text)).unwrap();
}

#[tokio::test]
async fn uses_are_taken_once_and_outlive_a_change_of_keys() {
    let (text, key) = generated("ci", Role::Viewer);
    let (clock, hand) = Clock::manual(at(100));
    let id = key.id;
    let keys = Keys::new(std::slice::from_ref(&key), clock);
    assert_eq!((keys.last_used(id), keys.take_uses()), (None, vec![]));
    keys.authenticate(&bearer(&text)).unwrap();
    hand.advance_ms(999);
    keys.authenticate(&bearer(&text)).unwrap();
    keys.refresh(async { Ok::<_, Error>(vec![key]) }).await.unwrap();
    assert_eq!(keys.last_used(id), Some(at(100)));
    assert_eq!((keys.take_uses(), keys.take_uses()), (vec![(id, at(100))], vec![]));
    hand.advance_ms(1);
    keys.authenticate(&bearer(&text)).unwrap();
    assert_eq!((keys.take_uses(), keys.take_uses()), (vec![(id, at(101))], vec![]));
}

/// A key of few different letters, so that prefixes are often shared with what is asked for.
fn any_key_text() -> impl Strategy<Value = String> {
    ("[ab]{2}", "[ab]{2}").prop_map(|(first, last)| format!("sk_{}{}{}", first, "x".repeat(39), last))
}

proptest! {
    #[test]
    fn p_key_ring_look_up_agrees_with_a_search_of_the_list(
        stored in proptest::collection::vec((any_key_text(), proptest::option::of(0..4_i64)), 0..6),
        asked in any_key_text(), now in 0..4_i64,
    ) {
        let mut keys: Vec<Key> = Vec::new();
        for (text, expires) in stored {
            let prefix = text[3..15].to_owned();
            if keys.iter().all(|key| key.prefix != prefix) {
                let hash = Sha256::digest(text.as_bytes()).into();
                let (_, key) = generated(&text, Role::Viewer);
                keys.push(Key { prefix, hash, expires_at: expires.map(at), ..key });
            }
        }
        let naive = match keys.iter().find(|key| key.prefix == asked[3..15]) {
            None => Err(Error::Unknown),
            Some(key) if key.name != asked => Err(Error::WrongSecret { key: holder(key) }),
            Some(key) if key.expires_at.is_some_and(|end| end <= at(now)) => {
                Err(Error::Expired { key: holder(key) })
            }
            Some(key) => Ok(key.id),
        };
        let found = KeyRing::new(&keys).authenticate(&bearer(&asked), at(now)).map(|caller| caller.id());
        prop_assert_eq!(found, naive);
    }
}
