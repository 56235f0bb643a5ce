//! Asks an upstream for one page at a time: politely, patiently, and with an end.
//!
//! It keeps to the feed's own rate and to whatever the upstream asks for, tries again where that can help,
//! and says in the end what was wrong without quoting a body, a query or a header (I10). It knows nothing of
//! what a page holds.

mod http;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{DATE, HeaderMap, LINK, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use url::Url;

use super::FeedError;
use crate::backoff::{self, Backoff, Dice};
use crate::clock::SharedClock;
use crate::config::source::Access;
use crate::domain::Timestamp;
use crate::outbound::{Pace, asked, http_date};

/// An upstream that says "now" would be asked in a loop.
const ASKED_MIN: Duration = Duration::from_secs(1);
/// An upstream that says "in three years" would silence the feed.
const ASKED_MAX: Duration = Duration::from_hours(1);

/// Half a second is often enough; a minute of trouble is sat out in six tries.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), cap: Duration::from_mins(1) };

/// What an upstream answered, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no whole answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportFault {
    #[error("the answer took too long")]
    Timeout,
    #[error("no connection ({0})")]
    Connect(String),
    #[error("the answer broke off ({0})")]
    Broken(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// One question to an upstream.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    method: Method,
    pub url: &'a Url,
    /// Sent as JSON.
    body: Option<Bytes>,
}

impl<'a> Ask<'a> {
    #[must_use]
    pub fn get(url: &'a Url) -> Self {
        Self { method: Method::GET, url, body: None }
    }

    #[must_use]
    pub fn post(url: &'a Url, json: String) -> Self {
        Self { method: Method::POST, url, body: Some(json.into()) }
    }

    #[must_use]
    pub fn delete(url: &'a Url) -> Self {
        Self { method: Method::DELETE, url, body: None }
    }

    /// A page is there or not; what changes something upstream may be answered in several ways.
    fn is_answered_by(&self, status: u16) -> bool {
        status == 200 || (self.method != Method::GET && (200..300).contains(&status))
    }
}

/// Carries one request. Apart from the client, so that patience can be tested without a network.
#[async_trait]
pub trait Transport: Send + Sync {
    /// # Errors
    /// Whatever keeps the answer from being there as a whole; an answer of any status is one.
    async fn ask(&self, ask: &Ask<'_>) -> Result<Response, TransportFault>;
}

/// A page as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    pub body: Bytes,
    /// The upstream's time of day.
    pub date: Option<Timestamp>,
    /// `Link` headers, in their order; `None` for one that is not text.
    pub links: Vec<Option<String>>,
}

/// The client of one upstream. Its pace outlasts a run.
pub struct Client {
    transport: Box<dyn Transport>,
    clock: SharedClock,
    dice: Dice,
    attempts_max: u32,
    pace: Pace,
}

/// Why one try failed although another may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("status {0}")]
    Status(u16),
    #[error(transparent)]
    Transport(#[from] TransportFault),
}

impl Client {
    /// Connects over HTTP, with TLS as the platform trusts it.
    ///
    /// # Errors
    /// A header or the trust store cannot be used.
    pub fn new(access: &Access, clock: SharedClock) -> Result<Self, FeedError> {
        let transport = http::Http::new(access)?;
        Ok(Self::over(Box::new(transport), access, clock, backoff::fair_dice()))
    }

    /// Over any transport.
    #[must_use]
    pub fn over(transport: Box<dyn Transport>, access: &Access, clock: SharedClock, dice: Dice) -> Self {
        let pace = Pace::new(access.rate_per_second);
        Self { transport, clock, dice, attempts_max: access.attempts_max.max(1), pace }
    }

    /// The local time of day.
    #[must_use]
    pub fn local_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// # Errors
    /// The upstream refused, or did not answer in any of the tries.
    pub async fn get(&self, url: &Url) -> Result<Answer, FeedError> {
        self.ask(&Ask::get(url)).await
    }

    /// Asks once or several times: for what changes something upstream, only if a repeat changes nothing more.
    ///
    /// # Errors
    /// The upstream refused, or did not answer in any of the tries.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, FeedError> {
        let url = ask.url;
        let mut attempt = 1;
        loop {
            self.pace.wait().await;
            let (trouble, asked_wait) = match self.transport.ask(ask).await {
                Ok(response) => match self.judge(ask, response)? {
                    Judged::Answer(answer) => return Ok(answer),
                    Judged::Again(trouble, wait) => (trouble, wait),
                },
                Err(TransportFault::TooLarge(limit)) => {
                    return Err(FeedError::TooLarge { url: shown(url), limit });
                }
                Err(fault) => (Trouble::Transport(fault), None),
            };
            if attempt >= self.attempts_max {
                return Err(FeedError::Exhausted { url: shown(url), attempts: attempt, last: trouble });
            }
            let wait = asked_wait.unwrap_or_else(|| BACKOFF.wait(attempt, &self.dice));
            tracing::warn!(url = shown(url), attempt, ?wait, %trouble, "request failed, trying again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    fn judge(&self, ask: &Ask<'_>, response: Response) -> Result<Judged, FeedError> {
        let url = ask.url;
        let Response { status, headers, body } = response;
        let date = header_text(&headers, DATE.as_str()).and_then(http_date::parse);
        // A time of day in a header is the upstream's, and so is the time that it is compared with.
        let now = date.unwrap_or_else(|| self.local_now());
        if let Some(wait) = quota_wait(&headers, now) {
            self.pace.hold(wait);
        }
        let code = status.as_u16();
        match code {
            code if ask.is_answered_by(code) => {
                let text = |value: &reqwest::header::HeaderValue| value.to_str().ok().map(str::to_owned);
                let links = headers.get_all(LINK).iter().map(text).collect();
                Ok(Judged::Answer(Answer { body, date, links }))
            }
            401 | 403 => Err(FeedError::Credential { url: shown(url), status: code }),
            408 | 429 | 500.. => Ok(Judged::Again(Trouble::Status(code), retry_after(&headers, now))),
            300..=399 => Err(FeedError::Redirect { url: shown(url), status: code }),
            _ => Err(FeedError::Refused { url: shown(url), status: code }),
        }
    }
}

enum Judged {
    Answer(Answer),
    /// With the wait that the upstream asked for.
    Again(Trouble, Option<Duration>),
}

fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let wait = asked::retry_after(header_text(headers, RETRY_AFTER.as_str())?, now)?;
    Some(wait.clamp(ASKED_MIN, ASKED_MAX))
}

/// How long no request is allowed any more: `X-RateLimit-Remaining: 0` until `X-RateLimit-Reset`.
fn quota_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name| asked::whole_number(header_text(headers, name)?);
    if number("x-ratelimit-remaining")? > 0 {
        return None;
    }
    let wait = asked::until_reset(number("x-ratelimit-reset")?, now);
    Some(wait.clamp(ASKED_MIN, ASKED_MAX))
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// A URL for errors and logs: without the user, the password and the query, any of which may be secret.
#[must_use]
pub fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

#[cfg(test)]
mod tests;
