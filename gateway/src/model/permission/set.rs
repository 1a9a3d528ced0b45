//! The permissions of one module revision, ready to be asked.
//!
//! Owns which rule covers a resource. Does not normalise resources: who asks does, so that what is
//! checked is what is done. Invariant: what no rule covers is denied.

use std::fmt;

use regex::bytes::{RegexSet, RegexSetBuilder};

use super::{BadPermission, Permission, PermissionKind, glob};

/// All expressions of one kind together. The longest list of globs that people write needs a few megabytes; one of
/// nothing but wildcards is over it.
const COMPILED_BYTES_MAX: usize = 32 * 1024 * 1024;

const TOO_MUCH: &str =
    "it is too much to be matched at each call: fewer or shorter globs, or fewer wildcards, are needed";

/// Permissions, compiled. The default allows nothing.
#[derive(Default)]
pub struct PermissionSet {
    rules: Vec<Rules>,
}

/// The rules of one kind.
struct Rules {
    kind: PermissionKind,
    /// Where each is in the list.
    places: Vec<usize>,
    set: RegexSet,
}

impl PermissionSet {
    /// Compiles a list.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn new(permissions: &[Permission]) -> Result<Self, BadPermission> {
        let mut rules = Vec::new();
        for kind in PermissionKind::ALL {
            let (mut places, mut expressions) = (Vec::new(), Vec::new());
            for (place, permission) in permissions.iter().enumerate().filter(|(_, one)| one.permission == kind) {
                places.push(place);
                expressions.push(glob::expression(kind, &permission.resource).map_err(BadPermission)?);
            }
            if !places.is_empty() {
                let set = RegexSetBuilder::new(expressions)
                    // Resources are matched byte by byte, which is smaller and faster.
                    .unicode(false)
                    .dot_matches_new_line(true)
                    .size_limit(COMPILED_BYTES_MAX)
                    .build()
                    .map_err(|error| {
                        BadPermission(match error {
                            regex::Error::CompiledTooBig(_) => TOO_MUCH.to_owned(),
                            error => error.to_string(),
                        })
                    })?;
                rules.push(Rules { kind, places, set });
            }
        }
        Ok(Self { rules })
    }

    /// Whether a rule of this kind covers the resource.
    #[must_use]
    pub fn allows(&self, kind: PermissionKind, resource: &str) -> bool {
        self.of(kind).is_some_and(|rules| rules.set.is_match(resource.as_bytes()))
    }

    /// Where in the list the first rule is that covers the resource.
    #[must_use]
    pub fn rule(&self, kind: PermissionKind, resource: &str) -> Option<usize> {
        let rules = self.of(kind)?;
        let first = rules.set.matches(resource.as_bytes()).iter().next()?;
        rules.places.get(first).copied()
    }

    fn of(&self, kind: PermissionKind) -> Option<&Rules> {
        self.rules.iter().find(|rules| rules.kind == kind)
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: usize = self.rules.iter().map(|rules| rules.places.len()).sum();
        f.debug_struct("PermissionSet").field("rules", &rules).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(kind: PermissionKind, resources: &[&str]) -> PermissionSet {
        let permissions: Vec<_> = resources
            .iter()
            .map(|resource| Permission { permission: kind, resource: (*resource).to_owned() })
            .collect();
        PermissionSet::new(&permissions).unwrap()
    }

    /// A glob, what it covers, and what it does not.
    const HTTP: &[(&str, &[&str], &[&str])] = &[
        (
            "https://api.example.com/*",
            &["https://api.example.com/", "https://api.example.com/orders"],
            &[
                "https://api.example.com/orders/1",
                "http://api.example.com/orders",
                "https://api.example.com:8443/orders",
                "https://api.example.com.evil.org/orders",
                "https://apiXexample.com/orders",
            ],
        ),
        (
            "https://api.example.com/v1/**",
            &["https://api.example.com/v1/", "https://api.example.com/v1/a/b/c"],
            &["https://api.example.com/v1", "https://api.example.com/v2/a", "https://api.example.com:8443/v1/a"],
        ),
        (
            "https://*.example.com/**",
            &["https://a.example.com/", "https://b.example.com/x/y"],
            &[
                "https://example.com/",
                "https://a.b.example.com/",
                "https://evil.org/a.example.com/",
                "https://a.example.com:444/",
                "https://a:1.example.com/",
            ],
        ),
        (
            "https://**.example.com/**",
            &["https://a.b.example.com/x"],
            &["https://evil.org/a.example.com/x", "https://evil.org:8443/.example.com/"],
        ),
        ("https://**", &["https://a.example.com/x/y", "https://a.example.com:8443/"], &["http://a.example.com/"]),
        ("https://api.example.com:443/*", &["https://api.example.com/x"], &["https://api.example.com:444/x"]),
        ("http://127.0.0.1:*/*", &["http://127.0.0.1:8080/x"], &["http://127.0.0.1/x", "http://127.0.0.1:80/x/y"]),
        ("http://127.0.0.1**", &["http://127.0.0.1:8080/x/y", "http://127.0.0.1/"], &["http://127.0.1.1/"]),
        ("http://[::1]:*/**", &["http://[::1]:80/a/b"], &["http://[::2]:80/a", "http://::80/a"]),
        ("http{,s}://a.example/?", &["http://a.example/x", "https://a.example/y"], &["http://a.example/xy"]),
        ("{http://a.example/*,https://b.example/*}", &["http://a.example/x"], &["http://b.example/x"]),
        ("HTTPS://API.example.com/A*", &["https://api.example.com/Ab"], &["https://api.example.com/ab"]),
        (
            "https://a.example/[a-c]/[!x]",
            &["https://a.example/b/y"],
            &["https://a.example/d/y", "https://a.example/a//"],
        ),
        ("https://a.example/straße/*", &["https://a.example/stra%C3%9Fe/1"], &["https://a.example/strasse/1"]),
        ("https://a[!b].example/", &["https://ac.example/"], &["https://ab.example/", "https://a..example/"]),
        (
            "https://a.example/users/*",
            &["https://a.example/users/1", "https://a.example/users/", "https://a.example/users/%C3%A9%20%5B%2B"],
            &[
                "https://a.example/users/1%2Fdelete",
                "https://a.example/users/1%5Cdelete",
                "https://a.example/users/1%252Fdelete",
                "https://a.example/users/1%252fdelete",
                "https://a.example/users/1%25252Fdelete",
                "https://a.example/users/1%255Cdelete",
                "https://a.example/users/1%25%32Fdelete",
            ],
        ),
        ("https://a.example/users/**", &["https://a.example/users/1%2Fdelete", "https://a.example/users/%252F"], &[]),
        ("https://a.example/a%2f*", &["https://a.example/a%2Fb"], &["https://a.example/a%2Fb%2Fc"]),
        ("https://a.example/a?b", &["https://a.example/a%20b"], &["https://a.example/a%2Fb", "https://a.example/a%b"]),
        ("https://a.example/[!x]2F", &["https://a.example/y2F"], &["https://a.example/%2F"]),
        (
            "https://a.example/*/admin",
            &["https://a.example/x/admin"],
            &["https://a.example//admin", "https://a.example/x/y/admin"],
        ),
        ("https://a.example/{*,x}/admin", &["https://a.example/y/admin"], &["https://a.example//admin"]),
        ("https://a.example/{,}*/admin", &["https://a.example/y/admin"], &["https://a.example//admin"]),
        ("https://a.example/*{,x}/admin", &["https://a.example/y/admin"], &["https://a.example//admin"]),
        (r"https://a.example/*\/admin", &["https://a.example/y/admin"], &["https://a.example//admin"]),
        ("https://a.example/**/admin", &["https://a.example//admin", "https://a.example/x/y/admin"], &[]),
        ("https://a.example//*", &["https://a.example//x"], &["https://a.example/x"]),
        ("{https://a.example/*,https://b.example/*}", &["https://a.example/", "https://b.example/"], &[]),
        ("https://a.example/*.json", &["https://a.example/x.json", "https://a.example/.json"], &[]),
        (
            "https://api.example.com**",
            &["https://api.example.com/", "https://api.example.com:8443/x/y"],
            &[
                "https://api.example.com.evil.org/",
                "https://api.example.community/",
                "https://api.example.com:8443.evil.org/",
            ],
        ),
        (
            "https://api.example.com**/x",
            &["https://api.example.com/x", "https://api.example.com:1/x"],
            &["https://api.example.com.evil.org/x", "https://api.example.com/y/x"],
        ),
        (
            "https://{a.example,b.}**",
            &["https://a.example:1/x"],
            &["https://a.example.evil.org/", "https://b.evil.org/"],
        ),
        ("https://api**.example.com/", &["https://api.x.example.com/"], &["https://api.example.com.evil.org/"]),
        ("{https://a.example**,http://b.example**}", &["http://b.example:81/x"], &["https://a.example.evil.org/"]),
        ("HTTPS://a.example:443/", &["https://a.example/"], &["https://a.example:443/"]),
        ("{https://a.example:443/*,http://b.example:80/*}", &["https://a.example/x", "http://b.example/x"], &[]),
        (
            "https://a.example{:443,:8443}/",
            &["https://a.example/", "https://a.example:8443/"],
            &["https://a.example:1/"],
        ),
        ("https://*.example:443/", &["https://a.example/"], &[]),
        ("https://a.example:4430/", &["https://a.example:4430/"], &["https://a.example/", "https://a.example0/"]),
        ("https://a.example/%6f%72ders/%c3%9f", &["https://a.example/orders/%C3%9F"], &[]),
        ("https://[A-C]x.example/[A-C]", &["https://bx.example/B"], &["https://bx.example/b", "https://dx.example/B"]),
        ("https://[!A].example/", &["https://b.example/"], &["https://a.example/"]),
        ("http://[::ffff:127.0.0.1]/*", &["http://[::ffff:7f00:1]/x"], &["http://[::ffff:127.0.0.1]/x"]),
        ("**", &["https://a.example/x", "http://b:1/"], &[]),
        ("*", &[], &["https://a.example/", "https://a.example/x"]),
        (r"https://a.example/\*", &["https://a.example/*"], &["https://a.example/x"]),
    ];

    #[test]
    fn a_star_stays_where_it_is_and_two_cross() {
        for (glob, covered, others) in HTTP {
            let set = set(PermissionKind::HttpRead, &[glob]);
            for url in *covered {
                assert!(set.allows(PermissionKind::HttpRead, url), "{glob} covers {url}");
            }
            for url in *others {
                assert!(!set.allows(PermissionKind::HttpRead, url), "{glob} does not cover {url}");
            }
        }
    }

    #[test]
    fn names_of_connections_and_secrets_at_hosts_are_matched_too() {
        let databases = set(PermissionKind::DatabaseRead, &["orders", "shop-*"]);
        for (name, covered) in [("orders", true), ("shop-eu", true), ("orders2", false), ("my-shop-eu", false)] {
            assert_eq!(databases.allows(PermissionKind::DatabaseRead, name), covered, "{name}");
        }
        let secrets = set(PermissionKind::SecretUse, &["stripe-*@*.stripe.com", "all@**", "local@[::1]"]);
        for (secret, covered) in [
            ("stripe-key@api.stripe.com", true),
            ("all@any.host.example", true),
            ("stripe-key@stripe.com", false),
            ("stripe-key@a.b.stripe.com", false),
            ("other@api.stripe.com", false),
            ("stripe-a@evil.org@api.stripe.com", false),
            ("local@[::1]", true),
            ("local@[::2]", false),
        ] {
            assert_eq!(secrets.allows(PermissionKind::SecretUse, secret), covered, "{secret}");
        }
    }

    #[test]
    fn what_is_no_glob_is_told_why() {
        for (glob, why) in [
            ("https://a.example/[a", "no `]`"),
            ("https://a.example/{a", "no `}`"),
            ("https://a.example/a}", "no `{`"),
            ("https://a.example/a\\", "nothing after"),
            ("https://a.example/[b-a]", "no range"),
            ("https://bücher.example/", "xn--"),
            ("{https://a.example/x,https://b.example}/*", "different parts"),
            ("{{{{{a}}}}}", "nested"),
            ("https://a.example/%zz", "hexadecimal"),
            ("https://a.example/%2*", "hexadecimal"),
            ("https://a.example/{%2,%3}F", "hexadecimal"),
            ("https://a.example/%25*", "no wildcard"),
            ("https://a.example/%252?", "no wildcard"),
            ("https://a.example/{a%25,b}[2]F", "no wildcard"),
            ("https://a.example**:81/", "other hosts"),
            ("https://a.example**m/", "other hosts"),
        ] {
            let permission = Permission { permission: PermissionKind::HttpRead, resource: glob.to_owned() };
            let said = PermissionSet::new(&[permission]).unwrap_err().to_string();
            assert!(said.contains(why), "{glob}: {said}");
        }
    }

    #[test]
    fn a_secret_at_a_host_is_at_no_longer_one() {
        let permission =
            Permission { permission: PermissionKind::SecretUse, resource: "key@api.stripe.com**".to_owned() };
        assert!(permission.check().unwrap_err().to_string().contains("other hosts"));
    }

    #[test]
    fn the_rule_that_covers_is_told_by_its_place() {
        let permissions = [
            Permission { permission: PermissionKind::HttpWrite, resource: "https://a.example/*".to_owned() },
            Permission { permission: PermissionKind::HttpRead, resource: "https://b.example/*".to_owned() },
            Permission { permission: PermissionKind::HttpRead, resource: "https://*.example/*".to_owned() },
        ];
        let set = PermissionSet::new(&permissions).unwrap();
        assert_eq!(set.rule(PermissionKind::HttpRead, "https://b.example/x"), Some(1));
        assert_eq!(set.rule(PermissionKind::HttpRead, "https://a.example/x"), Some(2));
        assert_eq!(set.rule(PermissionKind::HttpWrite, "https://b.example/x"), None);
        assert_eq!(set.rule(PermissionKind::SecretUse, "https://b.example/x"), None);
    }

    /// Labels of a host, or segments of a path: few different ones, so that they often are the same.
    fn parts(has_wildcards: bool, least: usize) -> impl Strategy<Value = Vec<&'static str>> {
        let parts = if has_wildcards { vec!["a", "b", "ab", "*"] } else { vec!["a", "b", "ab", "abc"] };
        proptest::collection::vec(proptest::sample::select(parts), least..3)
    }

    proptest! {
        /// Whatever is before it, a host that is written out is the host.
        #[test]
        fn p12_permission_verification(path in "[a-zA-Z0-9/._~%-]{0,40}", host in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}") {
            let set = set(PermissionKind::HttpRead, &["https://api.example.com/**"]);
            prop_assert_eq!(set.allows(PermissionKind::HttpRead, &format!("https://api.example.com/{path}")), true);
            let other = format!("https://{host}/{path}");
            prop_assert_eq!(set.allows(PermissionKind::HttpRead, &other), host == "api.example.com");
        }

        /// Wildcards cover what they stand for and nothing else: held against a matcher of parts.
        #[test]
        fn p12_permissions_with_wildcards_cover_their_parts(
            pattern in (parts(true, 1), parts(true, 0), any::<bool>()),
            asked in (parts(false, 1), parts(false, 1)),
        ) {
            let ((host, path, is_open), (asked_host, asked_path)) = (pattern, asked);
            let end = if is_open { "/**" } else { "" };
            let path_of = |parts: &[&str]| parts.iter().map(|part| format!("/{part}")).collect::<String>();
            let glob = format!("https://{}.example{}{end}", host.join("."), path_of(&path));
            let url = format!("https://{}.example{}", asked_host.join("."), path_of(&asked_path));
            let same = |pattern: &[&str], asked: &[&str]| {
                pattern.iter().zip(asked).all(|(pattern, asked)| *pattern == "*" || pattern == asked)
            };
            let is_covered = host.len() == asked_host.len()
                && same(&host, &asked_host)
                && same(&path, &asked_path)
                && (path.len() == asked_path.len() && !is_open || path.len() < asked_path.len() && is_open);
            let set = set(PermissionKind::HttpWrite, &[&glob]);
            prop_assert_eq!(set.allows(PermissionKind::HttpWrite, &url), is_covered, "{} and {}", glob, url);
        }

        #[test]
        fn p13_unauthorized_operation_denial(resource in ".{0,60}", kind in 0_usize..5) {
            let kind = PermissionKind::ALL[kind];
            prop_assert!(!PermissionSet::new(&[]).unwrap().allows(kind, &resource));
            // A permission of one kind is none of another.
            for other in PermissionKind::ALL.into_iter().filter(|other| *other != kind) {
                prop_assert!(!set(other, &["**"]).allows(kind, &resource));
            }
        }

        /// Whatever is taken, compiles; nothing panics.
        #[test]
        fn a_glob_is_taken_or_refused_in_words(resource in "[a-c*?{},!\\\\/\\[\\]:@.-]{0,40}", kind in 0_usize..5) {
            let permission = Permission { permission: PermissionKind::ALL[kind], resource };
            if permission.check().is_ok() {
                prop_assert!(PermissionSet::new(&[permission]).is_ok());
            }
        }
    }
}
