//! HTTP/1.1 by hand, for what no client sends.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::TestGateway;

/// Far longer than anything that is waited for here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub struct Raw(TcpStream);

impl Raw {
    /// Connects, and sends this.
    pub async fn send(gateway: &TestGateway, bytes: impl AsRef<[u8]>) -> Self {
        let mut raw = Self(TcpStream::connect(gateway.address()).await.unwrap());
        raw.more(bytes).await;
        raw
    }

    /// Sends this.
    pub async fn more(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends this unless the gateway has closed its side.
    pub async fn try_more(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref()).await
    }

    /// The next answer.
    pub async fn answer(&mut self) -> RawAnswer {
        self.answer_to("GET").await
    }

    /// The next answer, to a request with this method.
    pub async fn answer_to(&mut self, method: &str) -> RawAnswer {
        tokio::time::timeout(PATIENCE, self.read_answer(method)).await.expect("an answer in time")
    }

    /// Waits until the gateway closes; there must be nothing more.
    pub async fn closed(mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("the end in time");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    async fn read_answer(&mut self, method: &str) -> RawAnswer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let mut answer = RawAnswer::of_head(&String::from_utf8(head).unwrap());
        if method != "HEAD" {
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            answer.body = vec![0; length];
            self.0.read_exact(&mut answer.body).await.unwrap();
        }
        answer
    }
}

/// An answer.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawAnswer {
    fn of_head(head: &str) -> Self {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| line.split_once(':').unwrap());
            (name.to_lowercase(), value.to_owned())
        });
        Self { status, headers: headers.collect(), body: Vec::new() }
    }

    /// A header, which is there once at most.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there twice: {self:?}");
        value
    }

    /// The problem, if it is the one that is wanted.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let shown = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{shown}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{shown}");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["code"], code, "{shown}");
        assert_eq!(problem["status"], status, "{shown}");
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{shown}");
        problem
    }
}
