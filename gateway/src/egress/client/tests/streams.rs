//! Bodies that pass while they are made.

use futures_util::stream::poll_fn;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::*;

/// A body, and where its parts come from.
fn body() -> (mpsc::Sender<Result<&'static str, Cause>>, RequestBody) {
    let (parts, mut coming) = mpsc::channel(1);
    let stream = poll_fn(move |context| {
        coming.poll_recv(context).map(|part| {
            part.map(|part: Result<&str, Cause>| part.map(|part| Frame::data(Bytes::from_static(part.as_bytes()))))
        })
    });
    (parts, StreamBody::new(stream).boxed_unsync())
}

fn empty() -> RequestBody {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()
}

fn post(url: &str, body: RequestBody) -> Request<RequestBody> {
    Request { method: Method::POST, target: Target::parse(url).unwrap(), headers: HeaderMap::new(), body }
}

fn soon() -> Times {
    Times::until(Instant::now() + 10 * SECOND)
}

/// A server whose answer's body is the request's.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = service_fn(|request: http::Request<Incoming>| async {
                Ok::<_, hyper::Error>(http::Response::new(request.into_body()))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
        }
    });
    address
}

/// The first exchange of an execution.
async fn streamed(
    egress: &Egress,
    request: Request<RequestBody>,
    times: Times,
) -> Result<http::Response<ResponseBody>, Error> {
    egress.stream(request, times, &egress.allowance("tests")).await
}

async fn next(body: &mut ResponseBody) -> Option<Result<Bytes, Error>> {
    body.frame().await.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
}

#[tokio::test]
async fn each_part_passes_before_the_next_is_made() {
    let (parts, sent) = body();
    let url = format!("http://{}/", echo().await);
    let egress = open(|_| {});
    parts.send(Ok("a")).await.unwrap();
    let mut answer = streamed(&egress, post(&url, sent), soon()).await.unwrap().into_body();
    assert_eq!(next(&mut answer).await.unwrap().unwrap(), "a");
    parts.send(Ok("b")).await.unwrap();
    assert_eq!(next(&mut answer).await.unwrap().unwrap(), "b");
    drop(parts);
    assert!(next(&mut answer).await.is_none());
}

