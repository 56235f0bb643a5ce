//! Peers that hold a connection and bring nothing: each is closed, whatever it does.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::interval;

use super::*;
use crate::web::capacity::open_files_max;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame (RFC 9113, section 6.5).
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// HEADERS of stream 1 with END_HEADERS and without END_STREAM: `POST http://x/`, by the static table.
const POST_HEADERS: &[u8] = &[0, 0, 6, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x41, 1, b'x'];
/// The start of a HEADERS frame of which the rest never comes.
const HALF_HEADERS: &[u8] = &[0, 0, 100, 1, 4, 0, 0, 0, 1, 0x83];

/// Sends `start`, then single bytes for as long as the connection takes them.
async fn drip(up: &Up, start: &[u8], byte: u8) -> String {
    let stream = up.sent(start).await;
    let (mut reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut beat = interval(Duration::from_millis(10));
        loop {
            beat.tick().await;
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    });
    let mut all = Vec::new();
    let _ = timeout(LONG, reading.read_to_end(&mut all)).await.expect("the connection stays open");
    dripping.abort();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let up = up(strict()).await;
    assert_eq!(until_closed(&mut up.connect().await).await, "");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_closed() {
    let up = up(strict()).await;
    assert_eq!(drip(&up, b"GET / HTTP/1.1\r\nx: ", b'a').await, "");
}

#[tokio::test]
async fn a_preface_that_comes_in_pieces_or_not_at_all_is_closed() {
    let up = up(strict()).await;
    for length in [1, PREFACE.len() - 1] {
        assert_eq!(until_closed(&mut up.sent(&PREFACE[..length]).await).await, "");
    }
    // The first byte that does not fit makes it HTTP/1, of which the head then never ends.
    assert_eq!(drip(&up, b"P", b'R').await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answer() {
    let up = up(strict()).await;
    let text = until_closed(&mut up.sent(GET).await).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("hello"), "{text}");
}

#[tokio::test]
async fn a_second_head_that_comes_byte_by_byte_is_closed() {
    let up = up(strict()).await;
    let text = drip(&up, b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nx: ", b'a').await;
    assert_eq!(text.matches("HTTP/1.1 200 ").count(), 1, "{text}");
}

#[tokio::test]
async fn a_body_that_stalls_or_drips_gets_408_and_is_closed() {
    let up = up(strict()).await;
    let start = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\nstart";
    let stalled = until_closed(&mut up.sent(start).await).await;
    assert_eq!(status(&stalled), "408", "{stalled}");
    drip(&up, start, b'a').await;
    drip(&up, b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n384\r\nab", b'c').await;
    assert_eq!(up.refused("body_too_slow"), 3);
}

#[tokio::test]
async fn http2_that_is_idle_or_stalls_anywhere_is_closed() {
    let up = up(strict()).await;
    for rest in [&[][..], HALF_HEADERS, POST_HEADERS] {
        let sent = [PREFACE, SETTINGS, rest].concat();
        let text = until_closed(&mut up.sent(&sent).await).await;
        assert!(!text.is_empty(), "our settings came");
    }
    assert_eq!(up.refused("body_too_slow"), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answer_is_closed() {
    let up = up(strict()).await;
    let mut stream = up.sent(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    until_no_connection(&up).await;
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    assert!(all.len() < 64 << 20, "only what the kernel's buffers held has come");
}

#[tokio::test]
async fn an_http2_peer_that_opens_no_window_for_its_answer_is_closed() {
    /// SETTINGS with INITIAL_WINDOW_SIZE 0.
    const NO_WINDOW: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    /// `GET http://x/`, complete.
    const GET_HEADERS: &[u8] = &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'x'];
    let up = up(strict()).await;
    let text = until_closed(&mut up.sent(&[PREFACE, NO_WINDOW, GET_HEADERS].concat()).await).await;
    assert!(!text.contains("hello"), "{text}");
}

#[tokio::test]
async fn a_request_that_the_application_works_on_is_not_cut_by_the_peers_limits() {
    let up = up(strict()).await;
    let mut stream = up.sent(GATE).await;
    up.reached(1).await;
    // A silent connection that is opened now is closed, and so more than its time has passed.
    until_closed(&mut up.connect().await).await;
    up.leave.add_permits(1);
    assert!(answer(&mut stream).await.ends_with("left"));
}

#[tokio::test]
async fn slow_peers_within_their_time_are_served() {
    let up = up(limits()).await;
    let mut stream = up.connect().await;
    for byte in b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(answer(&mut stream).await.ends_with("body"));
}

/// Waits until the listener has no connection left.
async fn until_no_connection(up: &Up) {
    let none = async {
        let mut beat = interval(Duration::from_millis(10));
        while up.sample(r#"expunged_connections{listener="hooks"}"#) > 0
            || !up.metrics.render().contains("expunged_connections{")
        {
            beat.tick().await;
        }
    };
    timeout(LONG, none).await.expect("connections stay open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_slow_connections_are_closed_while_deliveries_go_on() {
    // Each connection takes two files of this process, which runs other tests, too.
    let many = open_files_max().map_or(2_000, |files| (files / 4).min(2_000));
    let patience = Duration::from_secs(3);
    let limits = Limits {
        head_timeout: patience,
        body_timeout: patience,
        connections_max: many + 10,
        in_flight_max: 4,
        ..limits()
    };
    let up = Arc::new(up(limits).await);
    let starts: [&[u8]; 4] = [
        b"",
        b"PRI * HTT",
        b"GET / HTTP/1.1\r\nx: ",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\nstart",
    ];
    let mut slow = JoinSet::new();
    for number in 0..many {
        let mut stream = up.sent(starts[number % starts.len()]).await;
        slow.spawn(async move { until_closed(&mut stream).await });
    }
    let mut served = 0;
    while !slow.is_empty() {
        let mut stream = up
            .sent(b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            .await;
        let text = until_closed(&mut stream).await;
        assert_eq!(status(&text), "200", "delivery {served}: {text}");
        served += 1;
        while slow.try_join_next().is_some() {}
    }
    assert!(served > 10, "only {served} deliveries");
    until_no_connection(&up).await;
}
