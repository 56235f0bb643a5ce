//! The transport over HTTP: where credentials may go, how long an answer may take, and how large it may be.

use std::error::Error;
use std::time::Duration;

use super::{Ask, Response, Transport, TransportFault};
use crate::config::source::Access;
use crate::sources::feed::FeedError;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};

/// A host that has not taken a connection by then is down or not there; waiting longer tells no more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// More redirects than that are a loop.
const REDIRECTS_MAX: usize = 3;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

const USER_AGENT: &str = concat!("expunged/", env!("CARGO_PKG_VERSION"));

pub(super) struct Http {
    client: reqwest::Client,
    body_max: usize,
}

impl Http {
    pub(super) fn new(access: &Access) -> Result<Self, FeedError> {
        // The HTTP client comes without cryptography of its own and takes the process's; the trust store is
        // the platform's. Where somebody has chosen before, that choice stands.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers(access)?)
            .connect_timeout(CONNECT_TIMEOUT.min(access.timeout))
            .timeout(access.timeout)
            .redirect(Policy::custom(same_origin))
            .referer(false)
            .build()
            .map_err(|error| FeedError::Setup(format!("HTTP client: {}", causes(&error))))?;
        Ok(Self { client, body_max: access.page_bytes_max })
    }

    /// Stops at the limit while reading, since the length that a header declares proves nothing.
    async fn body(&self, response: &mut reqwest::Response) -> Result<Bytes, TransportFault> {
        let too_large = TransportFault::TooLarge(self.body_max);
        if response.content_length().is_some_and(|length| length > self.body_max as u64) {
            return Err(too_large);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(fault)? {
            if body.len() + chunk.len() > self.body_max {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

#[async_trait]
impl Transport for Http {
    async fn ask(&self, ask: &Ask<'_>) -> Result<Response, TransportFault> {
        let mut request = self.client.request(ask.method.clone(), ask.url.clone());
        if let Some(json) = &ask.body {
            request = request.header(CONTENT_TYPE, JSON).body(json.clone());
        }
        let mut response = request.send().await.map_err(fault)?;
        let (status, headers) = (response.status(), response.headers().clone());
        // Only a page is worth reading: what an error says is not for our logs.
        let body = if status.is_success() { self.body(&mut response).await? } else { Bytes::new() };
        Ok(Response { status, headers, body })
    }
}

/// The client's own rule for redirects strips the standard credential headers alone, and an upstream's may
/// have any name: so none is followed off the origin. One that is not followed is answered as it came.
fn same_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let within = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if within && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

fn headers(access: &Access) -> Result<HeaderMap, FeedError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, JSON);
    for (name, secret) in &access.headers {
        let unusable = || FeedError::Setup(format!("header {name} is not one that HTTP can carry"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        let mut value = HeaderValue::from_bytes(secret.expose()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn fault(error: reqwest::Error) -> TransportFault {
    let error = error.without_url();
    if error.is_timeout() {
        TransportFault::Timeout
    } else if error.is_connect() {
        TransportFault::Connect(causes(&error))
    } else {
        TransportFault::Broken(causes(&error))
    }
}

/// The innermost cause says what happened, the others where in the client.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
