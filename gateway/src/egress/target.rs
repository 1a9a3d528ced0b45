//! The URL that a step asks for, in the one form that is checked, and sent.
//!
//! Owns what a URL may be, and its normal form. Does not know permissions nor addresses. Invariant: what
//! [`Target::resource`] says is what is asked for; no server can read another path out of it.
//!
//! The parser is WHATWG's (`url`), which mends much of what it is given: each mending that could make
//! a URL mean something else to a reader of permissions is refused before.

use std::borrow::Cow;
use std::net::IpAddr;

use url::{Host, Url};

/// Of one URL. Servers take 8 KiB of request line as a rule.
const URL_BYTES_MAX: usize = 8 * 1024;

/// How often a path may be encoded: servers decode once, their backends sometimes again.
const DECODINGS_MAX: usize = 3;

/// Why a URL is not asked for. The words never repeat it: it may hold what belongs in no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a URL at all.
    #[error("the URL is malformed: {0}")]
    Malformed(#[from] url::ParseError),
    /// Of another scheme.
    #[error("the URL's scheme is not http or https")]
    Scheme,
    /// `user:password@`.
    #[error("the URL has a user or a password; send an authorization header")]
    UserInfo,
    /// `..` or `.` in its path, in any encoding.
    #[error("the URL's path has a segment `.` or `..`")]
    DotSegment,
    /// A space, a control character or a backslash.
    #[error("the URL has a space, a control character or a backslash")]
    Character,
    /// A `%` that encodes nothing.
    #[error("the URL has a `%` without two hexadecimal digits")]
    Percent,
    /// No name that can be looked up.
    #[error("the URL's host is not a name or an address")]
    Host,
    /// Port 0.
    #[error("the URL's port is 0")]
    Port,
    /// Longer than any server takes.
    #[error("the URL has more than {URL_BYTES_MAX} bytes")]
    TooLong,
}

/// A URL in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    resource: String,
}

impl Target {
    /// Reads a URL as a step wrote it.
    ///
    /// # Errors
    /// Why it is none that can be asked for.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > URL_BYTES_MAX {
            return Err(Error::TooLong);
        }
        // The parser drops or turns these silently.
        if text.chars().any(|character| character.is_control() || character.is_whitespace() || character == '\\') {
            return Err(Error::Character);
        }
        check_path(text)?;
        let mut url = Url::parse(text)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::Scheme);
        }
        // `https:host` and `https:///host` are mended too.
        let before_query = text.split(['?', '#']).next().unwrap_or_default();
        let (_, authority) = before_query.split_once("://").ok_or(Error::Host)?;
        if authority.starts_with('/') {
            return Err(Error::Host);
        }
        let authority = authority.split('/').next().unwrap_or_default();
        if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
            return Err(Error::UserInfo);
        }
        if url.port() == Some(0) {
            return Err(Error::Port);
        }
        normalize_host(&mut url)?;
        url.set_fragment(None);
        let path = normal(url.path())?;
        url.set_path(&path);
        let resource = url.as_str().split(['?', '#']).next().unwrap_or_default().to_owned();
        Ok(Self { url, resource })
    }

    /// What permissions are matched against: `scheme://host[:port]/path`.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The whole of it, with its query.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The host, without a port, as secrets are bound to it.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The address, where the URL has one in place of a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.url.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    /// The port that is connected to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }
}

/// Refuses what the parser would resolve, or a server after it.
fn check_path(text: &str) -> Result<(), Error> {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let after = text.split_once("://").map_or(text, |(_, rest)| rest);
    let Some((_, path)) = after.split_once('/') else { return Ok(()) };
    let mut decoded = Cow::Borrowed(path.as_bytes());
    for _ in 0..DECODINGS_MAX {
        let next: Vec<u8> = percent_encoding::percent_decode(&decoded).collect();
        let dots = |segment: &[u8]| {
            // A parameter is no part of the name: servers for Java cut it off.
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        };
        if next.split(|byte| matches!(byte, b'/' | b'\\')).any(dots) {
            return Err(Error::DotSegment);
        }
        if next.as_slice() == decoded.as_ref() {
            break;
        }
        decoded = Cow::Owned(next);
    }
    Ok(())
}

/// A name is looked up the same with a dot at its end, and secrets and permissions must not differ.
fn normalize_host(url: &mut Url) -> Result<(), Error> {
    let Some(Host::Domain(name)) = url.host() else { return url.host().map(|_| ()).ok_or(Error::Host) };
    let bare = name.strip_suffix('.').unwrap_or(name).to_owned();
    // What is left of a percent-encoded host is refused by the parser; it takes signs that no name has.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if bare.len() > 253 || !bare.split('.').all(is_label) {
        return Err(Error::Host);
    }
    url.set_host(Some(&bare))?;
    Ok(())
}

