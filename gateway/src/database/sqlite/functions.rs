//! Functions of SQLite that compare all of one value with all of another, in time that grows with their sum.
//!
//! Owns `instr`, `replace`, `trim`, `ltrim`, `rtrim` and `unhex` of two, which SQLite's own do in time that grows with the
//! product, where nothing interrupts them. Invariant: on valid UTF-8 they answer what SQLite's own answer.

use std::collections::HashSet;
use std::ffi::{CStr, c_int};

use memchr::memmem;
use rusqlite::{Connection, ffi};

/// What a function answers with.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Null,
    Integer(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
    TooLong,
}

/// Which ends of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Both,
    Left,
    Right,
}

/// The first place of `needle` from 1, in characters or in bytes; 0 where it is not.
fn instr(haystack: &[u8], needle: &[u8], is_text: bool) -> Answer {
    if needle.is_empty() {
        return Answer::Integer(1);
    }
    let within_a_character = is_text && needle.first().copied().is_some_and(is_continuation);
    let place =
        if within_a_character { haystack.starts_with(needle).then_some(0) } else { memmem::find(haystack, needle) };
    let Some(place) = place else { return Answer::Integer(0) };
    let before = haystack.get(1..=place).unwrap_or_default();
    let steps = if is_text { before.iter().filter(|byte| !is_continuation(**byte)).count() } else { before.len() };
    Answer::Integer(i64::try_from(steps).unwrap_or(i64::MAX).saturating_add(1))
}

fn replace(text: &[u8], pattern: &[u8], by: &[u8], bytes_max: usize) -> Answer {
    let mut replaced = Vec::new();
    let mut end = 0;
    for place in memmem::find_iter(text, pattern) {
        let kept = text.get(end..place).unwrap_or_default();
        if replaced.len() + kept.len() + by.len() > bytes_max {
            return Answer::TooLong;
        }
        replaced.extend_from_slice(kept);
        replaced.extend_from_slice(by);
        end = place + pattern.len();
    }
    let kept = text.get(end..).unwrap_or_default();
    if replaced.len() + kept.len() > bytes_max {
        return Answer::TooLong;
    }
    replaced.extend_from_slice(kept);
    Answer::Text(replaced)
}

fn trim<'a>(mut text: &'a [u8], set: &[u8], ends: Ends) -> &'a [u8] {
    let set: HashSet<&[u8]> = characters(set).collect();
    // Of UTF-8; what is longer is none, and stays.
    let lengths = 1..=4;
    if ends != Ends::Right {
        let first = |text: &'a [u8]| lengths.clone().filter_map(move |length| text.split_at_checked(length));
        while let Some((_, rest)) = first(text).find(|(first, _)| set.contains(first)) {
            text = rest;
        }
    }
    if ends != Ends::Left {
        let last = |text: &'a [u8]| {
            lengths.clone().filter_map(move |length| text.split_at_checked(text.len().checked_sub(length)?))
        };
        while let Some((rest, _)) = last(text).find(|(_, last)| set.contains(last)) {
            text = rest;
        }
    }
    text
}

/// The bytes of pairs of digits, between which those characters may be that are in `passed`.
fn unhex(text: &[u8], passed: &[u8]) -> Answer {
    // A NUL is passed by nothing, and doesn't end them either.
    let passed: HashSet<&[u8]> = passed.split(|byte| *byte == 0).flat_map(characters).collect();
    let mut bytes = Vec::new();
    let mut rest = characters(text);
    while let Some(character) = rest.next() {
        if let Some(high) = digit(character) {
            let Some(low) = rest.next().and_then(digit) else { return Answer::Null };
            bytes.push(high << 4 | low);
        } else if !passed.contains(character) {
            return Answer::Null;
        }
    }
    Answer::Blob(bytes)
}

fn digit(character: &[u8]) -> Option<u8> {
    let &[byte] = character else { return None };
    u8::try_from(char::from(byte).to_digit(16)?).ok()
}

const fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// As SQLite divides a text: up to a NUL, and whatever continues a first byte is of its character.
fn characters(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = memchr::memchr(0, text).map_or(text, |end| text.split_at(end).0);
    std::iter::from_fn(move || {
        let (first, behind) = rest.split_first()?;
        let continued = behind.iter().take_while(|byte| *first >= 0xc0 && is_continuation(**byte)).count();
        let (character, behind) = rest.split_at(1 + continued);
        rest = behind;
        Some(character)
    })
}

