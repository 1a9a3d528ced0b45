//! What can be told of a statement without a database: its words, its placeholders, where it ends.
//!
//! Owns the lexical rules of the three dialects. Does not parse SQL: a database does, and its rights are the
//! real boundary. Invariant: text in quotes and comments is never taken for a word or a placeholder.

use super::Error;

/// Of one statement. Nobody writes a longer one, and each is scanned and sent.
pub(super) const SQL_BYTES_MAX: usize = 1024 * 1024;

/// Of one statement: each takes more room here than in the text.
const TOKENS_MAX: usize = 200_000;

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Nested comments, `E'\''`, `$tag$…$tag$`.
    Postgres,
    /// Backslashes, `#` comments, `-- ` with a space, backticks.
    MySql,
    /// Backticks and brackets.
    Sqlite,
}

/// A part of a statement that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name without quotes.
    Word(&'a str),
    /// `$1`.
    Dollar(u32),
    /// `?`.
    Question,
    /// `;`.
    Semicolon,
    /// Quoted, a number, or a sign.
    Other,
}

/// A token and where it is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span<'a> {
    pub(super) token: Token<'a>,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The tokens of a statement, without comments.
///
/// # Errors
/// It is too long, something is opened and not closed, or has no place in one statement: a comment that MySQL
/// executes, a character that ends the text, a second statement.
pub(super) fn tokens(sql: &str, dialect: Dialect) -> Result<Vec<Span<'_>>, Error> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(Error::TooLarge(format!("a statement has at most {SQL_BYTES_MAX} bytes")));
    }
    if sql.contains('\0') {
        return Err(Error::Invalid("the statement has a NUL character".to_owned()));
    }
    let mut scanner = Scanner { sql, at: 0, dialect };
    let mut tokens = Vec::new();
    while let Some(token) = scanner.next()? {
        if tokens.len() == TOKENS_MAX {
            return Err(Error::TooLarge(format!("a statement has at most {TOKENS_MAX} words and signs")));
        }
        tokens.push(token);
    }
    while tokens.last().is_some_and(|last| last.token == Token::Semicolon) {
        tokens.pop();
    }
    if tokens.iter().any(|span| span.token == Token::Semicolon) {
        return Err(Error::Invalid("only one statement is run at a time".to_owned()));
    }
    if tokens.is_empty() {
        return Err(Error::Invalid("there is no statement".to_owned()));
    }
    Ok(tokens)
}

