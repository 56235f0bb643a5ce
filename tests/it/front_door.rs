//! The public door of a real daemon under ten thousand connections that want nothing but to stay.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use expunged::sources::http::plain_client;

use crate::support::crash::{self, Home, Setup};

/// Connections that are held open; fewer where the process may not open as many files.
const SLOW: usize = 10_000;
/// Files that the tests of this process need besides.
const OTHER_FILES: usize = 1_000;
/// Connections that are opened before it is waited until the daemon has accepted them: a listening socket's
/// queue is short, and what falls out of it looks open to the client for ever.
const ACCEPTED_EVERY: usize = 250;
/// After this a connection is taken to stay for ever. The daemon's own limits are below 10 s.
const FOR_EVER: Duration = Duration::from_mins(5);

/// The ways of being slow.
#[derive(Clone, Copy)]
enum Slow {
    /// Says nothing at all.
    Silent,
    /// Sends a request head byte by byte.
    DripsHead,
    /// Promises a body, and stops in the middle of it.
    StallsInBody,
}

const WAYS: [Slow; 3] = [Slow::Silent, Slow::DripsHead, Slow::StallsInBody];

fn files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(1_024)
}

/// Is slow on a connection until the daemon closes it.
async fn be_slow(mut stream: TcpStream, way: Slow) -> std::io::Result<()> {
    match way {
        Slow::Silent => {}
        Slow::DripsHead => return drip(stream).await,
        Slow::StallsInBody => {
            let head =
                "POST /hooks/board/listing.deleted HTTP/1.1\r\nhost: x\r\ncontent-length: 600\r\n\r\n{";
            stream.write_all(head.as_bytes()).await?;
        }
    }
    read_to_close(&mut stream).await;
    Ok(())
}

async fn drip(stream: TcpStream) -> std::io::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let dripping = async {
        for byte in
            b"POST /hooks/board HTTP/1.1\r\nhost: a-host-with-a-name-that-takes-its-time\r\n".iter().cycle()
        {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = dripping => {}
        _ = read.read_to_end(&mut rest) => {}
    }
    Ok(())
}

/// An answer may come first (408); then the end, or a reset.
async fn read_to_close(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
}

async fn deliver(client: &reqwest::Client, to: &crash::Addresses, delivered: u32) -> u32 {
    let answer = crash::post(client, to, crash::deletion(&[delivered % 500 + 1])).await;
    assert_eq!(answer.unwrap().status(), 202, "delivery {delivered}");
    delivered + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_slow_connections_are_closed_while_deliveries_go_on() {
    let home = Home::new(Setup::default()).await;
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let slow = SLOW.min(files_max().saturating_sub(OTHER_FILES));
    if slow < SLOW {
        println!("only {slow} slow connections: this process may not open more files (ulimit -n)");
    }

    let began = Instant::now();
    let mut connections = JoinSet::new();
    let mut delivered = 0_u32;
    for number in 0..slow {
        let stream = TcpStream::connect(to.hooks).await.unwrap();
        connections.spawn(be_slow(stream, WAYS[number % WAYS.len()]));
        if number % ACCEPTED_EVERY == 0 {
            // Connections are accepted in their order: a delivery on another one shows that these are.
            delivered = deliver(&plain_client().unwrap(), &to, delivered).await;
        }
    }
    let client = plain_client().unwrap();
    while !connections.is_empty() {
        let answer = crash::post(&client, &to, crash::deletion(&[delivered % 500 + 1])).await;
        assert_eq!(
            answer.unwrap().status(),
            202,
            "delivery {delivered}, {} slow ones open",
            connections.len()
        );
        delivered += 1;
        while let Some(closed) = connections.try_join_next() {
            closed.unwrap().unwrap();
        }
        assert!(began.elapsed() < FOR_EVER, "{} slow connections are still open", connections.len());
    }
    println!("{slow} slow connections closed after {:?}, {delivered} deliveries meanwhile", began.elapsed());
    daemon.terminate();
    assert_eq!(daemon.ended().await.0, 0);
}
