//! The method and the headers of a request, as a step wrote them.
//!
//! Owns which of them may be sent. Does not put secrets in: who sends has, so that a value is checked as it
//! leaves. Invariants: a request is one request, whatever its headers hold; and the host that a server
//! reads is the one that was checked.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::method::Method;

use super::Target;
use crate::model::PermissionKind;

/// Of one request. Servers take a hundred as a rule, and a guest that sends more is lost.
pub const HEADERS_MAX: usize = 100;

/// Names and values together. Servers take 8 to 64 KiB of head.
pub const BYTES_MAX: usize = 64 * 1024;

/// Of one name. The longest of IANA's registry has 41.
const NAME_BYTES_MAX: usize = 256;

/// Of a method. The longest of IANA's registry, `UPDATEREDIRECTREF`, has 17.
const METHOD_BYTES_MAX: usize = 32;

/// What a server is told of who asks, unless the step says it.
const AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// Headers of the connection and of the framing, RFC 9110, section 7.6.1. The client makes those it
/// needs; from a step they could make two requests out of one. All `proxy-…` are among them.
const OF_THE_CONNECTION: &[&str] =
    &["connection", "expect", "http2-settings", "keep-alive", "proxy", "te", "trailer", "transfer-encoding", "upgrade"];

/// Headers by which servers take another path than the request's: IIS, and frameworks that were made to run behind it.
const REROUTING: &[&str] = &["x-original-url", "x-rewrite-url"];

/// Headers by which frameworks take another method than the request's.
const OVERRIDING: &[&str] = &["x-http-method", "x-http-method-override", "x-method-override"];

/// Why a method or headers are not sent. The words never repeat a value: a secret may be in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a token, or too long.
    #[error("the method is not 1 to {METHOD_BYTES_MAX} letters, digits and hyphens")]
    Method,
    /// `CONNECT` opens a tunnel past all checks, and `TRACE` shows a secret to the step.
    #[error("the method {0} is not sent")]
    MethodClosed(Method),
    /// More than a server takes.
    #[error("there are more than {HEADERS_MAX} headers")]
    TooMany,
    /// Larger than a server takes.
    #[error("the headers have more than {BYTES_MAX} bytes")]
    TooLarge,
    /// The name of a header is no token.
    #[error("header {number} has a name that is not 1 to {NAME_BYTES_MAX} letters, digits and hyphens")]
    Name {
        /// Which one, from 1.
        number: usize,
    },
    /// CR, LF, NUL or another control character.
    #[error("the value of the header `{0}` has a control character")]
    Value(HeaderName),
    /// Of the connection, which is the gateway's.
    #[error("the header `{0}` is the gateway's to send")]
    OfTheConnection(HeaderName),
    /// It would lead past the permission for the URL.
    #[error("the header `{0}` can name another path than the URL's")]
    AnotherPath(HeaderName),
    /// Another host than the URL's would have other permissions.
    #[error("the header `host` is not the URL's host")]
    Host,
    /// Not a number, or several.
    #[error("the header `content-length` is not one number")]
    Length,
}

/// The headers as they are sent, with a `user-agent` of the gateway's where there is none. `host` is left
/// out, since the client writes it. A `content-length` stays, and is compared with the body at the end.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn outgoing<'a>(list: impl Iterator<Item = (&'a str, &'a [u8])>, target: &Target) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let mut bytes = 0_usize;
    for (place, (name, value)) in list.enumerate() {
        if place == HEADERS_MAX {
            return Err(Error::TooMany);
        }
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        if bytes > BYTES_MAX {
            return Err(Error::TooLarge);
        }
        let (name, value) = checked(place, name, value)?;
        match name {
            HOST if is_host_of(&value, target) => {}
            HOST => return Err(Error::Host),
            CONTENT_LENGTH if headers.contains_key(CONTENT_LENGTH) || length(&value).is_none() => {
                return Err(Error::Length);
            }
            name => {
                headers.append(name, value);
            }
        }
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    Ok(headers)
}