/// The first word, in capitals: what kind of statement it is. Parentheses around a query are skipped.
pub(super) fn verb(tokens: &[Span<'_>], sql: &str) -> String {
    let first = tokens.iter().find(|span| sql.get(span.start..span.end) != Some("("));
    match first.map(|span| span.token) {
        Some(Token::Word(word)) => word.to_ascii_uppercase(),
        _ => String::new(),
    }
}

struct Scanner<'a> {
    sql: &'a str,
    at: usize,
    dialect: Dialect,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Option<Span<'a>>, Error> {
        self.skip_blank()?;
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let token = match first {
            ';' => self.one(Token::Semicolon, 1),
            '?' => self.one(Token::Question, 1),
            '\'' | '"' => self.quoted(first)?,
            '`' if self.dialect != Dialect::Postgres => self.quoted(first)?,
            '[' if self.dialect == Dialect::Sqlite => self.until("]", 1)?,
            // `NULL`, whatever letter is next.
            '\\' if self.dialect == Dialect::MySql && rest.starts_with("\\N") => self.one(Token::Other, 2),
            '$' if !self.is_behind_number() => self.dollar()?,
            first if self.dialect == Dialect::MySql && is_number(first, rest) => self.number()?,
            first if is_word(first) => self.word()?,
            other => self.one(Token::Other, other.len_utf8()),
        };
        Ok(Some(Span { token, start, end: self.at }))
    }

    fn one(&mut self, token: Token<'a>, bytes: usize) -> Token<'a> {
        self.at += bytes;
        token
    }

    fn skip_blank(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            // Other spaces of Unicode are letters to all three.
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
            self.at += rest.len() - trimmed.len();
            let dashes = match self.dialect {
                // `5--1` is a sum there.
                Dialect::MySql => {
                    trimmed.strip_prefix("--").is_some_and(|rest| rest.chars().next().is_none_or(is_blank_or_control))
                }
                Dialect::Postgres | Dialect::Sqlite => trimmed.starts_with("--"),
            };
            if dashes || (self.dialect == Dialect::MySql && trimmed.starts_with('#')) {
                self.at += trimmed.find(|end| self.ends_line(end)).unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.comment(trimmed)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Whoever disagrees with the server here takes a comment for the statement.
    fn ends_line(&self, character: char) -> bool {
        character == '\n' || (character == '\r' && self.dialect == Dialect::Postgres)
    }

    fn comment(&mut self, text: &str) -> Result<(), Error> {
        // The last is MySQL's hints, which set variables too.
        if self.dialect == Dialect::MySql && ["/*!", "/*M!", "/*+"].iter().any(|start| text.starts_with(start)) {
            return Err(Error::Invalid("a comment that is executed, or a hint, can't be in a statement".to_owned()));
        }
        // In one pass: to look for the next end from each beginning would take the square of the length.
        let bytes = text.as_bytes();
        let (mut depth, mut at) = (0_usize, 0);
        while let Some(pair) = bytes.get(at..at + 2) {
            match pair {
                b"/*" if depth == 0 || self.dialect == Dialect::Postgres => {
                    depth += 1;
                    at += 2;
                }
                b"*/" => {
                    depth = depth.saturating_sub(1);
                    at += 2;
                }
                _ => at += 1,
            }
            if depth == 0 {
                self.at += at;
                return Ok(());
            }
        }
        // SQLite takes the end of the text for that of the comment; a mistake, all the same.
        Err(unclosed())
    }

    fn quoted(&mut self, quote: char) -> Result<Token<'a>, Error> {
        let has_backslashes = self.dialect == Dialect::MySql && quote != '`';
        self.quoted_with(quote, has_backslashes)
    }

    fn quoted_with(&mut self, quote: char, has_backslashes: bool) -> Result<Token<'a>, Error> {
        self.at += 1;
        let mut characters = self.rest().char_indices().peekable();
        while let Some((index, character)) = characters.next() {
            if character == '\\' && has_backslashes {
                characters.next();
            } else if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
                self.at += index + 1;
                return Ok(Token::Other);
            }
        }
        Err(unclosed())
    }

    /// From here, `skip` bytes on, to the end of `end`.
    fn until(&mut self, end: &str, skip: usize) -> Result<Token<'a>, Error> {
        let rest = self.sql.get(self.at + skip..).unwrap_or_default();
        let length = rest.find(end).ok_or_else(unclosed)?;
        self.at += skip + length + end.len();
        Ok(Token::Other)
    }

    fn dollar(&mut self) -> Result<Token<'a>, Error> {
        let rest = self.rest();
        let name: &str = rest.get(1..).unwrap_or_default();
        let length = name.find(|character| !is_word(character) || character == '$').unwrap_or(name.len());
        let name = name.get(..length).unwrap_or_default();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = name.parse().map_err(|_| Error::Invalid(format!("there is no parameter ${name}")))?;
            return Ok(self.one(Token::Dollar(number), 1 + length));
        }
        let opens = rest.get(1 + length..).is_some_and(|rest| rest.starts_with('$'));
        if self.dialect == Dialect::Postgres && opens && !name.starts_with(|first: char| first.is_ascii_digit()) {
            let tag = rest.get(..length + 2).unwrap_or_default();
            return self.until(tag, tag.len());
        }
        Ok(self.one(Token::Other, 1 + length))
    }

    /// In MySQL, where `$` then goes on with a word.
    fn is_behind_number(&self) -> bool {
        let before = self.sql.get(..self.at).and_then(|before| before.chars().next_back());
        self.dialect == Dialect::MySql && before.is_some_and(|before| before.is_ascii_alphanumeric())
    }

    /// A number of MySQL needs no space behind it: `1.5into` is a number and a word. Where it is a name there
    /// (`1st`), the rest is told as a word too: one too many is refused at worst, one too few gets past the guards.
    fn number(&mut self) -> Result<Token<'a>, Error> {
        let rest = self.rest();
        let after = |at: usize| rest.get(at..).unwrap_or_default();
        let digits = |at: usize, radix| {
            let digits = after(at);
            at + digits.find(|digit: char| !digit.is_digit(radix)).unwrap_or(digits.len())
        };
        let end = match rest.get(..2) {
            Some("0x") => return Ok(self.one(Token::Other, digits(2, 16))),
            Some("0b") => return Ok(self.one(Token::Other, digits(2, 2))),
            _ => digits(0, 10),
        };
        let has_point = after(end).starts_with('.');
        let end = if has_point { digits(end + 1, 10) } else { end };
        if !after(end).starts_with(['e', 'E']) {
            return Ok(self.one(Token::Other, end));
        }
        let has_sign = after(end + 1).starts_with(['+', '-']);
        let exponent = end + 1 + usize::from(has_sign);
        let past = digits(exponent, 10);
        if past > exponent {
            return Ok(self.one(Token::Other, past));
        }
        // MySQL may take the sign for part of the number, and see no comment in `1.5e-- `.
        if has_point || has_sign {
            return Err(Error::Invalid("a number of the statement has no digits in its exponent".to_owned()));
        }
        Ok(self.one(Token::Other, end))
    }

    fn word(&mut self) -> Result<Token<'a>, Error> {
        let rest = self.rest();
        let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default();
        self.at += length;
        let quote = self.rest().chars().next().filter(|next| *next == '\'');
        if let Some(quote) = quote
            && self.dialect == Dialect::Postgres
            && word.eq_ignore_ascii_case("e")
        {
            return self.quoted_with(quote, true);
        }
        // A number is no word; `$` is part of a name on all three, and a number of MySQL is `number`'s.
        Ok(if word.starts_with(|first: char| first.is_ascii_digit()) { Token::Other } else { Token::Word(word) })
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// What ends the two dashes of a comment in MySQL, by the tables of its character sets.
fn is_blank_or_control(character: char) -> bool {
    character <= ' ' || character == '\x7f'
}

