//! `Idempotency-Key` of a request (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! Owns its reading. Does not own what is remembered. Invariant: a key has 1 to 255 visible characters of ASCII.

use http::HeaderMap;

/// Room for any UUID or digest; a row's index holds it.
const KEY_LENGTH_MAX: usize = 255;
const NAME: &str = "idempotency-key";

/// Why a key is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Which of them counts nobody could tell.
    #[error("send `Idempotency-Key` once")]
    Twice,
    /// Neither a quoted text nor a bare one.
    #[error("`Idempotency-Key` takes 1 to 255 visible characters of ASCII, quoted or bare")]
    Malformed,
}

/// The key of a request, if it has one.
pub fn parse(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::Twice);
    }
    let text = value.to_str().map_err(|_| Error::Malformed)?.trim_matches([' ', '\t']);
    let key = match text.strip_prefix('"') {
        Some(rest) => unquote(rest)?,
        None if text.contains(['"', '\\', ',', ';']) => return Err(Error::Malformed),
        None => text.to_owned(),
    };
    let is_good = (1..=KEY_LENGTH_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_good { Ok(Some(key)) } else { Err(Error::Malformed) }
}

/// The rest of a String of RFC 9651 after its first quote.
fn unquote(rest: &str) -> Result<String, Error> {
    let mut key = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next() {
            Some('"') if chars.as_str().is_empty() => return Ok(key),
            Some('\\') => key.push(chars.next().filter(|char| matches!(char, '"' | '\\')).ok_or(Error::Malformed)?),
            Some('"') | None => return Err(Error::Malformed),
            Some(char) => key.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(values: &[&str]) -> Result<Option<String>, Error> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, value.parse().unwrap());
        }
        parse(&headers)
    }

    #[test]
    fn a_key_is_quoted_or_bare_and_comes_once() {
        assert_eq!(parsed(&[]), Ok(None));
        assert_eq!(parsed(&["\"8e03\""]), Ok(Some("8e03".to_owned())));
        assert_eq!(parsed(&["8e03"]), Ok(Some("8e03".to_owned())));
        assert_eq!(parsed(&[r#""a\"b""#]), Ok(Some("a\"b".to_owned())));
        assert_eq!(parsed(&["a", "a"]), Err(Error::Twice));
        for wrong in ["", "\"\"", "\"a", "\"a\"b", "a b", "a,b", r#""a\b""#, &"a".repeat(256)] {
            assert_eq!(parsed(&[wrong]), Err(Error::Malformed), "{wrong}");
        }
    }
}
