//! Servers that want to fill, hold or deceive who asks them.

use super::*;

/// A server that talks to each connection as a test wants.
async fn talking<F, T>(talk: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(talk(socket));
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_sends_for_ever_is_left_at_the_end_of_the_time() {
    for (begin, again) in [
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nx: ", "a"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", "a"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\na\r\n"),
    ] {
        let address = talking(move |mut socket| async move {
            head(&mut socket).await;
            let mut sent = socket.write_all(begin.as_bytes()).await;
            while sent.is_ok() {
                tokio::time::sleep(SECOND / 100).await;
                sent = socket.write_all(again.as_bytes()).await;
            }
        })
        .await;
        let began = Instant::now();
        let refused = ask(&open(|config| config.timeout_ms = 300), &format!("http://{address}/")).await;
        assert!(matches!(refused, Err(Error::TimedOut(_))), "{again:?}: {refused:?}");
        assert!(began.elapsed() < 5 * SECOND, "{again:?}");
    }
}

#[tokio::test]
async fn an_endless_body_is_left_at_its_bound() {
    for head_says in ["transfer-encoding: chunked", "connection: close"] {
        let address = talking(move |mut socket| async move {
            head(&mut socket).await;
            let _ = socket.write_all(format!("HTTP/1.1 200 OK\r\n{head_says}\r\n\r\n").as_bytes()).await;
            let piece = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
            while socket.write_all(piece.as_bytes()).await.is_ok() {}
        })
        .await;
        let egress = open(|config| config.response_bytes = 100_000);
        let refused = ask(&egress, &format!("http://{address}/")).await;
        assert!(matches!(refused, Err(Error::TooLarge(100_000))), "{head_says}: {refused:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_framed_wrongly_has_failed() {
    let endless_trailers = format!("1\r\na\r\n0\r\n{}", "x: y\r\n".repeat(50_000));
    let endless_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "a".repeat(100_000));
    for body in [
        "zz\r\n",
        "ffffffffffffffffff\r\n",
        "-1\r\n",
        "1\r\nab\r\n",
        "1\r\na\r\n",
        "1 1\r\na\r\n0\r\n\r\n",
        &endless_trailers,
        &endless_extension,
    ] {
        let (address, _) = server(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
        let said = ask(&open(|_| {}), &format!("http://{address}/")).await.map_err(|error| error.to_string());
        assert_eq!(said.unwrap_err(), "the answer broke off", "{}", body.get(..10).unwrap_or(body));
    }
}

#[tokio::test]
async fn a_head_that_could_be_read_in_two_ways_is_none() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2",
        "HTTP/1.1 200 OK\r\ncontent-length: 1, 2",
        "HTTP/1.1 200 OK\r\ncontent-length: +2",
        "HTTP/1.1 200 OK\r\ncontent-length: -2",
        "HTTP/1.1 200 OK\r\ncontent-length: 0x2",
        "HTTP/1.1 200 OK\r\nx: a\r\n folded: b",
        "HTTP/1.1 200 OK\r\nx : a",
        "HTTP/1.1 200 OK\r\nx: a\0b",
        "HTTP/1.1 99 Low",
        "HTTP/2.0 200 OK",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket",
    ] {
        let (address, _) = server(format!("{head}\r\n\r\nab")).await;
        let said = ask(&open(|_| {}), &format!("http://{address}/")).await.map_err(|error| error.to_string());
        assert_eq!(said.map(|answer| answer.status), Err("the answer is not HTTP".to_owned()), "{head:?}");
    }
}

#[tokio::test]
async fn of_two_framings_the_chunks_count() {
    let (address, _) =
        server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    let response = ask(&open(|_| {}), &format!("http://{address}/")).await.unwrap();
    assert_eq!(&response.body[..], b"abc");
    assert!(!response.headers.contains_key("content-length"), "{:?}", response.headers);
}

#[tokio::test]
async fn what_comes_after_an_answer_is_not_the_next_one() {
    let extra = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let (address, _) = server(extra).await;
    let egress = open(|_| {});
    let mut answered = 0;
    for _ in 0..20 {
        // The connection may be found out only when it is used again: an error then, and never the other answer.
        match ask(&egress, &format!("http://{address}/")).await {
            Ok(response) => {
                assert_eq!(&response.body[..], b"ok");
                answered += 1;
            }
            Err(error) => assert!(matches!(error, Error::Failed { .. }), "{error}"),
        }
    }
    assert!(answered > 0, "no exchange was looked at");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_is_not_missed() {
    let (closed, mut ends) = mpsc::channel(1);
    let address = talking(move |mut socket| {
        let closed = closed.clone();
        async move {
            head(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            drop(socket);
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut after = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut witness, _) = listener.accept().await.unwrap();
    let egress = open(|_| {});
    for _ in 0..5 {
        assert_eq!(&ask(&egress, &format!("http://{address}/")).await.unwrap().body[..], b"ok");
        ends.recv().await.unwrap();
        // The end is in this machine's socket already. What came after it is told by the same turn of the
        // runtime's loop or a later one.
        after.write_all(b"x").await.unwrap();
        witness.read_u8().await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn thousands_of_exchanges_take_one_connection_and_many_at_once_as_many_as_they_may() {
    let (address, connections) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let egress = open(|config| config.connections_per_host = 16);
    let url = format!("http://{address}/");
    for _ in 0..5_000 {
        assert!(ask(&egress, &url).await.is_ok());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    for _ in 0..20 {
        let answers = futures_util::future::join_all((0..64).map(|_| ask(&egress, &url))).await;
        assert!(answers.iter().all(Result::is_ok));
    }
    assert!(connections.load(Ordering::SeqCst) <= 16, "{connections:?}");
}
