//! What goes wrong with an answer, as data: a script of faults, one for each of the next requests.
//!
//! Exists so that a test or a rehearsal can say what an upstream does to us, in order, without chance. It
//! knows nothing of any upstream's routes.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::time::Sleep;

use super::Answer;
use crate::domain::Timestamp;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing: the true answer.
    Pass,
    /// This answer, and the request has no effect.
    Instead { status: u16, headers: Vec<(String, String)>, body: String },
    /// The true answer with one value replaced, named by a JSON pointer (`/count`). Where the pointer leads
    /// nowhere the answer stays true.
    Edit { pointer: String, value: Value },
    /// The length of the true answer is promised, and the connection ends after half of it.
    Cut,
    /// The true answer in this many pieces, with a pause before each.
    Drip { pieces: usize, pause: Duration },
    /// What is listed moves before the true answer is made.
    Shift,
    /// The true answer with a `Date` that is off by so many seconds.
    DateOff(i64),
}

impl Fault {
    /// 429 with this `Retry-After`: seconds, an HTTP date, or what no client can read.
    #[must_use]
    pub fn too_many(retry_after: &str) -> Self {
        Self::instead(429, &[("retry-after", retry_after)], r#"{"error":"too many requests"}"#)
    }

    #[must_use]
    pub fn server_error() -> Self {
        Self::instead(500, &[], r#"{"error":"internal server error"}"#)
    }

    /// 200 with a page that is no JSON, as a proxy in between gives it.
    #[must_use]
    pub fn garbage() -> Self {
        Self::instead(200, &[("content-type", "text/html")], "<html><body>Please wait</body></html>")
    }

    /// A redirect, which may lead to another host.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        Self::instead(302, &[("location", location)], "")
    }

    /// A page that names another total than the last one.
    #[must_use]
    pub fn total(count: u64) -> Self {
        Self::Edit { pointer: "/count".into(), value: count.into() }
    }

    /// A page that says it is another one.
    #[must_use]
    pub fn page(number: u64) -> Self {
        Self::Edit { pointer: "/page".into(), value: number.into() }
    }

    fn instead(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self::Instead { status, headers, body: body.into() }
    }
}

/// The script of one simulator. Every request takes the next fault; after the last one, what comes round applies,
/// and else all is well.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Script>);

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Fault>,
    /// Each comes with every so many requests; the first that is due counts.
    rounds: Vec<(u64, Fault)>,
    requests: u64,
}

