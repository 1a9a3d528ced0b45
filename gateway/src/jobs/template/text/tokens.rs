//! As much of an expression's tokens as is needed without minijinja's own: where it ends, which filters it has, and
//! which members it takes by their quoted name.

use super::Reference;

/// A token, and the source from where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// A name, or a number.
    Word(&'s str),
    /// What is between quotes, as it is written.
    Quoted(&'s str),
    Sign(char),
}

/// The tokens of a source; none after a quote that is not closed.
fn tokens(source: &str) -> impl Iterator<Item = (&str, Token<'_>)> {
    let mut rest = source;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let at = rest;
        let first = at.chars().next()?;
        let (token, length) = match first {
            '"' | '\'' => {
                let length = quoted_length(at, first)?;
                (Token::Quoted(at.get(1..length - 1)?), length)
            }
            _ if is_word(first) => {
                let length = at.find(|one: char| !is_word(one)).unwrap_or(at.len());
                (Token::Word(at.get(..length)?), length)
            }
            sign => (Token::Sign(sign), sign.len_utf8()),
        };
        rest = at.get(length..)?;
        Some((at, token))
    })
}

fn is_word(one: char) -> bool {
    one.is_alphanumeric() || one == '_'
}

fn quoted_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, one) in text.char_indices().skip(1) {
        match one {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if one == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The expression that a text begins with, up to the `}}` that closes it, and what follows.
pub(super) fn expression(text: &str) -> Option<(&str, &str)> {
    let mut open = 0_usize;
    for (at, token) in tokens(text) {
        match token {
            Token::Sign('{' | '[' | '(') => open += 1,
            Token::Sign('}') if open == 0 && at.starts_with("}}") => {
                let source = text.get(..text.len() - at.len())?;
                return Some((source, at.get(2..)?));
            }
            Token::Sign('}' | ']' | ')') => open = open.saturating_sub(1),
            Token::Word(_) | Token::Quoted(_) | Token::Sign(_) => {}
        }
    }
    None
}

/// The names of filters, each with the source from there.
pub(super) fn filters(source: &str) -> impl Iterator<Item = (&str, &str)> {
    tokens(source).zip(tokens(source).skip(1)).filter_map(|(bar, name)| match (bar.1, name) {
        (Token::Sign('|'), (at, Token::Word(name))) => Some((at, name)),
        _ => None,
    })
}

/// `steps['price'].output`, which minijinja tells only the beginning of.
pub(super) fn subscripts(source: &str) -> Vec<Reference> {
    let tokens: Vec<_> = tokens(source).map(|(_, token)| token).collect();
    let mut found = Vec::new();
    for (at, window) in tokens.windows(4).enumerate() {
        let &[Token::Word(name), Token::Sign('['), Token::Quoted(member), Token::Sign(']')] = window else { continue };
        let is_member = at.checked_sub(1).and_then(|before| tokens.get(before)) == Some(&Token::Sign('.'));
        if is_member {
            continue;
        }
        let mut members = vec![member.to_owned()];
        if let (Some(Token::Sign('.')), Some(Token::Word(next))) = (tokens.get(at + 4), tokens.get(at + 5)) {
            members.push((*next).to_owned());
        }
        found.push(Reference { name: name.to_owned(), members });
    }
    found
}
