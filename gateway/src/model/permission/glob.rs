//! The globs of permissions, as regular expressions.
//!
//! Owns what `*` and `**` mean in each part of a resource. Does not match: `set` does. Invariant: an
//! expression never lets a wildcard of one part of a resource reach into the next, so that
//! `https://*.example.com/*` says nothing of `https://other.org/x.example.com/y`.
//!
//! `globset` knows one separator for a whole pattern, and `**` only between two of them; a URL has a
//! host with labels, a port and a path with segments.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use super::PermissionKind;

/// Alternatives in alternatives: deeper is nobody's pattern.
const NESTING_MAX: usize = 4;

/// The part of a resource that a character of the glob is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before `://`.
    Scheme,
    /// Host and port.
    Authority,
    Path,
    /// Of a connection or a secret.
    Name,
    /// A secret's, after the `@`.
    Host,
}

impl Part {
    const fn first(kind: PermissionKind) -> Self {
        match kind {
            PermissionKind::HttpRead | PermissionKind::HttpWrite => Self::Scheme,
            PermissionKind::DatabaseRead | PermissionKind::DatabaseWrite | PermissionKind::SecretUse => Self::Name,
        }
    }

    /// What one character of `*` is.
    const fn within(self) -> &'static str {
        match self {
            Self::Scheme => "[^:/]",
            Self::Authority => "[^/.:]",
            Self::Path => "[^/]",
            Self::Name => "[^@/]",
            Self::Host => "[^@/.:]",
        }
    }

    /// What one character of `**` is; at the end of a glob it is any.
    const fn across(self) -> &'static str {
        match self {
            Self::Scheme => "[^:/]",
            Self::Authority => "[^/]",
            Self::Path => ".",
            Self::Name | Self::Host => "[^@/]",
        }
    }

    const fn ignores_case(self) -> bool {
        matches!(self, Self::Scheme | Self::Authority | Self::Host)
    }
}

/// Alternatives that are open.
struct Alternatives {
    began: Part,
    /// Where the first one ended; all others have to.
    ended: Option<Part>,
}

struct Translator<'a> {
    kind: PermissionKind,
    left: &'a str,
    part: Part,
    open: Vec<Alternatives>,
    expression: String,
}

/// The expression that a resource has to match as a whole, over bytes.
///
/// # Errors
/// What is wrong with the glob, for people.
pub(super) fn expression(kind: PermissionKind, glob: &str) -> Result<String, String> {
    let glob = without_default_port(glob);
    let expression = String::with_capacity(glob.len() * 2 + 8);
    let mut translator = Translator { kind, left: &glob, part: Part::first(kind), open: Vec::new(), expression };
    translator.expression.push_str(r"\A");
    while let Some(character) = translator.take() {
        translator.character(character)?;
    }
    if !translator.open.is_empty() {
        return Err("a `{` has no `}`".to_owned());
    }
    translator.expression.push_str(r"\z");
    Ok(translator.expression)
}

/// A URL as it is matched has no port where it is the scheme's own.
fn without_default_port(glob: &str) -> String {
    for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
        let Some(rest) = glob.strip_prefix(scheme) else { continue };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if let Some(host) = authority.strip_suffix(port) {
            return format!("{scheme}{host}{path}");
        }
    }
    glob.to_owned()
}

