//! What an operator allows a module; everything else is denied.

mod exact;
mod glob;
mod set;

pub use set::PermissionSet;

use serde::{Deserialize, Serialize};

/// What kind of thing may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum PermissionKind {
    /// GET, HEAD, OPTIONS.
    #[serde(rename = "http:read")]
    HttpRead,
    /// All other methods.
    #[serde(rename = "http:write")]
    HttpWrite,
    /// Statements that only read.
    #[serde(rename = "database:read")]
    DatabaseRead,
    /// Statements that may write.
    #[serde(rename = "database:write")]
    DatabaseWrite,
    /// Putting a secret into a request.
    #[serde(rename = "secret:use")]
    SecretUse,
}

impl PermissionKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::HttpRead, Self::HttpWrite, Self::DatabaseRead, Self::DatabaseWrite, Self::SecretUse];

    /// The kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpRead => "http:read",
            Self::HttpWrite => "http:write",
            Self::DatabaseRead => "database:read",
            Self::DatabaseWrite => "database:write",
            Self::SecretUse => "secret:use",
        }
    }

    /// Whether its resources are URLs.
    #[must_use]
    pub const fn is_http(self) -> bool {
        match self {
            Self::HttpRead | Self::HttpWrite => true,
            Self::DatabaseRead | Self::DatabaseWrite | Self::SecretUse => false,
        }
    }

    /// The kind that is written `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One permission of one module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({"permission": "http:write", "resource": "https://api.example.com/*"}))]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// What may be done.
    pub permission: PermissionKind,
    /// On what: a glob. A host in it is ASCII (`xn--…`).
    #[schema(min_length = 1, max_length = 2048, format = "glob")]
    pub resource: String,
}

/// Something that a module tried and none of its permissions covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Denial {
    /// What kind of thing.
    pub permission: PermissionKind,
    /// On what, in normal form: as the permission that allows it and nothing else has it
    /// ([`Permission::exactly`]). At most
    /// [`RESOURCE_CHARACTERS_MAX`] characters.
    pub resource: String,
}

impl Denial {
    /// That of something in normal form. What a glob would take for a wildcard is escaped: whoever allows what
    /// was denied allows that and no more.
    #[must_use]
    pub fn of(permission: PermissionKind, resource: &str) -> Self {
        let mut exact = Permission::exactly(permission, resource).resource;
        if exact.chars().count() > RESOURCE_CHARACTERS_MAX {
            // No permission is so long: the nearest one that can be given.
            exact = match split_url(resource).filter(|_| permission.is_http()) {
                Some((origin, _)) => format!("{}/**", Permission::exactly(permission, origin).resource),
                None => exact.chars().take(NAME_SHOWN_CHARACTERS).chain(['…']).collect(),
            };
        }
        Self { permission, resource: exact }
    }
}

/// A URL, or a pattern of URLs, as `scheme://host:port` and its path.
#[must_use]
pub fn split_url(resource: &str) -> Option<(&str, &str)> {
    let (scheme, after) = resource.split_once("://")?;
    let path = scheme.len() + "://".len() + after.find('/').unwrap_or(after.len());
    resource.split_at_checked(path)
}

/// What is told of a name that no permission could have.
const NAME_SHOWN_CHARACTERS: usize = 100;

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.permission.as_str(), self.resource)
    }
}

/// Of a resource: long enough for any URL pattern, short enough to compile at once.
pub const RESOURCE_CHARACTERS_MAX: usize = 2048;

/// A resource that is no glob.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BadPermission(String);

