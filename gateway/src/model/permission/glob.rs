//! The globs of permissions, as regular expressions.
//!
//! Owns what `*` and `**` mean in each part of a resource. Does not match: `set` does. Invariant: an
//! expression never lets a wildcard of one part of a resource reach into the next, so that
//! `https://*.example.com/*` says nothing of `https://other.org/x.example.com/y`.
//!
//! `globset` knows one separator for a whole pattern, and `**` only between two of them; a URL has a
//! host with labels, a port and a path with segments. And what a server reads as a separator once it has decoded it
//! is one, too: a wildcard of one segment is neither an encoded slash nor no segment at all.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use super::PermissionKind;

/// One character of a path, or an encoded one. Not those that end a segment once they are decoded, `%2F` and
/// `%5C`, nor `%25`, which begins what a second decoding turns into them. A path in normal form has capital digits.
const IN_SEGMENT: &str = "(?:[^/%]|%(?:[01346-9A-F][0-9A-F]|2[0-46-9A-E]|5[0-9ABD-F]))";

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
            Self::Path => IN_SEGMENT,
            Self::Scheme | Self::Authority | Self::Name | Self::Host => self.plain(),
        }
    }

    /// What the characters of a class are among.
    const fn plain(self) -> &'static str {
        match self {
            Self::Scheme => "[^:/]",
            Self::Authority => "[^/.:]",
            Self::Path => "[^/%]",
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

/// Where the translation is, which each alternative begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    part: Part,
    /// Nothing of a host's label or of a path's segment is there yet.
    begins: bool,
    /// The URL's scheme, while it is written out.
    scheme: Option<String>,
    /// An encoded `%` is in the segment.
    has_percent: bool,
}

/// Alternatives that are open.
struct Alternatives {
    began: Place,
    /// Where the ones before ended: all of them have to in the same part.
    ended: Option<Place>,
}

struct Translator<'a> {
    kind: PermissionKind,
    left: &'a str,
    place: Place,
    open: Vec<Alternatives>,
    expression: String,
}

