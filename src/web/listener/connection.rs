//! One connection, and the watch over it.
//!
//! The protocol libraries wait without end for the preface of HTTP/2, for the next request, and for a peer to
//! take its answer. The watch needs to know only whether any request waits for us, and if none does, since
//! when the next step is the peer's.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Protocols;
use super::admission::Admission;

/// Time for a peer to take the last words of a connection (an answer, HTTP/2's GOAWAY) before it is cut.
const FAREWELL: Duration = Duration::from_millis(250);

/// What the watch knows of a connection.
#[derive(Debug)]
pub(super) struct Watch {
    state: Mutex<State>,
    given_up: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests that wait for us: their body is being read (which has its own time), the application works on
    /// them, or the next piece of their answer is not ready.
    ours: usize,
    /// When the peer last got us to work, or got something from us: the next step is its own.
    peer_since: Instant,
}

impl Watch {
    fn new(now: Instant) -> Self {
        Self { state: Mutex::new(State { ours: 0, peer_since: now }), given_up: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's head is complete. Also tells since when the connection had waited for it.
    pub(super) fn begin(self: &Arc<Self>, now: Instant) -> (Turn, Instant) {
        let mut state = self.state();
        let waited_since = if state.ours == 0 { state.peer_since } else { now };
        state.ours += 1;
        (Turn { watch: Arc::clone(self), ours: true }, waited_since)
    }

    /// Nothing more is to be taken from this peer.
    pub(super) fn give_up(&self) {
        self.given_up.notify_one();
    }

    /// When the peer's time is over, if the next step is its own.
    fn peer_until(&self, patience: Duration) -> Option<Instant> {
        let state = self.state();
        (state.ours == 0).then(|| state.peer_since + patience)
    }
}

/// Whose turn it is with a request.
#[derive(Debug)]
pub(super) struct Turn {
    watch: Arc<Watch>,
    ours: bool,
}

impl Turn {
    /// We owe the peer something.
    pub(super) fn ours(&mut self) {
        if !self.ours {
            self.ours = true;
            self.watch.state().ours += 1;
        }
    }

    /// The peer has something to take.
    pub(super) fn theirs(&mut self) {
        let mut state = self.watch.state();
        state.peer_since = Instant::now();
        if self.ours {
            self.ours = false;
            state.ours -= 1;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.theirs();
    }
}

/// Serves a connection until the peer ends it, breaks a limit, or the daemon stops.
pub(super) async fn serve(
    stream: TcpStream,
    protocols: &Protocols,
    admission: Arc<Admission>,
    shutdown: CancellationToken,
) {
    let patience = admission.limits.head_timeout;
    let watch = Arc::new(Watch::new(Instant::now()));
    let service = {
        let watch = Arc::clone(&watch);
        service_fn(move |request| Arc::clone(&admission).answer(Arc::clone(&watch), request))
    };
    let mut connection = pin!(protocols.serve_connection(TokioIo::new(stream), service));
    let mut stopping = false;
    let mut farewell_until = None;
    loop {
        let now = Instant::now();
        let look = match (farewell_until, watch.peer_until(patience)) {
            (None, Some(end)) if end <= now => {
                connection.as_mut().graceful_shutdown();
                *farewell_until.insert(now + FAREWELL)
            }
            // Whatever becomes the peer's turn meanwhile ends later than this.
            (None, end) => end.unwrap_or(now + patience),
            (Some(end), _) if now < end => end,
            (Some(_), Some(_)) => return,
            (Some(_), None) => now + FAREWELL,
        };
        tokio::select! {
            // Faults of the protocol are the peer's affair: there is nothing to be done about them.
            _ = connection.as_mut() => return,
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = watch.given_up.notified() => {
                connection.as_mut().graceful_shutdown();
                farewell_until.get_or_insert_with(|| Instant::now() + FAREWELL);
            }
            () = sleep_until(look) => {}
        }
    }
}
