//! From what was denied to the permissions that would allow it.
//!
//! Owns when paths that vary become a pattern. Invariants: a host is never part of a pattern, a pattern has one `*`
//! for one segment, and only where some different ones were seen; so a suggestion allows little more than what was
//! tried.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{Permission, PermissionKind, PermissionSet, split_url};

/// Siblings that make a pattern: two may be all that there are, three look like ids.
const SIBLINGS_MIN: usize = 3;

/// Segments of a path that is looked at for patterns. A step may make up longer ones, and looking costs the square.
const SEGMENTS_MAX: usize = 32;

/// In the place of a segment.
const ANY: &str = "*";

/// Whether [`ANY`] covers the segment: not one that decodes to more than one, nor none between two others.
fn is_one(segment: &str, is_last: bool) -> bool {
    (is_last || !segment.is_empty()) && !["%2F", "%5C", "%25"].iter().any(|encoded| segment.contains(encoded))
}

/// A permission, and the denials that it would have saved.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Suggestion {
    pub(super) permission: Permission,
    /// How often it was denied.
    pub(super) count: u64,
    /// When last.
    pub(super) last_at: Timestamp,
}

/// The fewest permissions for what was denied and is not `allowed` by now.
pub(super) fn suggestions(allowed: &PermissionSet, denied: Vec<Suggestion>) -> Vec<Suggestion> {
    let mut servers: BTreeMap<(PermissionKind, String), Vec<Path>> = BTreeMap::new();
    let mut found = Vec::new();
    for one in denied {
        let Permission { permission: kind, resource } = &one.permission;
        if one.permission.only_resource().is_some_and(|resource| allowed.allows(*kind, &resource)) {
            continue;
        }
        match split_url(resource).filter(|_| kind.is_http()) {
            Some((server, path)) => {
                let segments = path.strip_prefix('/').unwrap_or(path).split('/').map(str::to_owned).collect();
                let path = Path { segments, count: one.count, last_at: one.last_at };
                servers.entry((*kind, server.to_owned())).or_default().push(path);
            }
            None => found.push(one),
        }
    }
    for ((permission, server), paths) in servers {
        found.extend(grouped(paths).into_iter().map(|path| Suggestion {
            permission: Permission { permission, resource: format!("{server}/{}", path.segments.join("/")) },
            count: path.count,
            last_at: path.last_at,
        }));
    }
    found.sort_by(|a, b| {
        let key = |one: &Suggestion| (one.permission.permission, one.permission.resource.clone());
        key(a).cmp(&key(b))
    });
    found
}

/// A path on one server, or a pattern of some.
#[derive(Debug, Clone)]
struct Path {
    segments: Vec<String>,
    count: u64,
    last_at: Timestamp,
}

impl Path {
    fn covers(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).enumerate().all(|(place, (own, segment))| {
                own == segment || (own == ANY && is_one(segment, place + 1 == other.segments.len()))
            })
    }

    fn absorb(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.last_at = self.last_at.max(other.last_at);
    }

    /// It with any segment at this place.
    fn varied(&self, at: usize) -> Vec<String> {
        self.segments.iter().enumerate().map(|(place, own)| if place == at { ANY } else { own }.to_owned()).collect()
    }
}

/// The same paths with fewer of them, as often as that goes: a pattern may have siblings, too.
fn grouped(mut paths: Vec<Path>) -> Vec<Path> {
    loop {
        let before = paths.len();
        paths = grouped_once(paths);
        if paths.len() == before {
            return paths;
        }
    }
}

fn grouped_once(mut paths: Vec<Path>) -> Vec<Path> {
    let mut groups: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
    for (index, path) in paths.iter().enumerate().filter(|(_, path)| path.segments.len() <= SEGMENTS_MAX) {
        let is_varied =
            |at: &usize| path.segments.get(*at).is_some_and(|segment| is_one(segment, *at + 1 == path.segments.len()));
        for at in (0..path.segments.len()).filter(is_varied) {
            groups.entry(path.varied(at)).or_default().push(index);
        }
    }
    // The largest first: a path that is in two goes to the one that has more in common.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let (mut taken, mut patterns) = (BTreeSet::new(), Vec::new());
    for (segments, mut members) in groups {
        members.retain(|member| !taken.contains(member));
        if members.len() < SIBLINGS_MIN {
            continue;
        }
        taken.extend(members);
        patterns.push(Path { segments, count: 0, last_at: Timestamp::MIN });
    }
    paths.extend(patterns);
    without_covered(paths)
}

