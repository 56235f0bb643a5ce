//! What a request must pass before the application sees it: headers, body, and a place among those that are
//! being worked on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::ServiceExt;

use super::HEADERS_MAX;
use super::connection::{Turn, Watch};
use crate::config::Limits;
use crate::telemetry::Metrics;
use crate::web::body::{BodyFault, Room, read_into};

/// Memory for the bodies of all requests of a listener: 64 of the largest, or thousands of the usual size.
/// Without it, every connection could hold the largest body, and all together many gigabytes.
const BODIES_IN_MEMORY: usize = 64;
/// Seconds after which a peer that was turned away may come again: the queue holds about one second's worth.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The door to the application.
#[derive(Debug)]
pub(super) struct Admission {
    name: &'static str,
    app: Router,
    pub(super) limits: Limits,
    metrics: Arc<Metrics>,
    in_flight: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    /// Whose body the application reads by itself, as it comes.
    streams: Streams,
}

/// Tells by its head whether a request's body is handed over unread.
pub(super) type Streams = fn(&Parts) -> bool;

/// What a request holds while the application works on it and until its answer is handed over.
#[derive(Debug)]
struct Place {
    _in_flight: OwnedSemaphorePermit,
    _memory: Room,
}

#[derive(Clone, Copy, Debug)]
enum Refusal {
    Headers,
    Body(BodyFault),
    Busy,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Headers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Body(fault) => fault.status(),
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "headers_too_many",
            Self::Body(fault) => fault.as_str(),
            Self::Busy => "in_flight_too_many",
        }
    }

    fn answer(self) -> Response<Body> {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = self.status();
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        answer
    }
}

impl Admission {
    pub(super) fn new(
        name: &'static str,
        app: Router,
        limits: Limits,
        metrics: Arc<Metrics>,
        streams: Streams,
    ) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            name,
            // Bodies are bounded here; the framework's own limit would turn away what the operator allowed.
            app: app.layer(DefaultBodyLimit::disable()),
            metrics,
            in_flight: permits(limits.in_flight_max),
            memory: permits(limits.body_bytes_max.saturating_mul(BODIES_IN_MEMORY)),
            limits,
            streams,
        }
    }

    /// Answers a request of a connection.
    pub(super) async fn answer(
        self: Arc<Self>,
        watch: Arc<Watch>,
        request: Request<Incoming>,
    ) -> Result<Response<Held>, Infallible> {
        let (mut turn, waited_since) = watch.begin(Instant::now());
        let (answer, place) = match self.admit(request, waited_since).await {
            Ok((request, place)) => {
                let Ok(answer) = self.app.clone().oneshot(request).await;
                (answer, Some(place))
            }
            Err(refusal) => {
                self.metrics.request_refused(self.name, refusal.as_str());
                if matches!(refusal, Refusal::Body(_)) {
                    // Otherwise a peer could hold the connection with one unfinished body after another.
                    watch.give_up();
                }
                (refusal.answer(), None)
            }
        };
        turn.theirs();
        Ok(answer.map(|body| Held { body, _place: place, turn }))
    }

    /// A place is taken once the body is there: slow peers must not keep others out.
    async fn admit(
        &self,
        request: Request<Incoming>,
        waited_since: Instant,
    ) -> Result<(Request<Body>, Place), Refusal> {
        if request.headers().len() > HEADERS_MAX {
            return Err(Refusal::Headers);
        }
        let (head, body) = request.into_parts();
        let time = (waited_since + self.limits.body_timeout).saturating_duration_since(Instant::now());
        let mut memory = Room::within(Arc::clone(&self.memory));
        let body = if (self.streams)(&head) {
            Body::new(body)
        } else {
            let read = read_into(&mut memory, body, self.limits.body_bytes_max, time).await;
            Body::from(read.map_err(Refusal::Body)?)
        };
        let in_flight = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        let place = Place { _in_flight: in_flight, _memory: memory };
        Ok((Request::from_parts(head, body), place))
    }
}

/// The body of an answer, with what its request holds until the body is handed over.
#[derive(Debug)]
pub(super) struct Held {
    body: Body,
    _place: Option<Place>,
    turn: Turn,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        // A peer that does not take what it got so far keeps the protocol from asking for more.
        if frame.is_pending() {
            self.turn.ours();
        } else {
            self.turn.theirs();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