impl Translator<'_> {
    fn take(&mut self) -> Option<char> {
        let character = self.left.chars().next()?;
        self.left = self.left.get(character.len_utf8()..)?;
        Some(character)
    }

    fn take_if(&mut self, text: &str) -> bool {
        self.left.strip_prefix(text).inspect(|rest| self.left = rest).is_some()
    }

    fn character(&mut self, character: char) -> Result<(), String> {
        match character {
            '*' => self.star(),
            '?' => self.expression.push_str(self.part.within()),
            '[' => return self.class(),
            '{' => return self.open(),
            ',' if !self.open.is_empty() => return self.next_alternative(),
            '}' if !self.open.is_empty() => return self.close(),
            '}' => return Err("a `}` has no `{`".to_owned()),
            '\\' => match self.take() {
                Some(escaped) => return self.literal(escaped),
                None => return Err("a `\\` has nothing after it".to_owned()),
            },
            other => return self.literal(other),
        }
        Ok(())
    }

    fn star(&mut self) {
        if self.left.starts_with('*') {
            while self.take_if("*") {}
            // Of alternatives, each may be the end.
            let ends = self.left.is_empty() || (self.open.len() == 1 && self.left == "}");
            self.expression.push_str(if ends { "." } else { self.part.across() });
        } else {
            self.expression.push_str(self.part.within());
        }
        self.expression.push('*');
    }

    fn literal(&mut self, character: char) -> Result<(), String> {
        match (self.part, character) {
            (Part::Scheme, ':') if self.take_if("//") => {
                self.expression.push_str("://");
                self.part = Part::Authority;
                return Ok(());
            }
            (Part::Authority, '/') => self.part = Part::Path,
            (Part::Name, '@') if self.kind == PermissionKind::SecretUse => self.part = Part::Host,
            (Part::Authority | Part::Host, other) if !other.is_ascii() => {
                return Err(format!("a host is matched in its ASCII form; write the label with `{other}` as `xn--…`"));
            }
            // A URL as it is matched has these in UTF-8 and percent-encoded.
            (Part::Path, other) if !other.is_ascii() || other == ' ' => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a string can't fail.
                    let _ = write!(self.expression, "%{byte:02X}");
                }
                return Ok(());
            }
            _ => {}
        }
        let character = if self.part.ignores_case() { character.to_ascii_lowercase() } else { character };
        self.expression.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
        Ok(())
    }

    /// `[a-z]`, `[!a-z]`, and an IPv6 address in a URL.
    fn class(&mut self) -> Result<(), String> {
        const NO_END: &str = "a `[` has no `]`";
        if self.part == Part::Authority
            && let Some((address, rest)) = self.left.split_once(']')
            && let Ok(address) = address.parse::<Ipv6Addr>()
        {
            self.left = rest;
            self.expression.push_str(&regex::escape(&format!("[{address}]")));
            return Ok(());
        }
        let not = self.take_if("!") || self.take_if("^");
        let mut class = String::new();
        // A `]` that comes first is one of the characters.
        let mut next = self.take().ok_or(NO_END)?;
        loop {
            let from = next;
            next = self.take().ok_or(NO_END)?;
            if next == '-' && !self.left.starts_with(']') {
                let to = self.take().ok_or(NO_END)?;
                next = self.take().ok_or(NO_END)?;
                push_range(&mut class, from, to)?;
            } else {
                push_range(&mut class, from, from)?;
            }
            if next == ']' {
                break;
            }
        }
        let not = if not { "^" } else { "" };
        let _ = write!(self.expression, "[[{not}{class}]&&{}]", self.part.within());
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        if self.open.len() == NESTING_MAX {
            return Err(format!("alternatives are nested at most {NESTING_MAX} deep"));
        }
        self.open.push(Alternatives { began: self.part, ended: None });
        self.expression.push_str("(?:");
        Ok(())
    }

    fn next_alternative(&mut self) -> Result<(), String> {
        self.end_alternative()?;
        if let Some(open) = self.open.last() {
            self.part = open.began;
        }
        self.expression.push('|');
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.end_alternative()?;
        self.open.pop();
        self.expression.push(')');
        Ok(())
    }

    fn end_alternative(&mut self) -> Result<(), String> {
        let part = self.part;
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        if *open.ended.get_or_insert(part) == part {
            return Ok(());
        }
        Err("alternatives end in different parts of the resource".to_owned())
    }
}

fn push_range(class: &mut String, from: char, to: char) -> Result<(), String> {
    if !from.is_ascii() || !to.is_ascii() {
        return Err("a class has ASCII characters only".to_owned());
    }
    if from > to {
        return Err(format!("`{from}-{to}` is no range"));
    }
    let _ = write!(class, r"\x{:02X}-\x{:02X}", u32::from(from), u32::from(to));
    Ok(())
}