/// The expression that a resource has to match as a whole, over bytes.
///
/// # Errors
/// What is wrong with the glob, for people.
pub(super) fn expression(kind: PermissionKind, glob: &str) -> Result<String, String> {
    let place = Place { part: Part::first(kind), begins: true, scheme: Some(String::new()), has_percent: false };
    let expression = String::with_capacity(glob.len() * 2 + 8);
    let mut translator = Translator { kind, left: glob, place, open: Vec::new(), expression };
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
            '*' if self.left.starts_with('*') => {
                while self.take_if("*") {}
                self.stars()?;
            }
            '*' => self.star()?,
            '?' => {
                self.check_segment()?;
                self.expression.push_str(self.place.part.within());
            }
            '[' => self.class()?,
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
        self.place.begins = false;
        if self.place.part == Part::Scheme {
            self.place.scheme = None;
        }
        Ok(())
    }

    /// `*`. As a whole segment with another one after it, it is at least one character: `//` is no segment, and some
    /// servers skip it.
    fn star(&mut self) -> Result<(), String> {
        self.check_segment()?;
        let is_segment = self.place.part == Part::Path
            && self.place.begins
            && self.left.starts_with(['/', '\\', '{', ',', '}'])
            && !self.is_end();
        self.expression.push_str(self.place.part.within());
        self.expression.push(if is_segment { '+' } else { '*' });
        Ok(())
    }

    /// `**`. After the name of a host it is its port and its path only: a longer name is another host's.
    fn stars(&mut self) -> Result<(), String> {
        const OTHERS: &str = "`**` after a host's name would cover other hosts: write `/**`, or `:*/**` for any port";
        let is_end = self.is_end();
        match (self.place.part, self.place.begins) {
            (Part::Authority, false) if is_end => self.expression.push_str("(?::[0-9]+)?(?:/.*)?"),
            (Part::Authority, false) if self.left.starts_with('/') => self.expression.push_str("(?::[0-9]+)?"),
            (Part::Authority, false) if !self.left.starts_with('.') => return Err(OTHERS.to_owned()),
            (Part::Host, false) if is_end => {
                return Err("`**` after a host's name would cover other hosts: leave it out".to_owned());
            }
            (_, _) if is_end => self.expression.push_str(".*"),
            (part, _) => {
                self.expression.push_str(part.across());
                self.expression.push('*');
            }
        }
        Ok(())
    }

    /// Whether the glob ends here, or the last of its alternatives that this one is part of.
    fn is_end(&self) -> bool {
        let mut left = self.left.chars();
        let mut depth = self.open.len();
        loop {
            match left.next() {
                None => return true,
                Some('}') if depth > 0 => {}
                // The others of these alternatives.
                Some(',') if depth > 0 => skip_alternatives(&mut left),
                Some(_) => return false,
            }
            depth -= 1;
        }
    }

    /// What a wildcard of one segment adds to an encoded `%` may be an encoded slash.
    fn check_segment(&self) -> Result<(), String> {
        if self.place.part == Part::Path && self.place.has_percent {
            return Err("after `%25` a segment has no wildcard but `**`".to_owned());
        }
        Ok(())
    }

    fn literal(&mut self, character: char) -> Result<(), String> {
        match (self.place.part, character) {
            (Part::Scheme, ':') if self.take_if("//") => {
                self.expression.push_str("://");
                self.place.part = Part::Authority;
                self.place.begins = true;
                return Ok(());
            }
            (Part::Authority, ':') if self.take_own_port() => return Ok(()),
            (Part::Authority, '/') => self.place.part = Part::Path,
            (Part::Name, '@') if self.kind == PermissionKind::SecretUse => self.place.part = Part::Host,
            (Part::Authority | Part::Host, other) if !other.is_ascii() => {
                return Err(format!("a host is matched in its ASCII form; write the label with `{other}` as `xn--…`"));
            }
            (Part::Path, '%') => return self.encoded(),
            // A URL as it is matched has these in UTF-8 and percent-encoded.
            (Part::Path, other) if !other.is_ascii() || matches!(other, ' ' | '"' | '<' | '>' | '`') => {
                self.place.begins = false;
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a string can't fail.
                    let _ = write!(self.expression, "%{byte:02X}");
                }
                return Ok(());
            }
            _ => {}
        }
        let part = self.place.part;
        self.place.begins =
            matches!((part, character), (Part::Path, '/') | (Part::Authority, '.') | (Part::Host, '@' | '.'));
        if part == Part::Path && character == '/' && self.open.is_empty() {
            self.place.has_percent = false;
        }
        let character = if part.ignores_case() { character.to_ascii_lowercase() } else { character };
        if part == Part::Scheme
            && let Some(scheme) = &mut self.place.scheme
        {
            scheme.push(character);
        }
        self.expression.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
        Ok(())
    }

    /// A URL as it is matched has no port where it is the scheme's own.
    fn take_own_port(&mut self) -> bool {
        let port = match self.place.scheme.as_deref() {
            Some("https") => "443",
            Some("http") => "80",
            _ => return false,
        };
        let Some(rest) = self.left.strip_prefix(port) else { return false };
        let is_whole =
            rest.is_empty() || rest.starts_with('/') || (!self.open.is_empty() && rest.starts_with([',', '}']));
        if is_whole {
            self.left = rest;
            self.place.begins = false;
        }
        is_whole
    }

    /// `%XX`, in the one form that a URL as it is matched has.
    fn encoded(&mut self) -> Result<(), String> {
        let digits = self.left.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = byte.ok_or("a `%` has no two hexadecimal digits after it; the character itself is `%25`")?;
        self.left = self.left.get(2..).unwrap_or_default();
        self.place.begins = false;
        self.place.has_percent |= byte == b'%';
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            self.expression.push_str(&regex::escape(char::from(byte).encode_utf8(&mut [0; 4])));
        } else {
            let _ = write!(self.expression, "%{byte:02X}");
        }
        Ok(())
    }

    /// `[a-z]`, `[!a-z]`, and an IPv6 address as a host.
    fn class(&mut self) -> Result<(), String> {
        const NO_END: &str = "a `[` has no `]`";
        if matches!(self.place.part, Part::Authority | Part::Host)
            && let Some((address, rest)) = self.left.split_once(']')
            && let Ok(address) = address.parse::<Ipv6Addr>()
        {
            self.left = rest;
            // As a URL has it: a mapped address is written another way by the standard library.
            let host = url::Host::<&str>::Ipv6(address).to_string();
            self.expression.push_str(&regex::escape(&host));
            return Ok(());
        }
        self.check_segment()?;
        let ignores_case = self.place.part.ignores_case();
        let not = self.take_if("!") || self.take_if("^");
        let mut class = String::new();
        // A `]` that comes first is one of the characters.
        let mut next = self.take().ok_or(NO_END)?;
        loop {
            let from = next;
            let mut to = from;
            next = self.take().ok_or(NO_END)?;
            if next == '-' && !self.left.starts_with(']') {
                to = self.take().ok_or(NO_END)?;
                next = self.take().ok_or(NO_END)?;
            }
            push_range(&mut class, from, to)?;
            let (from, to) = (from.max('A'), to.min('Z'));
            if ignores_case && from <= to {
                push_range(&mut class, from.to_ascii_lowercase(), to.to_ascii_lowercase())?;
            }
            if next == ']' {
                break;
            }
        }
        let not = if not { "^" } else { "" };
        let _ = write!(self.expression, "[[{not}{class}]&&{}]", self.place.part.plain());
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        if self.open.len() == NESTING_MAX {
            return Err(format!("alternatives are nested at most {NESTING_MAX} deep"));
        }
        self.open.push(Alternatives { began: self.place.clone(), ended: None });
        self.expression.push_str("(?:");
        Ok(())
    }

    fn next_alternative(&mut self) -> Result<(), String> {
        self.end_alternative()?;
        if let Some(open) = self.open.last() {
            self.place = open.began.clone();
        }
        self.expression.push('|');
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.end_alternative()?;
        if let Some(Alternatives { ended: Some(ended), .. }) = self.open.pop() {
            self.place = ended;
        }
        self.expression.push(')');
        Ok(())
    }

    /// What is known after all of them is what is so after each, or may be after one where that is the stricter.
    fn end_alternative(&mut self) -> Result<(), String> {
        let place = self.place.clone();
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let Some(ended) = &mut open.ended else {
            open.ended = Some(place);
            return Ok(());
        };
        if ended.part != place.part {
            return Err("alternatives end in different parts of the resource".to_owned());
        }
        ended.has_percent |= place.has_percent;
        // An empty segment is to be told wherever it may be; a host may only go on after all of them.
        ended.begins =
            if place.part == Part::Path { ended.begins || place.begins } else { ended.begins && place.begins };
        if ended.scheme != place.scheme {
            ended.scheme = None;
        }
        Ok(())
    }
}

/// Goes past the `}` of the alternatives that this is in.
fn skip_alternatives(left: &mut std::str::Chars<'_>) {
    let mut depth = 1_usize;
    while depth > 0 {
        match left.next() {
            None => return,
            Some('\\') => _ = left.next(),
            Some('[') => {
                let first = left.next();
                if matches!(first, Some('!' | '^')) {
                    left.next();
                }
                left.by_ref().find(|character| *character == ']');
            }
            Some('{') => depth += 1,
            Some('}') => depth -= 1,
            Some(_) => {}
        }
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