impl Faults {
    /// Adds faults to the end of the script.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.locked().next.extend(faults);
    }

    /// Has a fault come round with every `nth` request.
    pub fn every(&self, nth: NonZeroU64, fault: Fault) {
        self.locked().rounds.push((nth.get(), fault));
    }

    pub(super) fn next(&self) -> Fault {
        let mut script = self.locked();
        script.requests += 1;
        if let Some(fault) = script.next.pop_front() {
            return fault;
        }
        let requests = script.requests;
        let due = script.rounds.iter().find(|(nth, _)| requests.is_multiple_of(*nth));
        due.map_or(Fault::Pass, |(_, fault)| fault.clone())
    }

    fn locked(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `at` as HTTP writes it (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn http_date(at: Timestamp) -> String {
    let at = at.to_datetime().unwrap_or_default();
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The answer as it goes out, after the fault.
pub(super) fn render(answer: Answer, fault: Fault, now: Timestamp) -> Response<ScriptedBody> {
    let mut date = now;
    let mut answer = answer;
    let mut shape = Shape::Whole;
    match fault {
        Fault::Pass | Fault::Shift => {}
        Fault::Instead { status, headers, body } => return instead(status, &headers, body, now),
        Fault::Edit { pointer, value } => {
            if let Some(place) = answer.body.pointer_mut(&pointer) {
                *place = value;
            }
        }
        Fault::Cut => shape = Shape::Cut,
        Fault::Drip { pieces, pause } => shape = Shape::Drip { pieces, pause },
        Fault::DateOff(seconds) => {
            date = Timestamp::from_seconds(now.seconds().saturating_add(seconds));
        }
    }
    let body = Bytes::from(answer.text());
    let mut builder = Response::builder()
        .status(answer.status)
        .header("date", http_date(date))
        .header("content-type", "application/json")
        .header("content-length", body.len());
    for (name, value) in answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(ScriptedBody::new(body, shape)).unwrap_or_else(|_| unspeakable())
}

fn instead(
    status: u16,
    headers: &[(String, String)],
    body: String,
    now: Timestamp,
) -> Response<ScriptedBody> {
    let mut builder = Response::builder().status(status).header("date", http_date(now));
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(ScriptedBody::new(body.into(), Shape::Whole)).unwrap_or_else(|_| unspeakable())
}

/// For a script that asks for a status or a header which HTTP can't carry.
fn unspeakable() -> Response<ScriptedBody> {
    let text = "the script asks for an answer that http cannot carry";
    let mut response = Response::new(ScriptedBody::new(text.into(), Shape::Whole));
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    response
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Whole,
    Cut,
    Drip { pieces: usize, pause: Duration },
}

/// A body that comes in pieces, with pauses, and may end too early.
pub(super) struct ScriptedBody {
    pieces: VecDeque<Bytes>,
    pause: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    /// The server throws away what it has not flushed when a body fails, and it flushes when a body waits.
    FlushThenCut,
    Cut,
}

impl ScriptedBody {
    fn new(body: Bytes, shape: Shape) -> Self {
        let (pieces, pause, end) = match shape {
            Shape::Whole => (VecDeque::from([body]), None, End::Clean),
            Shape::Cut => (VecDeque::from([body.slice(..body.len() / 2)]), None, End::FlushThenCut),
            Shape::Drip { pieces, pause } => {
                let size = body.len().div_ceil(pieces.max(1)).max(1);
                (body.chunks(size).map(|piece| body.slice_ref(piece)).collect(), Some(pause), End::Clean)
            }
        };
        Self { pieces, pause, sleep: None, end }
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let (Some(pause), false) = (self.pause, self.pieces.is_empty()) {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            ready!(sleep.as_mut().poll(context));
            self.sleep = None;
        }
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.end {
            End::Clean => Poll::Ready(None),
            End::FlushThenCut => {
                self.end = End::Cut;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            End::Cut => {
                self.end = End::Clean;
                let cut = io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the script");
                Poll::Ready(Some(Err(cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.end == End::Clean
    }

    fn size_hint(&self) -> SizeHint {
        if self.end != End::Clean {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    async fn frames(mut response: Response<ScriptedBody>) -> Vec<Result<Bytes, io::Error>> {
        let mut frames = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            frames.push(frame.map(|frame| frame.into_data().unwrap()));
        }
        frames
    }

    #[tokio::test]
    async fn a_drip_comes_in_as_many_pieces_as_the_script_says() {
        for (pieces, expected) in [(0, 1), (1, 1), (4, 4), (1_000, 12)] {
            let drip = Fault::Drip { pieces, pause: Duration::from_millis(1) };
            let response = render(Answer::ok(json!({"count": 12})), drip, Timestamp::default());
            let frames: Vec<Bytes> = frames(response).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(frames.len(), expected, "{pieces}");
            assert_eq!(frames.concat(), br#"{"count":12}"#);
        }
    }

    #[tokio::test]
    async fn a_cut_promises_the_whole_length_and_breaks_off_after_half() {
        let response = render(Answer::ok(json!({"count": 12})), Fault::Cut, Timestamp::default());
        assert_eq!(response.headers()["content-length"], "12");
        let frames = frames(response).await;
        assert_eq!(frames[0].as_ref().unwrap().as_ref(), br#"{"coun"#);
        assert!(frames[1].is_err());
    }

    #[test]
    fn a_repeated_cursor_is_an_edit_and_an_edit_that_fits_nowhere_changes_nothing() {
        let edit = |pointer: &str| {
            let fault = Fault::Edit { pointer: pointer.into(), value: json!("same") };
            let response = render(Answer::ok(json!({"next": "b"})), fault, Timestamp::default());
            response.body().pieces[0].clone()
        };
        assert_eq!(edit("/next").as_ref(), br#"{"next":"same"}"#);
        assert_eq!(edit("/cursor").as_ref(), br#"{"next":"b"}"#);
    }

    #[test]
    fn a_script_that_http_cannot_carry_says_so() {
        let response = render(Answer::ok(json!({})), Fault::too_many("a\nb"), Timestamp::default());
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    }
}
