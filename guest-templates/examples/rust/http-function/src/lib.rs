//! An HTTP function that counts the words of a text.
//!
//! Owns the routes, and what is answered. Does not own how a request is read and a response written (`http`).
//! Invariant: no request makes it panic.

mod http;

use http::{Request, Response};
use serde::Serialize;

http::serve!(answer);

#[derive(Serialize)]
struct Count {
    words: usize,
    characters: usize,
}

fn answer(request: Request) -> Response {
    match (&*request.method, &*request.path) {
        ("GET" | "HEAD", "/") => Response::text(200, "POST a text to /words\n"),
        ("POST", "/words") => count(&request.body),
        (_, "/") => not_allowed("GET, HEAD"),
        (_, "/words") => not_allowed("POST"),
        _ => Response::text(404, "there is nothing here\n"),
    }
}

fn count(body: &[u8]) -> Response {
    let Ok(text) = str::from_utf8(body) else { return Response::text(415, "the text is not UTF-8\n") };
    Response::json(200, &Count { words: text.split_whitespace().count(), characters: text.chars().count() })
}

fn not_allowed(allowed: &str) -> Response {
    Response::text(405, "not with this method\n").header("allow", allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, path: &str, body: &[u8]) -> Response {
        let (method, path) = (method.to_owned(), path.to_owned());
        answer(Request { method, path, query: None, headers: Vec::new(), body: body.to_owned() })
    }

    #[test]
    fn words_and_characters_are_counted_in_any_script() {
        let response = ask("POST", "/words", "  zwei Wörter\n".as_bytes());
        assert_eq!((response.status, &*response.body), (200, &br#"{"words":2,"characters":14}"#[..]));
        assert_eq!(ask("POST", "/words", b"\xff").status, 415);
    }

    #[test]
    fn what_is_not_there_and_what_is_not_allowed_are_told_apart() {
        assert_eq!(ask("GET", "/", b"").status, 200);
        assert_eq!(ask("GET", "/nothing", b"").status, 404);
        let refused = ask("DELETE", "/words", b"");
        assert_eq!((refused.status, &refused.headers[1]), (405, &("allow".to_owned(), "POST".to_owned())));
    }
}