/// The method, in the case it was written in: `get` is not `GET`.
///
/// # Errors
/// Why there is none that is sent.
pub fn method(text: &str) -> Result<Method, Error> {
    if text.len() > METHOD_BYTES_MAX {
        return Err(Error::Method);
    }
    let method = Method::from_bytes(text.as_bytes()).map_err(|_| Error::Method)?;
    if ["CONNECT", "TRACE"].iter().any(|closed| text.eq_ignore_ascii_case(closed)) {
        return Err(Error::MethodClosed(method));
    }
    Ok(method)
}

/// What kind of permission a method needs.
#[must_use]
pub fn permission_kind(method: &Method) -> PermissionKind {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => PermissionKind::HttpRead,
        _ => PermissionKind::HttpWrite,
    }
}

/// Whether a secret may be in the value of this header. Not where the gateway compares the value with something: a step
/// would learn from a refusal what the secret is.
#[must_use]
pub fn may_hold_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name != HOST.as_str() && name != CONTENT_LENGTH.as_str() && !is_of_the_connection(&name)
}

/// Whether some servers would take another method than the request's: a GET with such a header may write.
#[must_use]
pub fn overrides_method(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| is_among(OVERRIDING, name))
}

fn is_among(list: &[&str], name: &HeaderName) -> bool {
    list.contains(&&*as_cgi_reads_it(name.as_str()))
}

/// CGI and its kind read both signs as one.
fn as_cgi_reads_it(name: &str) -> Cow<'_, str> {
    if name.contains('_') { name.replace('_', "-").into() } else { name.into() }
}

/// What `content-length` says.
pub(super) fn length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn checked(place: usize, name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), Error> {
    let number = place + 1;
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::Name { number });
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::Name { number })?;
    if is_of_the_connection(name.as_str()) {
        return Err(Error::OfTheConnection(name));
    }
    if is_among(REROUTING, &name) {
        return Err(Error::AnotherPath(name));
    }
    let value = HeaderValue::from_bytes(value).map_err(|_| Error::Value(name.clone()))?;
    Ok((name, value))
}

/// By its name in small letters. `Proxy` is none by any standard, but CGI makes a variable of it that libraries take
/// their proxy from.
fn is_of_the_connection(name: &str) -> bool {
    let spelled = as_cgi_reads_it(name);
    // With the sign that the standard has, these two are checked against the request.
    let is_misspelt = spelled != name && [HOST.as_str(), CONTENT_LENGTH.as_str()].contains(&&*spelled);
    OF_THE_CONNECTION.contains(&&*spelled) || spelled.starts_with("proxy-") || is_misspelt
}