type Function = unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

const FUNCTIONS: [(&CStr, c_int, Function); 9] = [
    (c"instr", 2, call_instr),
    (c"replace", 3, call_replace),
    (c"unhex", 2, call_unhex),
    (c"trim", 1, call_trim),
    (c"trim", 2, call_trim),
    (c"ltrim", 1, call_ltrim),
    (c"ltrim", 2, call_ltrim),
    (c"rtrim", 1, call_rtrim),
    (c"rtrim", 2, call_rtrim),
];

/// Puts them in the place of SQLite's own.
#[expect(unsafe_code, reason = "a number is text as SQLite writes it, which its own calls tell")]
pub(super) fn install(connection: &Connection) -> rusqlite::Result<()> {
    // As SQLite's own: in indexes and in views of whoever made the file, too.
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    for (name, arguments, function) in FUNCTIONS {
        let (nothing, call) = (std::ptr::null_mut(), Some(function));
        // SAFETY: the connection is open, the name ends in NUL, and the function is there for ever.
        let code = unsafe {
            let handle = connection.handle();
            ffi::sqlite3_create_function_v2(handle, name.as_ptr(), arguments, flags, nothing, call, None, None, None)
        };
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
    }
    Ok(())
}

/// The arguments of a call.
struct Arguments<'a>(&'a [*mut ffi::sqlite3_value]);

#[expect(unsafe_code, reason = "SQLite's own values")]
impl<'a> Arguments<'a> {
    /// # Safety
    /// They are what SQLite calls a function with.
    unsafe fn new(count: c_int, values: *mut *mut ffi::sqlite3_value) -> Self {
        // SAFETY: there are as many as SQLite says, for as long as the call takes.
        Self(unsafe { std::slice::from_raw_parts(values, usize::try_from(count).unwrap_or(0)) })
    }

    fn text(&self, index: usize) -> Option<&'a [u8]> {
        let value = *self.0.get(index)?;
        // SAFETY: a value of the call; its text stays while no other form of it is asked for.
        unsafe {
            let text = ffi::sqlite3_value_text(value);
            slice(text, ffi::sqlite3_value_bytes(value))
        }
    }

    fn is_blob(&self, index: usize) -> bool {
        // SAFETY: a value of the call.
        self.0.get(index).is_some_and(|value| unsafe { ffi::sqlite3_value_type(*value) } == ffi::SQLITE_BLOB)
    }

    /// Of a blob without making a text of it for the rest of the statement.
    fn bytes(&self, index: usize) -> Option<&'a [u8]> {
        if !self.is_blob(index) {
            return self.text(index);
        }
        let value = *self.0.get(index)?;
        // SAFETY: as above. An empty blob has no address.
        unsafe {
            let bytes = ffi::sqlite3_value_blob(value);
            Some(slice(bytes.cast(), ffi::sqlite3_value_bytes(value)).unwrap_or_default())
        }
    }
}

/// # Safety
/// There are `bytes` bytes, or no address.
#[expect(unsafe_code, reason = "SQLite's own values")]
unsafe fn slice<'a>(start: *const u8, bytes: c_int) -> Option<&'a [u8]> {
    let bytes = usize::try_from(bytes).ok()?;
    // SAFETY: as the caller says.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, bytes) })
}

