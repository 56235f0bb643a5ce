//! Posts webhooks as the simulated upstreams do: many at once, each with its own retries.
//!
//! Exists once for all simulators, which differ in headers and in patience only. It can lose and repeat
//! deliveries on demand, since a feed is for what the webhooks have lost.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Posts that are under way at once; a bulk deletion of 500 is a burst of that many.
const FLIGHTS_MAX: usize = 500;
/// How long an upstream waits for an answer: LeadLex says 10 s, Repliers nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Headers of one delivery's n-th attempt, counted from 0.
pub(super) type AttemptHeaders = Arc<dyn Fn(u32) -> Vec<(&'static str, String)> + Send + Sync>;

/// A webhook to be posted.
#[derive(Clone)]
pub(super) struct Delivery {
    pub(super) url: String,
    pub(super) body: Bytes,
    pub(super) headers: AttemptHeaders,
}

/// What became of the deliveries so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered with 2xx.
    pub delivered: u64,
    /// Attempts that were answered with anything else, or not at all.
    pub refused: u64,
    /// Given up after the last retry, or lost on demand.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Tally {
    delivered: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

/// What may become of a webhook on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mishap {
    /// Never posted.
    Lost,
    /// Posted twice.
    Duplicated,
    /// Posted only after the next one.
    Reordered,
}

#[derive(Default)]
struct Script {
    lose: u32,
    repeat: u32,
    /// Each comes with every so many deliveries; the first that is due counts.
    rounds: Vec<(NonZeroU64, Mishap)>,
    deliveries: u64,
    /// What waits for the next delivery to go first.
    held_back: Vec<Delivery>,
}

/// The deliveries of one simulator. What is still to be retried ends when this is dropped.
pub struct Outbox {
    client: reqwest::Client,
    /// Waits before the second, third, … attempt.
    retries: Arc<[Duration]>,
    flights: Arc<Semaphore>,
    tally: Arc<Tally>,
    script: Mutex<Script>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stopped_with_this: DropGuard,
}

impl Outbox {
    /// Waits `retries` between attempts, in scaled time.
    ///
    /// # Errors
    /// There is no usable TLS configuration on this machine.
    pub fn new(retries: &[Duration], retry_scale: f64) -> Result<Self, reqwest::Error> {
        let stop = CancellationToken::new();
        Ok(Self {
            client: client()?,
            retries: scaled(retries, retry_scale).into(),
            flights: Arc::new(Semaphore::new(FLIGHTS_MAX)),
            tally: Arc::default(),
            script: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
            _stopped_with_this: stop.drop_guard(),
        })
    }

    /// The next `count` deliveries are never posted.
    pub fn lose_next(&self, count: u32) {
        self.script().lose += count;
    }

    /// The next `count` deliveries (that are not lost) are posted twice.
    pub fn repeat_next(&self, count: u32) {
        self.script().repeat += count;
    }

    /// Has a mishap come round with every `nth` delivery.
    pub fn every(&self, nth: NonZeroU64, mishap: Mishap) {
        self.script().rounds.push((nth, mishap));
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            delivered: self.tally.delivered.load(Ordering::SeqCst),
            refused: self.tally.refused.load(Ordering::SeqCst),
            lost: self.tally.lost.load(Ordering::SeqCst),
        }
    }

    /// What waits for a next delivery, which will not come, goes out now.
    pub fn let_go(&self) {
        let held_back = std::mem::take(&mut self.script().held_back);
        for delivery in held_back {
            self.dispatch(vec![delivery]);
        }
    }

    /// Waits until each delivery was answered with 2xx or given up.
    pub async fn settled(&self) {
        self.let_go();
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// Posts once and gives back the status and the answer's header `echo`; for handshakes.
    pub(super) async fn ask(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        echo: &str,
    ) -> Option<(StatusCode, Option<String>)> {
        let answer = post(&self.client, url, headers, Bytes::new()).await.ok()?;
        let echoed = answer.headers().get(echo).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Some((answer.status(), echoed))
    }

    /// Posts in the background, with retries.
    pub(super) fn send(&self, delivery: Delivery) {
        let mut script = self.script();
        let mut row = vec![delivery];
        match script.mishap() {
            None => {}
            Some(Mishap::Lost) => {
                self.tally.lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Some(Mishap::Duplicated) => {
                let copy = row[0].clone();
                self.dispatch(vec![copy]);
            }
            Some(Mishap::Reordered) => {
                script.held_back.append(&mut row);
                return;
            }
        }
        row.append(&mut script.held_back);
        drop(script);
        self.dispatch(row);
    }

    /// Posts one after the other.
    fn dispatch(&self, row: Vec<Delivery>) {
        let (client, retries) = (self.client.clone(), Arc::clone(&self.retries));
        let (flights, tally) = (Arc::clone(&self.flights), Arc::clone(&self.tally));
        let attempts = async move {
            for delivery in row {
                attempt(&client, &delivery, &retries, &flights, &tally).await;
            }
        };
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(attempts));
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How fast the time between retries runs: 0.001 makes an hour 3.6 s. Anything that is no such number is taken as 0.
pub(super) fn scaled(retries: &[Duration], scale: f64) -> Vec<Duration> {
    let scaled = |wait: &Duration| Duration::try_from_secs_f64(wait.as_secs_f64() * scale);
    retries.iter().map(|wait| scaled(wait).unwrap_or_default()).collect()
}

impl Script {
    /// What happens to the next delivery.
    fn mishap(&mut self) -> Option<Mishap> {
        self.deliveries += 1;
        if self.lose > 0 {
            self.lose -= 1;
            return Some(Mishap::Lost);
        }
        if self.repeat > 0 {
            self.repeat -= 1;
            return Some(Mishap::Duplicated);
        }
        let due = self.rounds.iter().find(|(nth, _)| self.deliveries.is_multiple_of(nth.get()));
        due.map(|(_, mishap)| *mishap)
    }
}

async fn attempt(
    client: &reqwest::Client,
    delivery: &Delivery,
    retries: &[Duration],
    flights: &Semaphore,
    tally: &Tally,
) {
    let waits = std::iter::once(Duration::ZERO).chain(retries.iter().copied());
    for (number, wait) in (0..).zip(waits) {
        tokio::time::sleep(wait).await;
        let Ok(_flight) = flights.acquire().await else { return };
        let posted = post(client, &delivery.url, &(delivery.headers)(number), delivery.body.clone()).await;
        if posted.is_ok_and(|answer| answer.status().is_success()) {
            tally.delivered.fetch_add(1, Ordering::SeqCst);
            return;
        }
        tally.refused.fetch_add(1, Ordering::SeqCst);
    }
    tally.lost.fetch_add(1, Ordering::SeqCst);
}

async fn post(
    client: &reqwest::Client,
    url: &str,
    headers: &[(&'static str, String)],
    body: Bytes,
) -> Result<reqwest::Response, reqwest::Error> {
    let request = client.post(url).body(body);
    headers.iter().fold(request, |request, (name, value)| request.header(*name, value)).send().await
}

/// The one way to a client here. Reqwest is built without a TLS provider and panics where none is installed.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // An error says that the process has a provider already, which serves as well.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_TIMEOUT)
        .no_proxy()
        .build()
}
