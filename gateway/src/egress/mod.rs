//! The one way out over HTTP.
//!
//! Owns what a URL is, which addresses are connected to, the pool of connections, and the operator's
//! secrets. Does not know executions, and permissions only by their kinds. Invariant: nothing is connected to that [`Filter`]
//! does not allow.

mod address;
mod allowance;
mod body;
mod client;
mod connector;
mod error;
pub mod headers;
mod hosts;
mod owner;
mod resolver;
pub mod secrets;
mod target;

pub use address::Filter;
pub use allowance::{Allowance, AnswerRoom};
pub use body::{RequestBody, ResponseBody};
pub use client::{Egress, OpenError, Request, Response, Times};
pub use error::{Error, Failure, Wait};
pub use headers::{method, permission_kind};
pub use target::{Error as BadTarget, Target};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Permission, PermissionKind, PermissionSet};

    /// `docs/src/authors/http.md` has these: a glob, what it covers, what it does not.
    const DOCUMENTED: &[(&str, &[&str], &[&str])] = &[
        (
            "https://api.example.com/v1/*",
            &["https://api.example.com/v1/orders", "https://api.example.com/v1/orders?limit=1"],
            &["https://api.example.com/v1/orders/7", "https://api.example.com/v1", "http://api.example.com/v1/orders"],
        ),
        (
            "https://api.example.com/v1/**",
            &["https://api.example.com/v1/orders/7"],
            &["https://api.example.com/v2/orders"],
        ),
        (
            "https://*.example.com/**",
            &["https://eu.example.com/"],
            &["https://example.com/", "https://a.eu.example.com/"],
        ),
        (
            "https://**.example.com/**",
            &["https://a.eu.example.com/x"],
            &["https://example.com/", "https://evil.org/x.example.com/"],
        ),
        (
            "https://api.example.com/users/*/orders",
            &["https://api.example.com/users/7/orders"],
            &["https://api.example.com/users/7%2F8/orders", "https://api.example.com/users//orders"],
        ),
        (
            "https://api.example.com**",
            &["https://api.example.com/x", "https://api.example.com:8443/x"],
            &["https://api.example.com.evil.org/"],
        ),
        ("http://localhost:8081/**", &["http://localhost:8081/x"], &["http://localhost/"]),
        ("https://api.example.com:443/**", &["https://api.example.com/x"], &["https://api.example.com:8443/x"]),
        ("https://{eu,us}.example.com/[0-9]*", &["https://eu.example.com/7"], &["https://asia.example.com/7"]),
    ];

    #[test]
    fn globs_cover_what_the_documentation_says() {
        for (glob, covered, others) in DOCUMENTED {
            let permission = Permission { permission: PermissionKind::HttpRead, resource: (*glob).to_owned() };
            let set = PermissionSet::new(&[permission]).unwrap();
            let covers = |url: &&str| set.allows(PermissionKind::HttpRead, Target::parse(url).unwrap().resource());
            assert!(covered.iter().all(covers), "{glob}");
            assert!(!others.iter().any(covers), "{glob}");
        }
    }
}
