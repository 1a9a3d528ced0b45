use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::super::line;
use super::*;

impl line::Stream for DuplexStream {}

const QUERY: Flight = Flight::Query(Begin::WithAnswer);

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

fn begun() -> Vec<u8> {
    [message(tag::BIND_COMPLETE, b""), done("BEGIN")].concat()
}

fn row() -> Vec<u8> {
    message(tag::DATA_ROW, b"\0\0")
}

fn done(command: &str) -> Vec<u8> {
    message(tag::COMMAND_COMPLETE, format!("{command}\0").as_bytes())
}

fn ready(transaction: [u8; 1]) -> Vec<u8> {
    message(tag::READY_FOR_QUERY, &transaction)
}

/// What comes of a server that says this and leaves: how many it changed, and how many rows were told.
async fn heard(flight: Flight, said: &[u8]) -> (Result<u64, Failure>, usize) {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    theirs.write_all(said).await.unwrap();
    drop(theirs);
    let (mut line, _driver) = line::shared(ours);
    line.begin();
    let mut rows = 0;
    let heard = hear(&mut line, flight, |_| {
        rows += 1;
        Ok(())
    });
    (heard.await, rows)
}

#[tokio::test]
async fn a_flight_went_well_when_each_of_its_commands_was_answered_in_their_order() {
    let query = [begun(), row(), done("SELECT 1"), done("ROLLBACK"), ready(*b"I")].concat();
    let (changed, rows) = heard(QUERY, &query).await;
    assert_eq!((changed.unwrap(), rows), (1, 1));
    let change = [begun(), done("INSERT 0 7"), ready(*b"T")].concat();
    assert_eq!(heard(Flight::Change, &change).await.0.unwrap(), 7);
    for length in 0..query.len() {
        assert!(heard(QUERY, &query[..length]).await.0.is_err(), "{length}");
    }
    for length in 0..change.len() {
        assert!(heard(Flight::Change, &change[..length]).await.0.is_err(), "{length}");
    }
}

#[tokio::test]
async fn a_server_that_leaves_out_or_mixes_up_answers_is_not_believed() {
    let (one, back) = (done("SELECT 1"), done("ROLLBACK"));
    for said in [
        ready(*b"I"),
        [begun(), ready(*b"I")].concat(),
        [begun(), one.clone(), ready(*b"I")].concat(),
        [begun(), one.clone(), back.clone(), ready(*b"T")].concat(),
        [begun(), one.clone(), back.clone(), back.clone(), ready(*b"I")].concat(),
        [begun(), back.clone(), one.clone(), ready(*b"I")].concat(),
        [one.clone(), begun(), back.clone(), ready(*b"I")].concat(),
        [row(), begun(), one.clone(), back.clone(), ready(*b"I")].concat(),
        [begun(), one.clone(), row(), back.clone(), ready(*b"I")].concat(),
        // Of a copy, and of nothing that there is.
        [begun(), message(b'H', b"\0\0\0"), one.clone(), back.clone(), ready(*b"I")].concat(),
        [begun(), message(b'G', b"\0\0\0"), one.clone(), back.clone(), ready(*b"I")].concat(),
        [begun(), message(b'\0', b""), one.clone(), back.clone(), ready(*b"I")].concat(),
    ] {
        let (heard, _) = heard(QUERY, &said).await;
        assert!(matches!(heard, Err(Failure::Database(Fault::Line(_)))), "{said:?}: {heard:?}");
    }
    for said in [
        ready(*b"T"),
        [begun(), ready(*b"T")].concat(),
        // What was changed is gone already, or will be with the commit.
        [begun(), done("INSERT 0 1"), ready(*b"I")].concat(),
        [begun(), done("INSERT 0 1"), ready(*b"E")].concat(),
        [begun(), done("INSERT 0 1"), done("COMMIT"), ready(*b"I")].concat(),
    ] {
        let (heard, _) = heard(Flight::Change, &said).await;
        assert!(matches!(heard, Err(Failure::Database(Fault::Line(_)))), "{said:?}: {heard:?}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(
        messages in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..12)), 0..6),
    ) {
        let said: Vec<u8> = messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let _ = heard(QUERY, &said).await;
            let _ = heard(QUERY, &[begun(), said.clone()].concat()).await;
        });
    }
}
