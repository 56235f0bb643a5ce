//! What the simulators' tests share: a clock that stands, a client, and a subscriber that notes what it got.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Answer, Call, Faults, Sandbox, Simulator, delivery};
use crate::clock::{ManualClock, SharedClock};
use crate::domain::Timestamp;
use crate::domain::timestamp::TimeFormat;

/// 2024-05-16T10:00:00Z
pub(super) fn noon_less_two() -> Timestamp {
    time("2024-05-16T10:00:00Z")
}

pub(super) fn time(text: &str) -> Timestamp {
    Timestamp::parse(text, TimeFormat::Iso8601).unwrap()
}

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(noon_less_two()))
}

/// Serves on a free port of the loopback address until the test's runtime ends; gives the base URL.
pub(super) async fn serve(simulators: Vec<Arc<dyn Simulator>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Sandbox::new(simulators).serve(listener, CancellationToken::new()));
    format!("http://{address}")
}

/// An answer as a client sees it.
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: hyper::HeaderMap,
    pub(super) text: String,
}

impl Seen {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A client of the simulated API.
pub(super) struct Client {
    pub(super) base: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Client {
    pub(super) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.push((name, value.into()));
        Self { base: self.base.clone(), headers }
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<reqwest::Response, reqwest::Error> {
        let method = method.parse().unwrap();
        let request = delivery::client().unwrap().request(method, format!("{}{path}", self.base));
        let request =
            self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        request.body(body.to_owned()).send().await
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: &str) -> Seen {
        let answer = self.send(method, path, body).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Seen { status, headers, text: answer.text().await.unwrap() }
    }

    pub(super) async fn get(&self, path: &str) -> Seen {
        self.call("GET", path, "").await
    }
}

/// A subscriber: notes every request, and gives a handshake's secret back.
pub(super) struct Subscriber {
    calls: Mutex<Vec<Call>>,
    refusals: AtomicU32,
    faults: Faults,
    clock: SharedClock,
}

impl Subscriber {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            refusals: AtomicU32::new(0),
            faults: Faults::default(),
            clock: clock(),
        })
    }

    /// The next `count` requests are noted and answered with 500.
    pub(super) fn refuse_next(&self, count: u32) {
        self.refusals.store(count, Ordering::SeqCst);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Simulator for Subscriber {
    fn owns(&self, _: &str) -> bool {
        true
    }

    async fn answer(&self, call: &Call) -> Answer {
        self.calls.lock().unwrap().push(call.clone());
        let refuse =
            self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refuse.is_ok() {
            return Answer::new(StatusCode::INTERNAL_SERVER_ERROR, json!({}));
        }
        let mut answer = Answer::ok(json!({}));
        if let Some(secret) = call.header("x-hook-secret").filter(|_| call.body.is_empty()) {
            answer.headers.push(("x-hook-secret", secret.to_owned()));
        }
        answer
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}
