//! The thin layer between a function and the server that runs it; the same for every HTTP function.
//!
//! Owns reading a request and writing its response, each as a whole. Knows no route of a function.
//! Invariant: every request has one response; only a panic is a trap.

#![allow(dead_code, reason = "a layer for all functions: not every one needs all of it")]

use serde::Serialize;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

/// A body is kept as a whole, in the memory that a call has. Read it in pieces where it may be larger.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// What a server takes in one call.
const WRITE_BYTES_MAX: usize = 4096;

/// What was asked.
pub struct Request {
    /// As it came: `GET`.
    pub method: String,
    /// Never empty, and without the query: `/words`.
    pub path: String,
    /// What is behind the question mark.
    pub query: Option<String>,
    /// Names are in small letters.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// What is answered. `content-length` comes by itself.
#[derive(Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }.header("content-type", content_type)
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// What serde can't write is a status of 500.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self::new(status, "application/json", body),
            Err(_) => Self::text(500, "the answer can't be written\n"),
        }
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Makes a function, `fn(Request) -> Response`, the component's handler.
macro_rules! serve {
    ($function:path) => {
        struct Component;

        impl wasip2::exports::http::incoming_handler::Guest for Component {
            fn handle(request: wasip2::http::types::IncomingRequest, response: wasip2::http::types::ResponseOutparam) {
                $crate::http::answer(request, response, $function);
            }
        }

        wasip2::http::proxy::export!(Component);
    };
}
pub(crate) use serve;

/// Reads the request, and sends what the function answers.
pub fn answer(request: IncomingRequest, out: ResponseOutparam, function: impl FnOnce(Request) -> Response) {
    let method = method(request.method());
    let is_head = method == "HEAD";
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
    let path = if path.is_empty() { "/" } else { path };
    let response = match body(&request) {
        Ok(body) => function(Request {
            method,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers: request.headers().entries(),
            body,
        }),
        Err(refusal) => refusal,
    };
    let response = if is_head {
        // Without a length: servers hold it against what is sent.
        Response { body: Vec::new(), ..response }
    } else {
        let length = response.body.len().to_string();
        response.header("content-length", &length)
    };
    send(out, response);
}

fn method(method: Method) -> String {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => return name,
    };
    name.to_owned()
}

/// The whole body, or what its sender is told.
fn body(request: &IncomingRequest) -> Result<Vec<u8>, Response> {
    let broken = || Response::text(400, "the body can't be read\n");
    let incoming = request.consume().map_err(|()| broken())?;
    let stream = incoming.stream().map_err(|()| broken())?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(piece) => body.extend(piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => return Err(broken()),
        }
        if body.len() > BODY_BYTES_MAX {
            return Err(Response::text(413, "the body is too large\n"));
        }
    }
    drop(stream);
    drop(IncomingBody::finish(incoming));
    Ok(body)
}

fn send(out: ResponseOutparam, response: Response) {
    let lower = |(name, value): (String, String)| (name, value.into_bytes());
    let fields: Vec<_> = response.headers.into_iter().map(lower).collect();
    let prepared = Fields::from_list(&fields).ok().map(OutgoingResponse::new);
    let prepared = prepared.filter(|outgoing| outgoing.set_status_code(response.status).is_ok());
    let Some((outgoing, body)) = prepared.and_then(|outgoing| outgoing.body().ok().map(|body| (outgoing, body))) else {
        let told = "a status or a header that HTTP doesn't have".to_owned();
        return ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some(told))));
    };
    ResponseOutparam::set(out, Ok(outgoing));
    // Whoever has gone away needs no answer.
    if let Ok(stream) = body.write() {
        let mut pieces = response.body.chunks(WRITE_BYTES_MAX);
        let _ = pieces.try_for_each(|piece| stream.blocking_write_and_flush(piece));
    }
    let _ = OutgoingBody::finish(body, None);
}
