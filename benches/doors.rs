//! Doors to compare with: they verify and parse as the daemon's does, and then do less.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts as Head;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use expunged::clock::{Clock, SystemClock};
use expunged::config::Config;
use expunged::sources::payload::Parser;
use expunged::sources::signature::{Request, Verifier};
use tokio::sync::oneshot;

/// Deliveries in one write: as many as one commit of the journal takes.
const WRITE_MAX: usize = 512;

type Line = (Bytes, oneshot::Sender<bool>);

struct Door {
    verifier: Verifier,
    parser: Parser,
    file: Option<mpsc::Sender<Line>>,
}

/// Verifies, parses, and answers.
pub fn forgetful(config: &Config) -> anyhow::Result<axum::Router> {
    door(config, None)
}

/// Verifies, parses, and answers once the body is in a file: one thread, one fdatasync for all that wait.
pub fn plain_file(config: &Config, path: &Path) -> anyhow::Result<axum::Router> {
    let file = File::create(path)?;
    let (lines, received) = mpsc::channel();
    std::thread::spawn(move || append(file, &received));
    door(config, Some(lines))
}

fn append(mut file: File, lines: &mpsc::Receiver<Line>) {
    let mut buffer = Vec::new();
    let mut waiting = Vec::new();
    while let Ok(first) = lines.recv() {
        let more = std::iter::from_fn(|| lines.try_recv().ok());
        for (body, answer) in std::iter::once(first).chain(more.take(WRITE_MAX - 1)) {
            buffer.extend_from_slice(&body);
            buffer.push(b'\n');
            waiting.push(answer);
        }
        let written = file.write_all(&buffer).and_then(|()| file.sync_data()).is_ok();
        buffer.clear();
        for answer in waiting.drain(..) {
            answer.send(written).ok();
        }
    }
}

fn door(config: &Config, file: Option<mpsc::Sender<Line>>) -> anyhow::Result<axum::Router> {
    let source = config.sources.first().context("no source")?;
    let auth = source.auth.as_ref().context("no scheme")?;
    let door = Door { verifier: Verifier::new(auth)?, parser: Parser::new(source), file };
    Ok(axum::Router::new().route("/hooks/{source}", post(answer)).with_state(Arc::new(door)))
}

async fn answer(State(door): State<Arc<Door>>, head: Head, body: Bytes) -> Response {
    let asked = Request { method: head.method.as_str(), url: None, headers: &head.headers, body: &body };
    let Ok(verified) = door.verifier.verify(&asked, SystemClock.now()) else {
        return told(StatusCode::UNAUTHORIZED);
    };
    let parsed = door.parser.parse(&body, &head.headers, None, &verified);
    if parsed.is_ok_and(|parsed| parsed.notices.len() != 1) {
        return told(StatusCode::BAD_REQUEST);
    }
    if let Some(file) = &door.file {
        let (answer, answered) = oneshot::channel();
        if file.send((body, answer)).is_err() || !answered.await.unwrap_or(false) {
            return told(StatusCode::SERVICE_UNAVAILABLE);
        }
    }
    told(StatusCode::ACCEPTED)
}

fn told(status: StatusCode) -> Response {
    let mut response = Response::new(Body::from("{\"receipt\":\"1\"}"));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
