//! The transport over HTTP: where credentials may go, and what of an answer is read.

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::{Attempt, Policy};

use super::{Ask, Response, Transport, TransportFault};
use crate::config::source::Access;
use crate::outbound::{self, Unread};
use crate::sources::feed::FeedError;

/// More redirects than that are a loop.
const REDIRECTS_MAX: usize = 3;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) struct Http {
    client: reqwest::Client,
    body_max: usize,
}

impl Http {
    pub(super) fn new(access: &Access) -> Result<Self, FeedError> {
        let headers =
            outbound::headers(&access.headers).map_err(|error| FeedError::Setup(error.to_string()))?;
        let client = outbound::client(access.timeout)
            .default_headers(headers)
            .redirect(Policy::custom(same_origin))
            .build()
            .map_err(|error| FeedError::Setup(format!("HTTP client: {}", outbound::cause(&error))))?;
        Ok(Self { client, body_max: access.page_bytes_max })
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
        let body = if status.is_success() {
            outbound::body(&mut response, self.body_max).await.map_err(unread)?
        } else {
            Bytes::new()
        };
        Ok(Response { status, headers, body })
    }
}

/// The client's own rule for redirects strips the standard credential headers alone, and an upstream's may
/// have any name: so none is followed off the origin. One that is not followed is answered as it came.
fn same_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let within = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if within && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

fn unread(unread: Unread) -> TransportFault {
    match unread {
        Unread::TooLarge(bytes_max) => TransportFault::TooLarge(bytes_max),
        Unread::Broken(error) => fault(error),
    }
}

fn fault(error: reqwest::Error) -> TransportFault {
    let error = error.without_url();
    if error.is_timeout() {
        TransportFault::Timeout
    } else if error.is_connect() {
        TransportFault::Connect(outbound::cause(&error))
    } else {
        TransportFault::Broken(outbound::cause(&error))
    }
}