#[tokio::test]
async fn a_streamed_request_has_its_bound_and_the_length_it_says() {
    let url = format!("http://{}/", echo().await);
    let egress = open(|config| config.request_bytes = 4);
    let mut said = post(&url, empty());
    said.headers.insert(CONTENT_LENGTH, 5.into());
    assert!(matches!(streamed(&egress, said, soon()).await, Err(Error::RequestTooLarge(4))));
    let whole = Request { body: Bytes::from_static(b"12345"), ..get(&url) };
    assert!(matches!(
        egress.send(whole, soon().deadline, &egress.allowance("tests")).await,
        Err(Error::RequestTooLarge(4))
    ));
    let mut whole = Request { body: Bytes::from_static(b"1234"), ..get(&url) };
    whole.headers.insert(CONTENT_LENGTH, 3.into());
    assert!(matches!(egress.send(whole, soon().deadline, &egress.allowance("tests")).await, Err(Error::Length)));

    // Without an answer until the end, what is wrong is known before one.
    let (address, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    for (length, sent, expected) in [
        (None, &["123", "45"][..], "the request has more than 4 bytes"),
        (Some(2), &["123"], "the header `content-length` is not the length of the body"),
        (Some(3), &["12"], "the header `content-length` is not the length of the body"),
    ] {
        let (parts, body) = body();
        let mut request = post(&url, body);
        if let Some(length) = length {
            request.headers.insert(CONTENT_LENGTH, length.into());
        }
        tokio::spawn(async move {
            for part in sent {
                let _ = parts.send(Ok(part)).await;
            }
        });
        assert_eq!(streamed(&egress, request, soon()).await.unwrap_err().to_string(), expected, "{sent:?}");
    }
    assert!(ask(&egress, &format!("http://{address}/")).await.is_ok());
}

#[tokio::test]
async fn a_streamed_answer_has_its_bound_and_its_times() {
    let egress = open(|config| config.response_bytes = 4);
    let url = format!("http://{}/", echo().await);
    let (parts, sent) = body();
    parts.send(Ok("1234")).await.unwrap();
    let mut answer = streamed(&egress, post(&url, sent), soon()).await.unwrap().into_body();
    assert_eq!(next(&mut answer).await.unwrap().unwrap(), "1234");
    parts.send(Ok("5")).await.unwrap();
    assert!(matches!(next(&mut answer).await, Some(Err(Error::TooLarge(4)))));
    assert!(next(&mut answer).await.is_none());
    let (address, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
    let mut answer = streamed(&egress, post(&format!("http://{address}/"), empty()), soon()).await.unwrap().into_body();
    assert!(matches!(next(&mut answer).await, Some(Err(Error::TooLarge(4)))));

    let times: [fn() -> Times; 2] =
        [|| Times { between_bytes: SECOND / 10, ..soon() }, || Times::until(Instant::now() + SECOND / 10)];
    for times in times {
        let (parts, sent) = body();
        parts.send(Ok("a")).await.unwrap();
        let mut answer = streamed(&egress, post(&url, sent), times()).await.unwrap().into_body();
        assert_eq!(next(&mut answer).await.unwrap().unwrap(), "a");
        assert!(matches!(next(&mut answer).await, Some(Err(Error::TimedOut(_)))));
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = post(&format!("http://{}/", silent.local_addr().unwrap()), empty());
    let refused = streamed(&egress, request, Times { first_byte: SECOND / 10, ..soon() }).await;
    assert!(matches!(refused, Err(Error::TimedOut(_))), "{refused:?}");
}

#[tokio::test]
async fn a_turn_lasts_as_long_as_the_body_of_the_answer() {
    let egress = open(|config| config.connections_per_host = 1);
    let url = format!("http://{}/", echo().await);
    let stream = async || {
        let (parts, sent) = body();
        parts.send(Ok("a")).await.unwrap();
        let answer = streamed(&egress, post(&url, sent), Times { first_byte: SECOND / 5, ..soon() }).await;
        answer.map(|answer| (parts, answer.into_body()))
    };
    let (parts, mut answer) = stream().await.unwrap();
    assert!(matches!(stream().await, Err(Error::TimedOut(_))));
    drop(parts);
    assert!(matches!(next(&mut answer).await, Some(Ok(_))));
    assert!(next(&mut answer).await.is_none());
    // It has ended, though it is still there.
    let (_parts, second) = stream().await.unwrap();
    drop(second);
    assert!(stream().await.is_ok());
}

#[tokio::test]
async fn an_execution_that_reads_no_answers_has_only_its_own_part_of_the_turns() {
    let egress = open(|config| config.connections_per_host = 20);
    let (url, allowance) = (format!("http://{}/", echo().await), egress.allowance("tests"));
    let mut unread = Vec::new();
    for _ in 0..16 {
        let (parts, sent) = body();
        parts.send(Ok("a")).await.unwrap();
        let answer = egress.stream(post(&url, sent), soon(), &allowance).await.unwrap();
        unread.push((parts, answer.into_body()));
    }
    let short = Times { first_byte: SECOND / 5, ..soon() };
    let refused = egress.stream(post(&url, empty()), short, &allowance.clone()).await;
    assert!(matches!(refused, Err(Error::TimedOut(Wait::Connection))), "{refused:?}");
    // Another execution has its own.
    assert!(streamed(&egress, post(&url, empty()), soon()).await.is_ok());
    unread.pop();
    assert!(egress.stream(post(&url, empty()), soon(), &allowance).await.is_ok());
}

#[tokio::test]
async fn what_was_waited_for_is_told() {
    let egress = open(|_| {});
    // It is connected to, and takes no part in TLS.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let short = || Times { connect: SECOND / 10, ..soon() };
    let refused = streamed(&egress, post(&format!("https://{address}/"), empty()), short()).await;
    assert!(matches!(refused, Err(Error::TimedOut(Wait::Connection))), "{refused:?}");
    let times = Times { first_byte: SECOND / 5, ..short() };
    let refused = streamed(&egress, post(&format!("http://{address}/"), empty()), times).await;
    assert!(matches!(refused, Err(Error::TimedOut(Wait::Head))), "{refused:?}");
    // Connecting takes no time where there is a connection, and its time is over once there is one.
    let (parts, sent) = body();
    parts.send(Ok("a")).await.unwrap();
    let times = Times { between_bytes: SECOND / 5, ..short() };
    let answer = streamed(&egress, post(&format!("http://{}/", echo().await), sent), times).await;
    let mut answer = answer.unwrap().into_body();
    assert!(matches!(next(&mut answer).await, Some(Ok(_))));
    assert!(matches!(next(&mut answer).await, Some(Err(Error::TimedOut(Wait::Body)))));
}

#[tokio::test]
async fn a_body_that_is_dropped_ends_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let egress = open(|_| {});
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nabc").await.unwrap();
        socket
    };
    let (answer, mut socket) = tokio::join!(streamed(&egress, post(&url, empty()), soon()), server);
    let mut answer = answer.unwrap().into_body();
    assert_eq!(next(&mut answer).await.unwrap().unwrap(), "abc");
    drop(answer);
    let ended = tokio::time::timeout(5 * SECOND, socket.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
