//! Serves simulators over HTTP/1.1 and HTTP/2 without TLS.
//!
//! Exists apart from the daemon's listener: that one defends itself against strangers, this one stands in for
//! an upstream on a loopback address. It bounds a request's size and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fault::{ScriptedBody, render};
use super::{Answer, Call, Fault, Sandbox};
use crate::clock::{Clock, SystemClock};

/// Pause after a connection that could not be accepted: out of files, the next one fails as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a request's body: the largest documented one (500 ids) has some 20 kB.
const BODY_BYTES_MAX: usize = 1024 * 1024;

impl Sandbox {
    /// Serves until `stop` is cancelled; open connections are dropped then.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let sandbox = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let sandbox = Arc::clone(&sandbox);
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let sandbox = Arc::clone(&sandbox);
                    async move { Ok::<_, Infallible>(sandbox.respond(request).await) }
                });
                // A client that hangs up, or a scripted cut, ends in an error that means nothing here.
                let _ended =
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<ScriptedBody> {
        let Some(call) = read(request).await else {
            let refusal = Answer::new(StatusCode::PAYLOAD_TOO_LARGE, json!({"error": "body unreadable"}));
            return render(refusal, Fault::Pass, SystemClock.now());
        };
        let Some(owner) = self.owner(&call) else {
            let unknown = Answer::new(StatusCode::NOT_FOUND, json!({"error": "not found"}));
            return render(unknown, Fault::Pass, SystemClock.now());
        };
        let fault = owner.faults().next();
        let answer = match &fault {
            Fault::Instead { .. } => Answer::ok(json!({})),
            Fault::Shift => {
                owner.shift();
                owner.answer(&call).await
            }
            _ => owner.answer(&call).await,
        };
        render(answer, fault, owner.clock().now())
    }
}

async fn read(request: Request<Incoming>) -> Option<Call> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.ok()?.to_bytes();
    let segments =
        head.uri.path().split('/').filter(|segment| !segment.is_empty()).map(percent_decoded).collect();
    let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    Some(Call {
        method: head.method,
        segments,
        query: query.into_owned().collect(),
        headers: head.headers,
        body,
    })
}

fn percent_decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let decoded = escaped.and_then(|digits| hex::decode(digits).ok());
        rest = if decoded.is_some() { &after[2..] } else { after };
        bytes.push(decoded.map_or(*first, |byte| byte[0]));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_a_path_are_decoded_once_and_broken_ones_are_kept() {
        for (escaped, plain) in
            [("deal-1", "deal-1"), ("a%2Fb", "a/b"), ("%25%32", "%2"), ("a%2", "a%2"), ("%zz", "%zz")]
        {
            assert_eq!(percent_decoded(escaped), plain);
        }
    }
}