fn is_number(first: char, text: &str) -> bool {
    let behind_point = if first == '.' { text.chars().nth(1) } else { Some(first) };
    behind_point.is_some_and(|digit| digit.is_ascii_digit())
}

fn unclosed() -> Error {
    Error::Invalid("a quote or a comment of the statement is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(sql: &str, dialect: Dialect) -> Vec<&str> {
        let tokens = tokens(sql, dialect).unwrap();
        tokens.iter().filter_map(|span| if let Token::Word(word) = span.token { Some(word) } else { None }).collect()
    }

    fn refused(sql: &str, dialect: Dialect) -> String {
        tokens(sql, dialect).unwrap_err().to_string()
    }

    const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];

    #[test]
    fn words_are_told_from_what_is_quoted_or_said_in_comments() {
        for dialect in ALL {
            assert_eq!(words("select 'drop; table' -- drop\n from t /* ; */;", dialect), ["select", "from", "t"]);
            assert_eq!(words("select \"a;b\", 'it''s' from t", dialect), ["select", "from", "t"]);
            assert!(refused("select 1; select 2", dialect).contains("one statement"));
            assert!(refused("select 'a", dialect).contains("not closed"));
            assert!(refused("select 1 /* a", dialect).contains("not closed"));
            assert!(refused(" ; -- nothing\n", dialect).contains("no statement"));
            assert!(refused("select 1\0", dialect).contains("NUL"));
        }
        assert_eq!(words("select /* a /* b */ c */ x", Dialect::Postgres), ["select", "x"]);
        assert_eq!(words("select /* a /* b */ x", Dialect::Sqlite), ["select", "x"]);
        assert_eq!(words("select $a$ ; $b$ drop $a$, $$;$$ from t", Dialect::Postgres), ["select", "from", "t"]);
        assert_eq!(words(r"select E'\';' from t", Dialect::Postgres), ["select", "from", "t"]);
        assert!(refused(r"select '\'; drop", Dialect::Postgres).contains("one statement"));
        assert_eq!(words(r"select '\'; drop' from t", Dialect::MySql), ["select", "from", "t"]);
        assert_eq!(words("select `a;b` # drop\n from t", Dialect::MySql), ["select", "from", "t"]);
        assert!(refused("select 1 /*!50000 ; drop */", Dialect::MySql).contains("executed"));
        assert!(refused("select 1 /*M! ; drop */", Dialect::MySql).contains("executed"));
        assert_eq!(words("select [a;b] from t", Dialect::Sqlite), ["select", "from", "t"]);
    }

    #[test]
    fn a_comment_ends_where_the_server_ends_it() {
        let sql = "--\rcopy t to program 'x' --\nselect 1";
        assert_eq!(words(sql, Dialect::Postgres), ["copy", "t", "to", "program", "select"]);
        assert_eq!(words(sql, Dialect::Sqlite), ["select"]);
        // No space of theirs: a letter.
        assert_eq!(words("\u{a0}select", Dialect::Postgres), ["\u{a0}select"]);
        // Each beginning looks no further than to the next one: an answer within a test's patience, not the square.
        let deep = format!("{}1{}", "/*".repeat(250_000), "*/".repeat(250_000));
        assert_eq!(words(&format!("{deep} select"), Dialect::Postgres), ["select"]);
        assert!(refused(&"/*".repeat(500_000), Dialect::Postgres).contains("not closed"));
        assert!(refused(&"(".repeat(TOKENS_MAX + 1), Dialect::Postgres).contains("at most"));
    }

    #[test]
    fn a_number_of_mysql_hides_no_word_and_no_comment() {
        for (sql, found) in [
            ("1.5into", &["into"][..]),
            (".5into", &["into"]),
            ("1.into", &["into"]),
            ("1e1into", &["into"]),
            ("1E+1into", &["into"]),
            ("1.5e-1into", &["into"]),
            ("1into", &["into"]),
            ("0x41into", &["into"]),
            ("0b1into", &["into"]),
            ("1e1.5into", &["into"]),
            ("x'41'into", &["x", "into"]),
            ("\\Ninto", &["into"]),
            ("1st_column", &["st_column"]),
            ("1elephant", &["elephant"]),
            ("1$1", &["$1"]),
            ("1e5$1", &["$1"]),
            ("t.1st, t1.email", &["t", "st", "t1", "email"]),
            ("1 --\x7f'\n into", &["into"]),
            ("1 --\x1f'\n into", &["into"]),
            ("1--1", &[]),
        ] {
            assert_eq!(words(sql, Dialect::MySql), found, "{sql}");
        }
        for sql in ["1.5e-- 5", ".5e-- 5", "1.e-- 5", "1e-- 5", "1.5e", "1.5e+-- 5", "1.5ex"] {
            assert!(refused(sql, Dialect::MySql).contains("exponent"), "{sql}");
        }
        assert!(refused("select /*+ SET_VAR(max_execution_time = 0) */ 1", Dialect::MySql).contains("hint"));
    }

    #[test]
    fn what_is_too_long_is_told_as_that() {
        let long = "x".repeat(SQL_BYTES_MAX + 1);
        assert!(matches!(tokens(&long, Dialect::Postgres), Err(Error::TooLarge(_))));
        let many = "(".repeat(TOKENS_MAX + 1);
        assert!(matches!(tokens(&many, Dialect::Postgres), Err(Error::TooLarge(_))));
    }

    #[test]
    fn placeholders_have_numbers() {
        let numbers = |sql| -> Vec<u32> {
            let tokens = tokens(sql, Dialect::MySql).unwrap();
            let number = |span: &Span<'_>| if let Token::Dollar(number) = span.token { Some(number) } else { None };
            tokens.iter().filter_map(number).collect()
        };
        assert_eq!(numbers("select $2, '$3', $10 from a$1 where b = $1"), [2, 10, 1]);
        assert!(refused("select $99999999999", Dialect::MySql).contains("no parameter"));
        let sql = "( ( select 1 ) )";
        assert_eq!(verb(&tokens(sql, Dialect::Postgres).unwrap(), sql), "SELECT");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_spans_are_of_the_text(sql in "[a-eN'\"`$;?/*\\\\#\\-+.\\[\\] \n\\x7f01xé]{0,40}") {
            for dialect in ALL {
                let Ok(tokens) = tokens(&sql, dialect) else { continue };
                let mut end = 0;
                for span in tokens {
                    prop_assert!(span.start >= end && span.end > span.start);
                    prop_assert!(sql.get(span.start..span.end).is_some());
                    end = span.end;
                }
            }
        }
    }
}
