//! Real sockets, real peers of the kinds that a public listener meets.

mod bounds;
mod drain;
mod slow;

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::telemetry::Known;

/// Longer than any of these tests takes: reached only if something hangs.
const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(500);

fn limits() -> Limits {
    Limits {
        body_bytes_max: 1_000,
        head_timeout: LONG,
        body_timeout: LONG,
        connections_max: 100,
        in_flight_max: 100,
        drain_timeout: LONG,
    }
}

/// Limits under which a slow peer is closed soon.
fn strict() -> Limits {
    Limits { head_timeout: SHORT, body_timeout: SHORT, ..limits() }
}

/// A listener that runs.
struct Up {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    serving: JoinHandle<Drained>,
    /// Requests that have reached `/gate`, and those that may leave it.
    reached: Arc<Semaphore>,
    leave: Arc<Semaphore>,
}

async fn up(limits: Limits) -> Up {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new(&Known::default()));
    let shutdown = CancellationToken::new();
    let (reached, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let gate = {
        let (reached, leave) = (Arc::clone(&reached), Arc::clone(&leave));
        move || async move {
            reached.add_permits(1);
            leave.acquire().await.unwrap().forget();
            "left"
        }
    };
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/echo", post(async |body: Bytes| body))
        .route("/large", get(async || vec![b'x'; 64 << 20]))
        .route("/gate", get(gate));
    let listener = Listener::new("hooks", socket, &limits, Arc::clone(&metrics));
    let serving = tokio::spawn(listener.serve(app, shutdown.clone()));
    Up { address, metrics, shutdown, serving, reached, leave }
}

impl Up {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection on which `bytes` were sent.
    async fn sent(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Waits until `count` more requests are in the application.
    async fn reached(&self, count: u32) {
        timeout(LONG, self.reached.acquire_many(count)).await.unwrap().unwrap().forget();
    }

    fn sample(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    fn refused(&self, reason: &str) -> u64 {
        self.sample(&format!(r#"expunged_requests_refused_total{{listener="hooks",reason="{reason}"}}"#))
    }
}

/// Everything that comes until the peer closes. Hangs, and fails the test, if it never does.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A reset is a way of closing, too.
    let _ = timeout(LONG, stream.read_to_end(&mut all)).await.expect("the connection stays open");
    String::from_utf8_lossy(&all).into_owned()
}

/// One answer with a content length, from a connection that stays open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    let wanted = |text: &str| {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        Some(length.unwrap_or(0_usize).saturating_sub(body.len()))
    };
    while wanted(&text) != Some(0) {
        let read = timeout(LONG, stream.read(&mut byte)).await.unwrap().unwrap();
        assert_eq!(read, 1, "closed after {text:?}");
        text.push(char::from(byte[0]));
    }
    text
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// A client for HTTP/2 with prior knowledge.
fn http2() -> reqwest::Client {
    // Another test may have set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const GATE: &[u8] = b"GET /gate HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn an_accept_that_failed_for_one_peer_is_told_from_one_that_fails_for_all() {
    const ECONNABORTED: i32 = 103;
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    assert!(concerns_one_peer(&io::Error::from_raw_os_error(ECONNABORTED)));
    assert!(!concerns_one_peer(&io::Error::from_raw_os_error(EMFILE)));
    assert!(!concerns_one_peer(&io::Error::from_raw_os_error(ENFILE)));
}
