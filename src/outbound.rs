//! How requests go out, to upstreams and to vendors alike: as whom, how fast, and with which end.
//!
//! Knows nothing of what is asked for. What it says of a failure holds no URL, header or body (I10).

pub mod asked;
pub mod http_date;
mod pace;

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Response};

pub use pace::Pace;

use crate::config::Secret;

/// A host that has not taken a connection by then is down or not there; waiting longer tells no more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("expunged/", env!("CARGO_PKG_VERSION"));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A header's name or value cannot be sent; names the header, and not its value.
#[derive(Debug, thiserror::Error)]
#[error("header {0} is not one that HTTP can carry")]
pub struct Unsendable(String);

/// Why an answer's body is not there as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer broke off")]
    Broken(#[from] reqwest::Error),
}

/// A client that gives up after `timeout`, and goes nowhere that its user did not name: its user says what
/// becomes of redirects.
pub fn client(timeout: Duration) -> ClientBuilder {
    // The client comes without cryptography of its own and takes the process's; the trust store is the
    // platform's. Where somebody has chosen before, that choice stands.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .timeout(timeout)
        .referer(false)
}

/// Headers of a request that wants JSON, with credentials among them.
///
/// # Errors
/// One of them cannot be sent.
pub fn headers(given: &[(String, Secret)]) -> Result<HeaderMap, Unsendable> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, JSON);
    for (name, secret) in given {
        let unsendable = || Unsendable(name.clone());
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?;
        let mut value = HeaderValue::from_bytes(secret.expose()).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The body, if it has no more bytes than that.
///
/// # Errors
/// It is larger, or does not come to its end.
pub async fn body(response: &mut Response, bytes_max: usize) -> Result<Bytes, Unread> {
    let too_large = || Err(Unread::TooLarge(bytes_max));
    if response.content_length().is_some_and(|length| length > bytes_max as u64) {
        return too_large();
    }
    let mut body = BytesMut::new();
    // Counted while reading too, since the length that a header declares proves nothing.
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > bytes_max {
            return too_large();
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The innermost cause: it says what happened, and the others where in the client, with the URL.
#[must_use]
pub fn cause(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else { return "unknown cause".into() };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
