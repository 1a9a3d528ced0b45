//! Names, from a name server of the test's own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;
use crate::egress::owner::LOOK_UPS_MAX;

/// What the name server says of one name.
enum Said {
    /// Of these, those of the type that was asked for, and every alias.
    Records(Vec<RData>),
    Code(ResponseCode),
    Nothing,
}

fn address(text: &str) -> RData {
    match text.parse().unwrap() {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn alias(name: &str) -> RData {
    RData::CNAME(CNAME(Name::from_ascii(name).unwrap()))
}

/// The answer to a query, of at most so many bytes.
fn answer(query: &[u8], bytes_max: usize, says: &impl Fn(&str) -> Said) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries.first().unwrap().clone();
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(question.clone());
    match says(question.name().to_ascii().trim_end_matches('.')) {
        Said::Nothing => return None,
        Said::Code(code) => message.metadata.response_code = code,
        Said::Records(data) => {
            for data in data {
                if [question.query_type(), RecordType::CNAME].contains(&data.record_type()) {
                    message.add_answer(Record::from_rdata(question.name().clone(), 0, data));
                }
            }
        }
    }
    let bytes = message.to_vec().unwrap();
    Some(if bytes.len() > bytes_max { message.truncate().to_vec().unwrap() } else { bytes })
}

/// A name server over UDP and TCP.
async fn name_server(says: impl Fn(&str) -> Said + Send + Sync + 'static) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // The port may be taken for TCP.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let (address, says) = (udp.local_addr().unwrap(), Arc::new(says));
    let of_udp = Arc::clone(&says);
    tokio::spawn(async move {
        let mut query = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut query).await {
            if let Some(answer) = answer(&query[..length], 1232, &*of_udp) {
                udp.send_to(&answer, from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = tcp.accept().await {
            let says = Arc::clone(&says);
            tokio::spawn(async move {
                while let Ok(length) = socket.read_u16().await {
                    let mut query = vec![0; length.into()];
                    socket.read_exact(&mut query).await.unwrap();
                    let Some(answer) = answer(&query, u16::MAX.into(), &*says) else { continue };
                    socket.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    socket.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    address
}

/// One that knows no name.
pub(super) async fn nobody() -> SocketAddr {
    name_server(|_| Said::Code(ResponseCode::NXDomain)).await
}

const CLOSING: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// A server that is open to steps, at 127.0.0.1, and one on the same port of 127.0.0.2 that isn't.
async fn servers() -> (u16, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    loop {
        let (address, open) = server(CLOSING).await;
        let closed = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), address.port());
        if TcpListener::bind(closed).await.is_ok() {
            return (address.port(), open, server_on(closed, CLOSING).await.1);
        }
    }
}

fn asking(server: SocketAddr) -> Egress {
    open_with(&Names { server, hosts: "127.0.0.1 filed.test\n127.0.0.2 closed.test\n" }, RootCertStore::empty(), SHORT)
}

#[tokio::test]
async fn a_name_is_not_reached_at_an_address_that_is_closed() {
    let (port, open, closed) = servers().await;
    let names = name_server(|name| match name {
        "private.test" => Said::Records(vec![address("127.0.0.2"), address("10.0.0.1")]),
        "metadata.test" => Said::Records(vec![address("169.254.169.254")]),
        "mapped.test" => Said::Records(vec![address("::ffff:127.0.0.2")]),
        "translated.test" => Said::Records(vec![address("64:ff9b::7f00:2")]),
        "loopback.test" => Said::Records(vec![address("::1")]),
        "alias.test" => Said::Records(vec![alias("private.test.")]),
        "mixed.test" => Said::Records(vec![address("127.0.0.2"), address("::1"), address("127.0.0.1")]),
        "public.test" => Said::Records(vec![alias("mixed.test.")]),
        _ => Said::Code(ResponseCode::NXDomain),
    })
    .await;
    let egress = asking(names);
    for name in ["private", "metadata", "mapped", "translated", "loopback", "alias", "closed"] {
        let refused = ask(&egress, &format!("http://{name}.test:{port}/")).await;
        assert!(matches!(refused, Err(Error::Closed)), "{name}: {refused:?}");
    }
    assert_eq!(open.load(Ordering::SeqCst), 0);
    for name in ["mixed", "public", "filed", "MIXED", "mixed"] {
        let answer = ask(&egress, &format!("http://{name}.test:{port}/")).await;
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
    assert_eq!((open.load(Ordering::SeqCst), closed.load(Ordering::SeqCst)), (5, 0));
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_as_it_is_connected_to() {
    let (port, open, closed) = servers().await;
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let names = name_server(move |_| {
        let mut asked = counted.lock().unwrap();
        *asked += 1;
        // Both types are asked for at once.
        Said::Records(vec![address(if *asked <= 2 { "127.0.0.1" } else { "127.0.0.2" })])
    })
    .await;
    let egress = asking(names);
    let url = format!("http://rebinding.test:{port}/");
    assert!(ask(&egress, &url).await.is_ok());
    assert_eq!(*asked.lock().unwrap(), 2, "looked up once");
    assert!(matches!(ask(&egress, &url).await, Err(Error::Closed)));
    assert_eq!((open.load(Ordering::SeqCst), closed.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn a_name_without_an_address_ends_in_time_with_a_reason() {
    let names = name_server(|name| match name {
        "silent.test" => Said::Nothing,
        "broken.test" => Said::Code(ResponseCode::ServFail),
        "refused.test" => Said::Code(ResponseCode::Refused),
        "empty.test" => Said::Records(Vec::new()),
        "loop.test" => Said::Records(vec![alias("round.test.")]),
        "round.test" => Said::Records(vec![alias("loop.test.")]),
        "self.test" => Said::Records(vec![alias("self.test.")]),
        _ => Said::Code(ResponseCode::NXDomain),
    })
    .await;
    let egress = asking(names);
    for (name, reasons) in [
        ("silent", &["the host was not connected to in time"][..]),
        ("broken", &["the host's name can't be looked up"]),
        ("refused", &["the host's name can't be looked up"]),
        ("empty", &["there is no such host"]),
        ("unknown", &["there is no such host"]),
        ("loop", &["there is no such host", "the host's name can't be looked up"]),
        ("self", &["there is no such host", "the host's name can't be looked up"]),
    ] {
        let began = Instant::now();
        let said = ask(&egress, &format!("http://{name}.test/")).await.unwrap_err().to_string();
        assert!(reasons.contains(&said.as_str()), "{name}: {said}");
        assert!(began.elapsed() < 5 * SECOND, "{name}");
    }
}

#[tokio::test]
async fn a_whole_name_is_not_looked_for_elsewhere_and_a_single_label_is() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let server = name_server(move |name| {
        noted.lock().unwrap().push(name.to_owned());
        Said::Code(ResponseCode::NXDomain)
    })
    .await;
    let names = Names { server, hosts: "" };
    let egress = open_with(&names, RootCertStore::empty(), SHORT);
    for (url, whole) in [("http://a.example/", "a.example"), ("http://a/", "a")] {
        let refused = ask(&egress, url).await;
        assert!(matches!(refused, Err(Error::Failed { at: Failure::NoSuchHost, .. })), "{refused:?}");
        let mut names = std::mem::take(&mut *asked.lock().unwrap());
        names.sort();
        names.dedup();
        let elsewhere = format!("{whole}.search.test");
        assert_eq!(names.contains(&elsewhere), whole == "a", "{names:?}");
        assert!(names.contains(&whole.to_owned()), "{names:?}");
    }
}

#[tokio::test]
async fn of_thousands_of_addresses_those_that_are_open_are_tried() {
    let (port, open, closed) = servers().await;
    let names = name_server(|_| {
        let many = (0..1_500_u32).map(|place| RData::A(A(Ipv4Addr::from_bits(0x7f00_0100 + place))));
        Said::Records(many.chain([address("127.0.0.1")]).collect())
    })
    .await;
    let answer = ask(&asking(names), &format!("http://huge.test:{port}/")).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!((open.load(Ordering::SeqCst), closed.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn however_many_hosts_are_asked_there_are_so_many_connections_and_half_of_them_idle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&now), Arc::clone(&most));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (now, most) = counted.clone();
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::spawn(async move {
                while head(&mut socket).await.is_some() {
                    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
                now.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    let names = Names { server: name_server(|_| Said::Records(vec![address("127.0.0.1")])).await, hosts: "" };
    let egress = open_with(&names, RootCertStore::empty(), Limits { connections: 8, ..SHORT });
    let urls: Vec<_> = (0..64).map(|place| format!("http://host-{place}.test:{port}/")).collect();
    // One owner has a quarter.
    let asking = urls.iter().enumerate().map(|(place, url)| {
        let (egress, owner) = (&egress, format!("owner-{}", place % 4));
        async move { ask_as(egress, url, &owner).await }
    });
    let answers = futures_util::future::join_all(asking).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for url in &urls {
        assert!(ask(&egress, url).await.is_ok());
    }
    // The server may hear of the end of a connection a little after the next one began.
    assert!(most.load(Ordering::SeqCst) <= 12, "{most:?}");
    let settled = async {
        while now.load(Ordering::SeqCst) > 4 {
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    tokio::time::timeout(5 * SECOND, settled).await.expect("half of the places are free");
}

#[tokio::test]
async fn an_owner_whose_name_server_is_silent_leaves_look_ups_to_others() {
    let (port, _, _) = servers().await;
    let silent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&silent);
    let server = name_server(move |name| match name {
        "known.test" => Said::Records(vec![address("127.0.0.1")]),
        _ => {
            counted.fetch_add(1, Ordering::SeqCst);
            Said::Nothing
        }
    })
    .await;
    let limits = Limits { timeout: 60 * SECOND, connections: 4_000 };
    let egress = Arc::new(open_with(&Names { server, hosts: "" }, RootCertStore::empty(), limits));
    let mut waiting = tokio::task::JoinSet::new();
    // More than all turns could serve until another owner gives up.
    for place in 0..256 {
        let (egress, url) = (Arc::clone(&egress), format!("http://host-{place}.silent.test/"));
        waiting.spawn(async move { ask_as(&egress, &url, "hostile").await });
    }
    // It has all that it may have under way: both kinds of address of each name.
    let asked = async {
        while silent.load(Ordering::SeqCst) < 2 * LOOK_UPS_MAX {
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    tokio::time::timeout(10 * SECOND, asked).await.expect("the hostile owner's look-ups");
    let answer = ask_as(&egress, &format!("http://known.test:{port}/"), "other").await;
    assert!(answer.is_ok(), "{answer:?}");
    waiting.shutdown().await;
}

#[tokio::test]
async fn an_owner_whose_connections_all_wait_leaves_connections_to_others() {
    let (address, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    // It is connected to, and takes no part in TLS.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let names = Names { server: nobody().await, hosts: "" };
    let limits = Limits { timeout: 60 * SECOND, connections: 8 };
    let egress = Arc::new(open_with(&names, RootCertStore::empty(), limits));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (egress, url) = (Arc::clone(&egress), format!("https://{}/", silent.local_addr().unwrap()));
        waiting.spawn(async move { ask_as(&egress, &url, "hostile").await });
    }
    let mut accepted = Vec::new();
    for _ in 0..2 {
        accepted.push(silent.accept().await.unwrap());
    }
    assert!(ask_as(&egress, &format!("http://{address}/"), "other").await.is_ok());
    let more = tokio::time::timeout(SECOND / 5, silent.accept()).await;
    assert!(more.is_err(), "a quarter is all that one owner has");
    waiting.shutdown().await;
}