impl Permission {
    /// Checks that the resource is a glob, and that a matcher can be made of it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), BadPermission> {
        if self.resource.is_empty() {
            return Err(BadPermission("the resource is empty".to_owned()));
        }
        if self.resource.chars().count() > RESOURCE_CHARACTERS_MAX {
            return Err(BadPermission(format!("the resource has more than {RESOURCE_CHARACTERS_MAX} characters")));
        }
        PermissionSet::new(std::slice::from_ref(self)).map(|_| ())
    }

    /// Whether it is certain that no URL is covered: a pattern of URLs which begins as none does. It is a glob all
    /// the same, and taken; whoever gives it is told.
    #[must_use]
    pub fn covers_no_url(&self) -> bool {
        let begins = self.resource.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default().to_ascii_lowercase();
        let can_begin = |scheme: &str| begins.starts_with(scheme) || scheme.starts_with(&begins);
        self.permission.is_http() && !can_begin("https://") && !can_begin("http://")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resource: &str) -> Result<(), String> {
        let permission = Permission { permission: PermissionKind::HttpRead, resource: resource.to_owned() };
        permission.check().map_err(|error| error.to_string())
    }

    #[test]
    fn a_resource_is_a_glob_within_its_length() {
        for resource in ["*", "**", "https://*.example.com/v1/**", &format!("https://a.example/{}", "a".repeat(2030))] {
            assert_eq!(check(resource), Ok(()), "{resource}");
        }
        for resource in ["", "[a", "{a", "a{b}}", "\\", &format!("https://a.example/{}", "a".repeat(2031))] {
            assert!(check(resource).is_err(), "{resource}");
        }
    }

    #[test]
    fn a_pattern_that_begins_as_no_url_does_is_known() {
        let is_known =
            |permission, resource: &str| Permission { permission, resource: resource.to_owned() }.covers_no_url();
        for resource in ["api.example.com/*", "orders", "ftp://a.example/", "http:/a", "httpx://*"] {
            assert!(is_known(PermissionKind::HttpRead, resource), "{resource}");
            assert!(!is_known(PermissionKind::DatabaseRead, resource), "{resource}");
        }
        for resource in
            ["*", "**", "HTTPS://a.example/*", "http*", "{http,https}://a.example/", "ht?p://a.example", "https"]
        {
            assert!(!is_known(PermissionKind::HttpWrite, resource), "{resource}");
        }
    }

    #[test]
    fn a_denial_names_the_permission_that_allows_it_and_nothing_else() {
        for (kind, resource, others) in [
            (PermissionKind::HttpRead, "https://a.example/x*y[1]{a,b}", &["https://a.example/xzy1a"][..]),
            (PermissionKind::HttpWrite, "http://[::1]:8080/a", &["http://[::2]:8080/a"]),
            (PermissionKind::HttpRead, "https://*.example/", &["https://a.example/"]),
            (PermissionKind::HttpRead, r"https://a.example/a\b", &["https://a.example/ab"]),
            (PermissionKind::DatabaseRead, "*", &["orders"]),
            (PermissionKind::DatabaseWrite, "[a-z]", &["b"]),
            (PermissionKind::SecretUse, "key@a.example", &["key@b.example"]),
        ] {
            let denial = Denial::of(kind, resource);
            let permission = Permission { permission: kind, resource: denial.resource.clone() };
            let set = PermissionSet::new(&[permission]).expect("a permission");
            assert!(set.allows(kind, resource), "{denial} allows {resource}");
            for other in others {
                assert!(!set.allows(kind, other), "{denial} allows {other}");
            }
        }
        let long = format!("https://a.example/{}", "b".repeat(5_000));
        assert_eq!(Denial::of(PermissionKind::HttpRead, &long).resource, "https://a.example/**");
        assert_eq!(Denial::of(PermissionKind::DatabaseRead, &"b".repeat(5_000)).resource.chars().count(), 101);
    }

    #[test]
    fn every_kind_is_written_as_it_is_read() {
        for kind in ["http:read", "http:write", "database:read", "database:write", "secret:use"] {
            let text = format!(r#"{{"permission":"{kind}","resource":"*"}}"#);
            let permission: Permission = serde_json::from_str(&text).expect("a permission");
            assert_eq!(permission.permission.as_str(), kind);
            assert_eq!(serde_json::to_string(&permission).expect("JSON"), text);
        }
        assert!(serde_json::from_str::<Permission>(r#"{"permission":"*","resource":"*"}"#).is_err());
    }
}