/// # Safety
/// It is that of a call that is going on.
#[expect(unsafe_code, reason = "SQLite's own calls")]
unsafe fn answer(context: *mut ffi::sqlite3_context, answer: &Answer) {
    // SAFETY: the call is going on, and SQLite copies what it is given.
    unsafe {
        match answer {
            Answer::Null => ffi::sqlite3_result_null(context),
            Answer::Integer(integer) => ffi::sqlite3_result_int64(context, *integer),
            Answer::Text(text) => {
                let (start, length) = (text.as_ptr().cast(), text.len() as u64);
                let encoding = u8::try_from(ffi::SQLITE_UTF8).unwrap_or_default();
                ffi::sqlite3_result_text64(context, start, length, ffi::SQLITE_TRANSIENT(), encoding);
            }
            Answer::Blob(bytes) => {
                let (start, length) = (bytes.as_ptr().cast(), bytes.len() as u64);
                ffi::sqlite3_result_blob64(context, start, length, ffi::SQLITE_TRANSIENT());
            }
            Answer::TooLong => ffi::sqlite3_result_error_toobig(context),
        }
    }
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn call_instr(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls it with what these say.
    unsafe {
        let arguments = Arguments::new(count, values);
        let is_text = !(arguments.is_blob(0) && arguments.is_blob(1));
        let found = match (arguments.bytes(0), arguments.bytes(1)) {
            (Some(haystack), Some(needle)) => instr(haystack, needle, is_text),
            _ => Answer::Null,
        };
        answer(context, &found);
    }
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn call_replace(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls it with what these say.
    unsafe {
        let arguments = Arguments::new(count, values);
        let handle = ffi::sqlite3_context_db_handle(context);
        let bytes_max = usize::try_from(ffi::sqlite3_limit(handle, ffi::SQLITE_LIMIT_LENGTH, -1)).unwrap_or(0);
        let replaced = match (arguments.text(0), arguments.text(1)) {
            // SQLite takes the pattern for empty.
            (Some(text), Some([] | [0, ..])) => Answer::Text(text.to_vec()),
            (Some(text), Some(pattern)) => {
                arguments.text(2).map_or(Answer::Null, |by| replace(text, pattern, by, bytes_max))
            }
            _ => Answer::Null,
        };
        answer(context, &replaced);
    }
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn call_unhex(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls it with what these say.
    unsafe {
        let arguments = Arguments::new(count, values);
        let bytes = match (arguments.text(0), arguments.text(1)) {
            (Some(text), Some(passed)) => unhex(text, passed),
            _ => Answer::Null,
        };
        answer(context, &bytes);
    }
}

/// # Safety
/// It is called by SQLite, as the functions below.
#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe fn trim_ends(context: *mut ffi::sqlite3_context, arguments: &Arguments<'_>, ends: Ends) {
    let set = if arguments.0.len() == 1 { Some(&b" "[..]) } else { arguments.text(1) };
    let trimmed = match (arguments.text(0), set) {
        (Some(text), Some(set)) => Answer::Text(trim(text, set, ends).to_vec()),
        _ => Answer::Null,
    };
    // SAFETY: as the caller says.
    unsafe { answer(context, &trimmed) };
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn call_trim(context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls it with what these say.
    unsafe { trim_ends(context, &Arguments::new(count, values), Ends::Both) }
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn call_ltrim(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls it with what these say.
    unsafe { trim_ends(context, &Arguments::new(count, values), Ends::Left) }
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn call_rtrim(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls it with what these say.
    unsafe { trim_ends(context, &Arguments::new(count, values), Ends::Right) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::types::Value;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            (-2_i64..200).prop_map(Value::Integer),
            prop_oneof![Just(0.1), Just(1e300), Just(12.0), Just(-0.5)].prop_map(Value::Real),
            "[ab1é 𝄞.\u{0}]{0,6}".prop_map(Value::Text),
            prop::collection::vec(prop_oneof![Just(b'a'), Just(b'1'), Just(0)], 0..5).prop_map(Value::Blob),
        ]
    }

    proptest! {
        #[test]
        fn they_answer_what_the_functions_of_sqlite_answer(a in value(), b in value(), c in value()) {
            let (theirs, ours) = (Connection::open_in_memory().unwrap(), Connection::open_in_memory().unwrap());
            install(&ours).unwrap();
            for call in ["instr(?1, ?2)", "replace(?1, ?2, ?3)", "unhex(?1, ?2)", "trim(?1)", "ltrim(?1)", "rtrim(?1)",
                "trim(?1, ?2)", "ltrim(?1, ?2)", "rtrim(?1, ?2)", "unhex(hex(?1) || ?2, ?2)"] {
                let sql = format!("select {call}, typeof({call}), ?1, ?2, ?3");
                let ask = |connection: &Connection| {
                    let mut statement = connection.prepare(&sql).unwrap();
                    let row = statement.query_row((&a, &b, &c), |row| Ok((row.get::<_, Value>(0)?, row.get::<_, String>(1)?)));
                    row.map_err(|error| error.to_string())
                };
                prop_assert_eq!(ask(&ours), ask(&theirs), "{}", call);
            }
        }
    }
}
