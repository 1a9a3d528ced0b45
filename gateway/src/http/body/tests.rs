use std::collections::VecDeque;

use super::*;

/// Gives its chunks one by one, then ends, or hangs, or breaks.
struct Scripted {
    chunks: VecDeque<Bytes>,
    then: Then,
    said: Option<u64>,
}

#[derive(Clone, Copy)]
enum Then {
    End,
    Hang,
    Break,
}

#[tokio::test]
async fn large_bodies_take_room_and_small_ones_need_none() {
    let room = Room::new(Duration::from_millis(1));
    let bounds = Bounds { bytes_max: u64::MAX, timeout: Duration::from_secs(5) };
    let of = |said| Scripted { said, ..scripted(&[b"body"], Then::End) };
    let (_, all) = read_in(&room, of(None), bounds).await.unwrap();
    assert!(all.is_some());
    for said in [None, Some(FREE_BYTES + 1)] {
        assert!(matches!(read_in(&room, of(said), bounds).await, Err(Error::NoRoom)));
    }
    assert!(read_in(&room, of(Some(FREE_BYTES)), bounds).await.unwrap().1.is_none());
    drop(all);
    assert!(read_in(&room, of(Some(FREE_BYTES + 1)), bounds).await.unwrap().1.is_some());
}

fn scripted(chunks: &[&'static [u8]], then: Then) -> Scripted {
    Scripted { chunks: chunks.iter().map(|chunk| Bytes::from_static(chunk)).collect(), then, said: None }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match (self.chunks.pop_front(), self.then) {
            (Some(chunk), _) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            (None, Then::End) => Poll::Ready(None),
            (None, Then::Hang) => Poll::Pending,
            (None, Then::Break) => Poll::Ready(Some(Err(std::io::Error::other("reset")))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.said.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn bounds(bytes_max: u64) -> Bounds {
    Bounds { bytes_max, timeout: Duration::from_millis(20) }
}

#[tokio::test]
async fn a_body_within_its_bound_is_read_whole() {
    assert_eq!(read(scripted(&[], Then::End), bounds(0)).await.unwrap(), "");
    assert_eq!(read(scripted(&[b"abc"], Then::End), bounds(3)).await.unwrap(), "abc");
    assert_eq!(read(scripted(&[b"a", b"bc", b"", b"d"], Then::End), bounds(4)).await.unwrap(), "abcd");
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused_as_soon_as_that_is_known() {
    // It hangs after the chunk that is too much: it isn't waited for.
    let error = read(scripted(&[b"ab", b"cd"], Then::Hang), bounds(3)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 3 }));
}

#[tokio::test]
async fn a_length_over_the_bound_is_refused_before_a_byte_is_read() {
    let body = Scripted { said: Some(4), ..scripted(&[], Then::Break) };
    assert!(matches!(read(body, bounds(3)).await, Err(Error::TooLarge { limit: 3 })));
}

#[tokio::test]
async fn a_body_that_does_not_end_in_time_is_a_timeout() {
    let error = read(scripted(&[b"ab"], Then::Hang), bounds(3)).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut));
    assert_eq!(Problem::from(error).code(), Code::RequestTimeout);
}

#[tokio::test]
async fn a_client_that_leaves_breaks_the_body() {
    assert!(matches!(read(scripted(&[b"ab"], Then::Break), bounds(3)).await, Err(Error::Broken(_))));
}

#[test]
fn what_arrives_buys_time_and_a_trickle_buys_none() {
    let timeout = Duration::from_secs(30);
    assert_eq!(time_allowed(timeout, 0), timeout);
    assert_eq!(time_allowed(timeout, 30), timeout);
    assert_eq!(time_allowed(timeout, 32 * 1024), Duration::from_secs(31));
    assert_eq!(time_allowed(timeout, 50 * 1024 * 1024), Duration::from_secs(30 + 1600));
}
