//! Finds the paths in Rust text: `use` lines with their groups, and paths in code.
//!
//! Owns as much of Rust's grammar as paths need, and no more. Invariant: comments, literals and
//! `#[cfg(test)]` items hold no paths; every other path is found, whichever way it is written.

use std::collections::BTreeSet;

/// What a file uses.
#[derive(Default)]
pub struct Uses {
    /// Top-level Rust modules of this crate.
    pub modules: BTreeSet<String>,
    /// First names of all other paths; the libraries are among them.
    pub libraries: BTreeSet<String>,
}

/// What `text`, a file that is the Rust module `module` (its path from the crate's root), uses.
pub fn uses_of(module: &[String], text: &str) -> Uses {
    let code = code_of(text);
    let tokens = tokens_of(&code);
    let mut scanner =
        Scanner { tokens: &tokens, position: 0, module: module.to_vec(), braces: Vec::new(), uses: Uses::default() };
    scanner.scan();
    scanner.uses
}

/// The text without comments and literals.
pub fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(length) = skipped(rest) {
            code.push(' ');
            rest = &rest[length..];
            continue;
        }
        // A whole word at a time: the `r` of `for"` opens no raw string.
        let word: usize = rest.chars().take_while(|letter| is_word(*letter)).map(char::len_utf8).sum();
        let length = word.max(next.len_utf8());
        code.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    code
}

/// How long the comment or literal is that `text` opens with.
fn skipped(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let unprefixed = text.trim_start_matches(['b', 'c', 'r']);
    let prefix = text.len() - unprefixed.len();
    if prefix <= 2 {
        let raw = text[..prefix].contains('r');
        let hashes = unprefixed.len() - unprefixed.trim_start_matches('#').len();
        let opens = unprefixed[hashes..].starts_with('"');
        if raw && opens {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix + hashes + 1;
            return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
        }
        if opens && hashes == 0 {
            return Some(prefix + quoted(unprefixed, '"'));
        }
    }
    let character = text.strip_prefix('b').unwrap_or(text);
    is_character(character).then(|| text.len() - character.len() + quoted(character, '\''))
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn is_character(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next() == Some('\'') && (letters.next() == Some('\\') || letters.next() == Some('\''))
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Words, `::`, and single signs.
fn tokens_of(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let word: usize = rest.chars().take_while(|letter| is_word(*letter)).map(char::len_utf8).sum();
        let length = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// What a brace closes.
enum Brace {
    Module,
    Other,
}

struct Scanner<'a> {
    tokens: &'a [&'a str],
    position: usize,
    /// Where we are, inline modules included; `super` is the one before the last.
    module: Vec<String>,
    braces: Vec<Brace>,
    uses: Uses,
}

impl<'a> Scanner<'a> {
    fn scan(&mut self) {
        while self.position < self.tokens.len() {
            match self.peek(0) {
                "#" if self.is_cfg_test() => self.skip_item(),
                "mod" if self.peek(2) == "{" => {
                    self.module.push(self.peek(1).to_owned());
                    self.braces.push(Brace::Module);
                    self.position += 3;
                }
                "{" => {
                    self.braces.push(Brace::Other);
                    self.position += 1;
                }
                "}" => {
                    if matches!(self.braces.pop(), Some(Brace::Module)) {
                        self.module.pop();
                    }
                    self.position += 1;
                }
                "use" => {
                    self.position += 1;
                    self.use_tree(&[]);
                }
                first if first == "::" || first.starts_with(is_word) => self.path_in_code(),
                _ => self.position += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.position + ahead).copied().unwrap_or("")
    }

    /// `a::b::{c, d as e, self, *}`, after the names that enclose it.
    fn use_tree(&mut self, before: &[&'a str]) {
        let mut path = before.to_vec();
        loop {
            match self.peek(0) {
                "::" => self.position += 1,
                "{" => {
                    self.position += 1;
                    while !matches!(self.peek(0), "}" | "") {
                        self.use_tree(&path);
                        if self.peek(0) == "," {
                            self.position += 1;
                        }
                    }
                    self.position += 1;
                    return;
                }
                "as" => self.position += 2,
                // `{self}` names what is before it.
                "self" if !before.is_empty() => self.position += 1,
                name if name == "*" || name.starts_with(is_word) => {
                    path.push(name);
                    self.position += 1;
                }
                _ => break,
            }
        }
        self.add(&path);
    }

    fn path_in_code(&mut self) {
        let follows_a_dot = self.position > 0 && self.tokens[self.position - 1] == ".";
        let absolute = self.peek(0) == "::";
        // `<T as Trait>::name` and `Vec::<u8>::new`: what comes after isn't a path of its own.
        let goes_on = absolute && self.position > 0 && self.tokens[self.position - 1] == ">";
        if absolute {
            self.position += 1;
        }
        let mut path = Vec::new();
        while self.peek(0).starts_with(is_word) {
            path.push(self.peek(0));
            self.position += 1;
            if self.peek(0) != "::" || !self.peek(1).starts_with(is_word) {
                break;
            }
            self.position += 1;
        }
        // One name alone is a local thing; it came from a `use` if from elsewhere.
        if !follows_a_dot && !goes_on && (path.len() > 1 || absolute) {
            self.add(&path);
        }
    }

    fn add(&mut self, path: &[&str]) {
        let mut ups = 0;
        let mut names = path.iter().copied().peekable();
        let relative = matches!(names.peek(), Some(&("super" | "self")));
        while let Some(word) = names.next_if(|word| matches!(*word, "super" | "self")) {
            ups += usize::from(word == "super");
        }
        if relative {
            let kept = self.module.len().saturating_sub(ups);
            let from_here = self.module.iter().take(kept).map(String::as_str);
            if let Some(top) = from_here.chain(names).next() {
                self.uses.modules.insert(top.to_owned());
            }
            return;
        }
        match (names.next(), names.next()) {
            // `sluice` is what the binary calls this crate.
            (Some("crate" | "sluice"), Some(top)) => {
                self.uses.modules.insert(top.to_owned());
            }
            (Some(first), _) => {
                self.uses.libraries.insert(first.to_owned());
            }
            (None, _) => {}
        }
    }

    fn is_cfg_test(&self) -> bool {
        ["#", "[", "cfg", "(", "test", ")", "]"].iter().enumerate().all(|(ahead, token)| self.peek(ahead) == *token)
    }

    /// From an attribute to the end of the item that it is on: its `;`, or its closing brace.
    fn skip_item(&mut self) {
        let is_use = self.tokens[self.position..].iter().position(|token| *token == "use");
        let first_end = self.tokens[self.position..].iter().position(|token| matches!(*token, ";" | "{"));
        // The braces of a `use` are a group, and its end is the `;`.
        let ends_with_semicolon = is_use.zip(first_end).is_some_and(|(used, end)| used < end);
        let mut depth = 0_usize;
        while let Some(token) = self.tokens.get(self.position) {
            self.position += 1;
            match *token {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && *token == "}" && !ends_with_semicolon {
                        return;
                    }
                }
                ";" if depth == 0 => return,
                _ => {}
            }
        }
    }
}