/// Each path in one of the patterns that cover it, also where it is no sibling of what the pattern was made of.
fn without_covered(mut paths: Vec<Path>) -> Vec<Path> {
    let wildcards = |path: &Path| path.segments.iter().filter(|segment| *segment == ANY).count();
    paths.sort_by_key(|path| std::cmp::Reverse(wildcards(path)));
    let mut kept: Vec<Path> = Vec::with_capacity(paths.len());
    for path in paths {
        match kept.iter_mut().find(|pattern| pattern.covers(&path)) {
            Some(pattern) => pattern.absorb(&path),
            None => kept.push(path),
        }
    }
    // Where others cover all of a pattern, nothing is left for it.
    kept.retain(|path| path.count > 0);
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn denied(kind: PermissionKind, resource: &str, second: i64) -> Suggestion {
        let last_at = Timestamp::from_second(second).unwrap();
        Suggestion { permission: Permission::exactly(kind, resource), count: 2, last_at }
    }

    fn suggested(allowed: &[&str], urls: &[&str]) -> Vec<String> {
        let kind = PermissionKind::HttpRead;
        let allowed: Vec<_> =
            allowed.iter().map(|glob| Permission { permission: kind, resource: (*glob).to_owned() }).collect();
        let denied = urls.iter().map(|url| denied(kind, url, 1)).collect();
        let found = suggestions(&PermissionSet::new(&allowed).unwrap(), denied);
        found.into_iter().map(|one| one.permission.resource).collect()
    }

    #[test]
    fn three_siblings_make_a_pattern_and_two_do_not() {
        let urls = ["https://a.example/orders/1", "https://a.example/orders/2", "https://a.example/orders/3"];
        assert_eq!(suggested(&[], &urls), ["https://a.example/orders/*"]);
        assert_eq!(suggested(&[], &urls[..2]), urls[..2]);
        let inside = ["https://a.example/u/1/x", "https://a.example/u/2/x", "https://a.example/u/3/x"];
        assert_eq!(suggested(&[], &inside), ["https://a.example/u/*/x"]);
    }

    #[test]
    fn a_path_that_varies_in_two_places_becomes_one_pattern_where_each_was_seen() {
        let all: Vec<String> = (1..=3)
            .flat_map(|user| (1..=3).map(move |order| format!("https://a.example/u/{user}/orders/{order}")))
            .chain(["https://a.example/u/9/orders/9".to_owned()])
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(suggested(&[], &all), ["https://a.example/u/*/orders/*"]);
        // Each has a user and an order of its own: nothing says which of the two varies.
        let apart =
            ["https://a.example/u/1/orders/4", "https://a.example/u/2/orders/5", "https://a.example/u/3/orders/6"];
        assert_eq!(suggested(&[], &apart), apart);
    }

    #[test]
    fn a_host_a_port_and_a_method_are_never_part_of_a_pattern() {
        let hosts = ["https://a.example/x", "https://b.example/x", "https://c.example/x", "https://c.example:444/x"];
        assert_eq!(suggested(&[], &hosts).len(), 4);
        let kinds = [PermissionKind::HttpRead, PermissionKind::HttpWrite, PermissionKind::HttpWrite];
        let mixed = kinds.iter().zip(1..).map(|(kind, one)| denied(*kind, &format!("https://a.example/{one}"), one));
        assert_eq!(suggestions(&PermissionSet::default(), mixed.collect()).len(), 3);
        let names = ["a", "b", "c"].map(|name| denied(PermissionKind::DatabaseRead, name, 1));
        assert_eq!(suggestions(&PermissionSet::default(), names.into()).len(), 3);
    }

    #[test]
    fn what_is_allowed_by_now_is_not_suggested() {
        let urls = ["https://a.example/x", "https://a.example/y/1", r"https://a.example/y/*[1]"];
        assert_eq!(suggested(&["https://a.example/y/**"], &urls), ["https://a.example/x"]);
        assert_eq!(suggested(&["**"], &urls), [""; 0]);
    }

    #[test]
    fn a_pattern_tells_how_often_and_when_last_all_of_it_was_denied() {
        let all =
            (1..=3).map(|one| denied(PermissionKind::HttpWrite, &format!("https://a.example/{one}"), one)).collect();
        let found = suggestions(&PermissionSet::default(), all);
        assert_eq!((found.len(), found[0].count, found[0].last_at), (1, 6, Timestamp::from_second(3).unwrap()));
    }

    #[test]
    fn a_segment_that_no_star_covers_is_suggested_as_it_is() {
        let urls = ["1%2Fa", "2%5Ca", "3%252Fa", ""].map(|user| format!("https://a.example/u/{user}/x"));
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut found = suggested(&[], &urls);
        found.sort_by_key(|one| urls.iter().position(|url| url == one));
        assert_eq!(found, urls);
    }

    #[test]
    fn a_star_that_a_step_asked_for_is_no_wildcard() {
        assert_eq!(suggested(&[], &["https://a.example/*/x"]), [r"https://a.example/\*/x"]);
    }

    proptest! {
        #[test]
        fn what_is_suggested_allows_all_that_was_denied_and_compiles(
            urls in prop::collection::btree_set("https://[ab]\\.example(/([a-c*\\[!]|%2F|%25|%C3){0,2}){1,4}", 1..40),
        ) {
            let kind = PermissionKind::HttpRead;
            let denials: Vec<_> = urls.iter().map(|url| denied(kind, url, 1)).collect();
            let found = suggestions(&PermissionSet::default(), denials.clone());
            prop_assert!(found.iter().all(|one| one.count > 0));
            let total: u64 = found.iter().map(|one| one.count).sum();
            prop_assert_eq!(total, 2 * urls.len() as u64);
            let list: Vec<_> = found.into_iter().map(|one| one.permission).collect();
            let set = PermissionSet::new(&list).unwrap();
            for url in &urls {
                prop_assert!(set.allows(kind, url), "{} {:?}", url, list);
            }
            // Nothing is left to suggest once it is allowed.
            prop_assert_eq!(suggestions(&set, denials), Vec::new());
        }
    }
}