/// A host may be written with its scheme's own port, and in capitals.
fn is_host_of(value: &HeaderValue, target: &Target) -> bool {
    let authority = target.url().authority();
    value.to_str().is_ok_and(|host| {
        host.eq_ignore_ascii_case(authority)
            || host.eq_ignore_ascii_case(&format!("{}:{}", target.host(), target.port()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(list: &[(&str, &str)]) -> Result<Vec<(String, String)>, Error> {
        let target = Target::parse("https://api.example.com/x").unwrap();
        let headers = outgoing(list.iter().map(|(name, value)| (*name, value.as_bytes())), &target)?;
        let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec()).unwrap();
        Ok(headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }

    #[test]
    fn headers_are_sent_as_they_are_with_an_agent_of_ours() {
        let agent = (USER_AGENT.to_string(), AGENT.to_owned());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(sent(&[]).unwrap(), std::slice::from_ref(&agent));
        assert_eq!(
            sent(&[("X-Name", "grüße\t!"), ("x-name", ""), ("accept-encoding", "gzip")]).unwrap(),
            [pair("x-name", "grüße\t!"), pair("x-name", ""), pair("accept-encoding", "gzip"), agent]
        );
        assert_eq!(sent(&[("user-agent", "mine/1")]).unwrap(), [pair("user-agent", "mine/1")]);
    }

    #[test]
    fn no_header_ends_its_line_or_the_request() {
        for value in ["a\r\nx: y", "a\nb", "a\rb", "a\0b", "\x7f", "\x0b"] {
            assert_eq!(sent(&[("x", value)]), Err(Error::Value(HeaderName::from_static("x"))), "{value:?}");
        }
        for name in ["", "a b", "a:", "a\r\nb", "ä", "\0", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(sent(&[("a", "b"), (name, "x")]), Err(Error::Name { number: 2 }), "{name:?}");
        }
    }

    #[test]
    fn what_is_of_the_connection_is_refused_by_its_name() {
        for name in ["Connection", "proxy-connection", "Proxy-Authorization", "TE", "transfer-encoding", "upgrade"] {
            let said = format!("the header `{}` is the gateway's to send", name.to_lowercase());
            assert_eq!(sent(&[(name, "x")]).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn what_names_another_path_is_refused_in_each_spelling() {
        for name in ["X-Original-URL", "x-rewrite-url", "X_Original_Url"] {
            let said = format!("the header `{}` can name another path than the URL's", name.to_lowercase());
            assert_eq!(sent(&[(name, "/admin")]).unwrap_err().to_string(), said);
        }
        assert!(sent(&[("x-original-host", "a")]).is_ok());
    }

    #[test]
    fn a_host_is_the_urls_and_a_length_is_one_number() {
        for host in ["api.example.com", "API.example.COM", "api.example.com:443"] {
            assert_eq!(sent(&[("host", host)]), sent(&[]), "{host}");
        }
        for host in ["", "internal.example.com", "api.example.com:80", "api.example.com.", "api.example.com, x"] {
            assert_eq!(sent(&[("host", host)]), Err(Error::Host), "{host}");
        }
        assert_eq!(sent(&[("Content-Length", "12")]).unwrap().first().unwrap().1, "12");
        for lengths in [&["+1"][..], &["1, 1"], &["1", "1"], &["-1"], &[""], &["0x1"], &["99999999999999999999"]] {
            let list: Vec<_> = lengths.iter().map(|value| ("content-length", *value)).collect();
            assert_eq!(sent(&list), Err(Error::Length), "{lengths:?}");
        }
    }

    #[test]
    fn a_secret_is_in_no_header_that_the_gateway_compares() {
        for name in ["Content-Length", "HOST", "host", "connection", "Transfer-Encoding", "proxy-authorization"] {
            assert!(!may_hold_secret(name), "{name}");
        }
        for name in ["content_length", "Transfer_Encoding", "proxy_authorization", "Proxy", "HOST", "http2_settings"] {
            assert!(!may_hold_secret(name), "{name}");
        }
        for name in ["transfer_encoding", "proxy", "proxy_connection", "content_length"] {
            let refused = Error::OfTheConnection(HeaderName::from_static(name));
            assert_eq!(sent(&[(name, "1")]), Err(refused), "{name}");
        }
        for name in ["authorization", "X-Api-Key", "cookie", "content-type", "x_host"] {
            assert!(may_hold_secret(name), "{name}");
        }
    }

    #[test]
    fn a_header_that_changes_the_method_is_known_in_each_spelling() {
        for name in ["x-http-method-override", "x-http-method", "x-method-override", "x_http_method-override"] {
            let headers = [(HeaderName::from_static(name), HeaderValue::from_static("DELETE"))].into_iter().collect();
            assert!(overrides_method(&headers), "{name}");
        }
        let headers = [(HeaderName::from_static("x-method"), HeaderValue::from_static("DELETE"))].into_iter().collect();
        assert!(!overrides_method(&headers));
    }

    #[test]
    fn headers_are_counted_and_measured() {
        assert!(sent(&vec![("x", "y"); HEADERS_MAX]).is_ok());
        assert_eq!(sent(&vec![("x", "y"); HEADERS_MAX + 1]), Err(Error::TooMany));
        let fits = "y".repeat(BYTES_MAX - 1);
        assert!(sent(&[("x", &fits)]).is_ok());
        assert_eq!(sent(&[("xx", &fits)]), Err(Error::TooLarge));
    }

    #[test]
    fn a_method_is_a_token_that_opens_no_tunnel() {
        for text in ["GET", "get", "PATCH", "PROPFIND", "M-SEARCH"] {
            assert_eq!(method(text).unwrap().as_str(), text);
        }
        for text in ["", "GET /", "GET\r\n", "é", &"A".repeat(METHOD_BYTES_MAX + 1)] {
            assert_eq!(method(text), Err(Error::Method), "{text:?}");
        }
        for text in ["CONNECT", "connect", "TRACE", "Trace"] {
            assert_eq!(method(text).unwrap_err().to_string(), format!("the method {text} is not sent"));
        }
    }
}
