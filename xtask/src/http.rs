//! The few lines of HTTP/1.1 that the demo needs: one keep-alive connection, JSON both ways.
//!
//! Not a client for anything else: a real one would be another hundred crates before the demo's first line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// No call of the demo takes this long, so what does is broken.
const TIMEOUT: Duration = Duration::from_mins(1);

/// An open connection to the gateway.
pub struct Connection {
    stream: BufReader<TcpStream>,
    key: String,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Connection {
    /// Connects; `key` goes with every request.
    pub fn open(address: SocketAddr, key: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("can't connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream), key: key.to_owned() })
    }

    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.request("GET", path, "")
    }

    pub fn post(&mut self, path: &str, json: &str) -> Result<Answer> {
        self.request("POST", path, json)
    }

    pub fn put(&mut self, path: &str, json: &str) -> Result<Answer> {
        self.request("PUT", path, json)
    }

    /// A POST with these lines in its head too, and without the key.
    pub fn post_with(&mut self, path: &str, headers: &str, json: &str) -> Result<Answer> {
        self.send("POST", path, headers, json)
    }

    fn request(&mut self, method: &str, path: &str, json: &str) -> Result<Answer> {
        let key = format!("authorization: Bearer {}\r\n", self.key);
        self.send(method, path, &key, json)
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, json: &str) -> Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{json}",
            json.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        read_answer(&mut self.stream)
    }
}

fn read_answer(stream: &mut impl BufRead) -> Result<Answer> {
    let status_line = line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("not an HTTP answer: {status_line}"))?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line(stream)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').context("a header without a colon")?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = if chunked { read_chunks(stream)? } else { read_exactly(stream, length)? };
    Ok(Answer { status, body: String::from_utf8(body).context("the answer is not text")? })
}

fn read_chunks(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let length = usize::from_str_radix(line(stream)?.trim(), 16)?;
        body.extend(read_exactly(stream, length)?);
        line(stream)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn read_exactly(stream: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).context("the answer ended early")?;
    Ok(bytes)
}

fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        bail!("the gateway closed the connection");
    }
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_are_read_from_one_connection() {
        let mut stream = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 502 Bad Gateway\r\n\
            transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
            .as_bytes();
        let first = read_answer(&mut stream).unwrap();
        assert_eq!((first.status, first.body.as_str()), (200, "hi"));
        let second = read_answer(&mut stream).unwrap();
        assert_eq!((second.status, second.body.as_str()), (502, "abcd"));
    }

    #[test]
    fn an_answer_that_is_cut_off_is_an_error() {
        assert!(read_answer(&mut "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi".as_bytes()).is_err());
        assert!(read_answer(&mut "".as_bytes()).is_err());
    }
}