/// The path with one encoding for each character, RFC 3986, section 6.2.2: unreserved ones as they
/// are, all others in capital digits.
fn normal(path: &str) -> Result<String, Error> {
    let mut normal = String::with_capacity(path.len());
    let mut left = path;
    while let Some((before, after)) = left.split_once('%') {
        normal.push_str(before);
        let (digits, rest) = after.split_at_checked(2).ok_or(Error::Percent)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Error::Percent);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| Error::Percent)?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.push_str(&digits.to_ascii_uppercase());
        }
        left = rest;
    }
    normal.push_str(left);
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resource(text: &str) -> Result<String, Error> {
        Target::parse(text).map(|target| target.resource().to_owned())
    }

    #[test]
    fn a_url_has_one_form() {
        for (text, normal) in [
            ("https://api.example.com", "https://api.example.com/"),
            ("HTTPS://API.Example.COM:443/A", "https://api.example.com/A"),
            ("http://a.example:80/x?q=1#f", "http://a.example/x"),
            ("http://a.example:8080/x", "http://a.example:8080/x"),
            ("https://api.example.com./x", "https://api.example.com/x"),
            ("https://bücher.example/straße", "https://xn--bcher-kva.example/stra%C3%9Fe"),
            ("https://a.example/%6f%72ders/%2f%c3%9f", "https://a.example/orders/%2F%C3%9F"),
            ("http://2130706433/x", "http://127.0.0.1/x"),
            ("http://0177.0.0.1/x", "http://127.0.0.1/x"),
            ("http://0x7f.1/x", "http://127.0.0.1/x"),
            ("http://[0:0:0:0:0:0:0:1]/x", "http://[::1]/x"),
            ("http://[::ffff:127.0.0.1]/x", "http://[::ffff:7f00:1]/x"),
            ("https://a.example//x", "https://a.example//x"),
        ] {
            assert_eq!(resource(text).as_deref(), Ok(normal), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, error) in [
            ("ftp://a.example/", Error::Scheme),
            ("file:///etc/passwd", Error::Scheme),
            ("https://user@a.example/", Error::UserInfo),
            ("https://user:pass@a.example/", Error::UserInfo),
            ("https://@a.example/", Error::UserInfo),
            ("https://a.example/v1/../admin", Error::DotSegment),
            ("https://a.example/v1/%2e%2E/admin", Error::DotSegment),
            ("https://a.example/v1/.%2e/admin", Error::DotSegment),
            ("https://a.example/v1/%252e%252e/admin", Error::DotSegment),
            ("https://a.example/v1/..%2fadmin", Error::DotSegment),
            ("https://a.example/v1/..;x=1/admin", Error::DotSegment),
            ("https://a.example/v1/..%5cadmin", Error::DotSegment),
            ("https://a.example/./x", Error::DotSegment),
            ("https://a.example\\@b.example/", Error::Character),
            ("https://a.example/\tx", Error::Character),
            (" https://a.example/", Error::Character),
            ("https://a.example/x\r\nhost: b", Error::Character),
            ("https://a.example/%zz", Error::Percent),
            ("https://a.example/%4", Error::Percent),
            ("https:a.example/x", Error::Host),
            ("https:///a.example/x", Error::Host),
            ("https:a.example?x://b.example/", Error::Host),
            ("https:/a.example#://b.example/", Error::Host),
            ("https://a..example/x", Error::Host),
            ("https://./x", Error::Host),
            ("https://a.example\")/x", Error::Host),
            ("https://*.example/x", Error::Host),
            ("https://a.example,b.example/x", Error::Host),
            ("https://a.example:0/", Error::Port),
        ] {
            assert_eq!(resource(text), Err(error), "{text}");
        }
        for text in [
            "",
            "x",
            "https://",
            "https://a.example:99999/",
            "http://[fe80::1%25eth0]/",
            "http://[::1/",
            "https://a%2eexample%00/",
        ] {
            assert!(resource(text).is_err(), "{text}");
        }
        assert_eq!(resource(&format!("https://a.example/{}", "a".repeat(URL_BYTES_MAX))), Err(Error::TooLong));
    }

    #[test]
    fn the_query_is_sent_and_not_matched() {
        let target = Target::parse("https://a.example/x?u=https://b.example/../y&v=%41#part").unwrap();
        assert_eq!(target.resource(), "https://a.example/x");
        assert_eq!(target.url().query(), Some("u=https://b.example/../y&v=%41"));
        assert_eq!((target.host(), target.port(), target.address()), ("a.example", 443, None));
        let target = Target::parse("http://[::1]:81/").unwrap();
        assert_eq!((target.host(), target.port(), target.address()), ("[::1]", 81, Some("::1".parse().unwrap())));
    }

    proptest! {
        /// The normal form is its own normal form, and has what it was made of.
        #[test]
        fn the_normal_form_stays(text in "https?://[a-zA-Z0-9.-]{1,20}(:[0-9]{1,5})?/[a-zA-Z0-9/._~%;:@&=+$,!*'()-]{0,40}") {
            if let Ok(normal) = resource(&text) {
                prop_assert_eq!(resource(&normal), Ok(normal.clone()));
                prop_assert!(!normal.split('/').any(|segment| segment == ".."));
            }
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,60}") {
            let _ = resource(&text);
            let _ = resource(&format!("https://{text}"));
        }
    }
}
