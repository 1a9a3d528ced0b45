use std::net::Ipv4Addr;

use local_servers::mariadb::{self, Database};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn server(url: &str) -> (Server, u16) {
    let url = config::DatabaseUrl::parse(url, Path::new("/")).unwrap();
    let database = config::Database::new(url.clone());
    let config::DatabaseUrl::MySql(mysql) = url else { panic!("{url:?}") };
    (Server::new(&mysql, &database).unwrap(), mysql.port)
}

/// What a relay does to the number that a server gives to a connection.
#[derive(Clone, Copy)]
enum Numbers {
    Kept,
    /// As a proxy with connections of its own has it.
    Changed,
}

/// A server that is reached through others: connection by connection through these ports, the last for all that follow.
async fn through(at: &Database, ports: Vec<u16>, numbers: Numbers) -> Server {
    let relay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (_, port) = server(&at.url());
    let url = at.url().replace(&format!(":{port}/"), &format!(":{}/", relay.local_addr().unwrap().port()));
    // Else each session takes a second connection, where the server has no TLS.
    let url = format!("{url}?sslmode=disable");
    tokio::spawn(async move {
        for connection in 0.. {
            let to = ports[connection.min(ports.len() - 1)];
            let (mut client, _) = relay.accept().await.unwrap();
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4];
                server.read_exact(&mut head).await.unwrap();
                let mut greeting = vec![0; usize::from(u16::from_le_bytes([head[0], head[1]]))];
                server.read_exact(&mut greeting).await.unwrap();
                // The version of the protocol, that of the server with its end, and the number.
                let number = greeting.iter().position(|byte| *byte == 0).unwrap() + 1;
                if matches!(numbers, Numbers::Changed) {
                    greeting[number + 2] ^= 1;
                }
                client.write_all(&head).await.unwrap();
                client.write_all(&greeting).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    server(&url).0
}

async fn is_alive(link: &mut Link) -> bool {
    link.connection.query_drop("SELECT 1").await.is_ok()
}

#[tokio::test]
async fn a_session_is_killed_directly_and_through_what_only_passes_bytes_on() {
    let at = mariadb::database();
    let (direct, port) = server(&at.url());
    for server in [direct, through(&at, vec![port], Numbers::Kept).await] {
        let mut link = server.connect().await.unwrap();
        assert!(is_alive(&mut link).await);
        server.kill(&link).await.unwrap();
        assert!(!is_alive(&mut link).await);
        server.kill(&link).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_whose_number_is_a_proxys_is_not_told_as_ended() {
    let at = mariadb::database();
    let (_, port) = server(&at.url());
    let server = through(&at, vec![port], Numbers::Changed).await;
    let mut link = server.connect().await.unwrap();
    let error = server.kill(&link).await.unwrap_err().to_string();
    assert!(error.contains("proxy"), "{error}");
    assert!(is_alive(&mut link).await);
}

#[tokio::test]
async fn a_session_that_another_server_does_not_know_is_not_told_as_ended() {
    let at = mariadb::database();
    let (_, port) = server(&at.url());
    let other = tokio::task::spawn_blocking(mariadb::Server::start).await.unwrap().unwrap();
    let beside = other.database().unwrap();
    let mut connection = beside.connect().await.unwrap();
    connection.query_drop(format!("CREATE DATABASE IF NOT EXISTS {}", at.name())).await.unwrap();
    let server = through(&at, vec![port, server(&beside.url()).1], Numbers::Kept).await;
    let mut link = server.connect().await.unwrap();
    let error = server.kill(&link).await.unwrap_err().to_string();
    assert!(error.contains("another server"), "{error}");
    assert!(is_alive(&mut link).await);
}

#[tokio::test]
async fn an_address_that_takes_a_connection_and_is_silent_leaves_time_for_the_next() {
    let at = mariadb::database();
    let (server, port) = server(&at.url());
    // Nobody accepts: the kernel takes the connection, and then nothing comes.
    let silent = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let addresses = [silent.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST.into()];
    let connected = tokio::time::timeout(Duration::from_mins(1), server.connect_to_any(addresses.into_iter()));
    assert_eq!(connected.await.unwrap().unwrap().address, addresses[1]);
    let alone = server.connect_to_any(addresses.into_iter().take(1));
    let error = tokio::time::timeout(Duration::from_mins(1), alone).await.unwrap().unwrap_err();
    assert!(failure::is_transient(&error), "{error:?}");
}
