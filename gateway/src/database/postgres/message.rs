//! The messages of PostgreSQL's protocol that a flight is made of.
//!
//! Owns their form, after the chapter "Message Formats" of its manual. Does not send or receive (`line`). Invariant:
//! what doesn't have its form is an error, never a panic.

use std::io;

use bytes::{BufMut as _, BytesMut};

use super::encode::Encoded;

/// What a server says.
pub(super) mod tag {
    pub(in super::super) const BIND_COMPLETE: u8 = b'2';
    pub(in super::super) const CLOSE_COMPLETE: u8 = b'3';
    pub(in super::super) const COMMAND_COMPLETE: u8 = b'C';
    pub(in super::super) const DATA_ROW: u8 = b'D';
    pub(in super::super) const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub(in super::super) const ERROR_RESPONSE: u8 = b'E';
    pub(in super::super) const NO_DATA: u8 = b'n';
    pub(in super::super) const PARAMETER_DESCRIPTION: u8 = b't';
    pub(in super::super) const PARSE_COMPLETE: u8 = b'1';
    pub(in super::super) const READY_FOR_QUERY: u8 = b'Z';
    pub(in super::super) const ROW_DESCRIPTION: u8 = b'T';
    /// What may come between any two, and is for nobody.
    pub(in super::super) const UNASKED: [u8; 3] = *b"NAS";
}

/// How the columns of an answer are to be written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Text = 0,
    Binary = 1,
}

/// Has a statement prepared under a name, or under none until the next one is. Neither text has a NUL.
pub(super) fn parse(out: &mut BytesMut, name: &str, sql: &str) {
    message(out, b'P', |out| {
        text(out, name);
        text(out, sql);
        out.put_i16(0);
    });
}

/// Has the types of a prepared statement told.
pub(super) fn describe(out: &mut BytesMut, name: &str) {
    message(out, b'D', |out| {
        out.put_u8(b'S');
        text(out, name);
    });
}

/// Has a prepared statement run.
pub(super) fn run(out: &mut BytesMut, name: &str, parameters: &[Encoded], format: Format) {
    message(out, b'B', |out| {
        text(out, "");
        text(out, name);
        // All parameters are text.
        out.put_i16(0);
        // No more than `params::PARAMS_MAX`, which an `i16` has room for.
        out.put_i16(i16::try_from(parameters.len()).unwrap_or(i16::MAX));
        for parameter in parameters {
            match parameter.text() {
                Some(value) => {
                    out.put_i32(length(value.len()));
                    out.put_slice(value.as_bytes());
                }
                None => out.put_i32(-1),
            }
        }
        out.put_i16(1);
        out.put_i16(format as i16);
    });
    message(out, b'E', |out| {
        text(out, "");
        out.put_i32(0);
    });
}

/// Has a prepared statement forgotten.
pub(super) fn close(out: &mut BytesMut, name: &str) {
    message(out, b'C', |out| {
        out.put_u8(b'S');
        text(out, name);
    });
}

/// Has what was answered so far sent at once.
pub(super) fn flush(out: &mut BytesMut) {
    message(out, b'H', |_| {});
}

/// Ends the flight: after an error the server passes over all messages up to here.
pub(super) fn sync(out: &mut BytesMut) {
    message(out, b'S', |_| {});
}

fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = length(out.len() - start).to_be_bytes();
    if let Some(place) = out.get_mut(start..start + length.len()) {
        place.copy_from_slice(&length);
    }
}

/// Of what a guest made, which is bounded far below 2 GiB.
fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

fn text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

/// What is left of a message that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, bytes: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| malformed())
    }

    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Up to a NUL.
    pub(super) fn text(&mut self) -> io::Result<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// The next value of a row, or NULL.
    pub(super) fn value(&mut self) -> io::Result<Option<&'a [u8]>> {
        match usize::try_from(i32::from_be_bytes(self.array()?)) {
            Ok(bytes) => self.take(bytes).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// How many of something follow.
    pub(super) fn count(&mut self) -> io::Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// The types of a `ParameterDescription`.
    pub(super) fn parameters(mut self) -> io::Result<Vec<u32>> {
        (0..self.count()?).map(|_| Ok(u32::from_be_bytes(self.array()?))).collect()
    }

    /// The types of a `RowDescription`.
    pub(super) fn columns(mut self) -> io::Result<Vec<u32>> {
        let count = self.count()?;
        let column = |_| {
            self.text()?;
            // Its table, and its place in that.
            self.take(6)?;
            let ty = u32::from_be_bytes(self.array()?);
            // Its size, its modifier, its format.
            self.take(8)?;
            Ok(ty)
        };
        (0..count).map(column).collect()
    }
}

pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that has not its form, or not its place")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_form_of_the_manual() {
        let mut out = BytesMut::new();
        parse(&mut out, "a", "B");
        run(&mut out, "a", &[], Format::Binary);
        close(&mut out, "a");
        flush(&mut out);
        sync(&mut out);
        let wanted: &[&[u8]] = &[
            b"P\0\0\0\x0aa\0B\0\0\0",
            b"B\0\0\0\x0f\0a\0\0\0\0\0\0\x01\0\x01",
            b"E\0\0\0\x09\0\0\0\0\0",
            b"C\0\0\0\x07Sa\0",
            b"H\0\0\0\x04",
            b"S\0\0\0\x04",
        ];
        assert_eq!(out, wanted.concat());
    }

    #[test]
    fn what_a_server_says_is_read_within_its_bounds() {
        let mut row = Body(b"\0\0\0\x01x\xff\xff\xff\xff\0\0\0\x09y");
        assert_eq!(row.value().unwrap(), Some(&b"x"[..]));
        assert_eq!(row.value().unwrap(), None);
        assert!(row.value().is_err());
        assert_eq!(Body(b"\0\x02\0\0\0\x17\0\0\0\x19").parameters().unwrap(), [23, 25]);
        assert!(Body(b"\0\x02\0\0\0\x17").parameters().is_err());
        let column = b"\0\x01id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
        assert_eq!(Body(column).columns().unwrap(), [23]);
        assert!(Body(b"no end").text().is_err());
    }
}
