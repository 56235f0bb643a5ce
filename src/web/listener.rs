//! Accepts connections and serves HTTP/1.1 and HTTP/2 (with prior knowledge) on them, within bounds.
//!
//! A peer can be silent, send byte by byte, stall in the middle or not read its answer: whatever it does, a
//! connection that brings nothing is closed after the times that [`Limits`] gives. Nothing here knows what
//! the requests are about. A connection is watched in `connection`, a request is let in by `admission`.

mod admission;
mod connection;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use admission::{Admission, Streams};
use axum::Router;
use axum::http::request::Parts;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::capacity;
use crate::config::Limits;
use crate::telemetry::Metrics;

/// Headers of a request: twice what proxies and senders together add in practice.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's head: twice the customary 8 KiB of a web server, for long tokens.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Requests that one HTTP/2 connection may have open: the largest documented burst, on eight connections.
const STREAMS_MAX: u32 = 64;
/// Bytes that an HTTP/2 peer may send ahead, per request and per connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Wait after a failed accept, so that a lack of files is not a busy loop: a tenth of what a peer notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Protocols = auto::Builder<TokioExecutor>;

/// A listener with its bounds.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    limits: Limits,
    metrics: Arc<Metrics>,
    streams: Streams,
}

/// How a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections whose requests did not end in time.
    pub cut: usize,
}

impl Listener {
    /// `name` is the label in metrics and logs. Fewer connections than configured are taken if the process
    /// cannot open so many files, and that is logged.
    #[must_use]
    pub fn new(name: &'static str, socket: TcpListener, limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let connections_max =
            capacity::connections_within(limits.connections_max, capacity::open_files_max());
        if connections_max < limits.connections_max {
            tracing::warn!(
                listener = name,
                configured = limits.connections_max,
                connections_max,
                "fewer connections than configured, since the limit on open files is low; raise it \
                 (LimitNOFILE= in the systemd unit, ulimit -n in a shell)"
            );
        }
        let limits = Limits { connections_max, ..limits.clone() };
        Self { name, socket, limits, metrics, streams: |_| false }
    }

    /// Hands the bodies of these requests over as they come: the application bounds their size and their time.
    #[must_use]
    pub fn streaming(self, streams: fn(&Parts) -> bool) -> Self {
        Self { streams, ..self }
    }

    /// Serves `app` until `shutdown`, then lets open requests end within `limits.drain_timeout`.
    ///
    /// `app` gets requests with their whole body in memory, of at most `limits.body_bytes_max`, but for those
    /// that it streams; everything
    /// that breaks a limit is answered before it (431, 413, 408, 400, 503).
    pub async fn serve(self, app: Router, shutdown: CancellationToken) -> Drained {
        let Self { name, socket, limits, metrics, streams } = self;
        let protocols = Arc::new(protocols());
        let admission = Admission::new(name, app, limits.clone(), Arc::clone(&metrics), streams);
        let admission = Arc::new(admission);
        let mut open = JoinSet::new();
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = open.join_next() => {
                    metrics.connections(name, open.len());
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok(_) if open.len() >= limits.connections_max => metrics.connection_refused(name),
                Ok((stream, _)) => {
                    failing = false;
                    let (protocols, admission) = (Arc::clone(&protocols), Arc::clone(&admission));
                    open.spawn(connect(stream, protocols, admission, shutdown.clone()));
                    metrics.connections(name, open.len());
                }
                Err(error) if concerns_one_peer(&error) => {}
                Err(error) => {
                    if !failing {
                        tracing::error!(listener = name, %error, "connections cannot be accepted; retrying");
                    }
                    failing = true;
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(socket);
        let drained = drain(open, limits.drain_timeout).await;
        metrics.connections(name, 0);
        drained
    }
}

async fn connect(
    stream: TcpStream,
    protocols: Arc<Protocols>,
    admission: Arc<Admission>,
    shutdown: CancellationToken,
) {
    // Answers are small and are wanted at once. A socket that refuses this works all the same.
    let _ = stream.set_nodelay(true);
    connection::serve(stream, &protocols, admission, shutdown).await;
}

async fn drain(mut open: JoinSet<()>, time: Duration) -> Drained {
    let deadline = Instant::now() + time;
    while let Ok(Some(_)) = timeout_at(deadline, open.join_next()).await {}
    let cut = open.len();
    open.shutdown().await;
    Drained { cut }
}

/// Whether an accept failed only for the peer that had called, as accept(2) has it; another may follow.
fn concerns_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn protocols() -> Protocols {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The watch over the connection does this, for both protocols and from the first byte on.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(HEAD_BYTES_MAX);
    builder
}
