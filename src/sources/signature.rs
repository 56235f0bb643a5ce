//! Whether a delivery comes from its upstream, by the rules that the configuration gives as data.
//!
//! The raw bytes are verified before anything parses them, with our own code over `hmac` and `ring`, since
//! verifiers in the field have accepted empty signatures (CVE-2024-21491) and panicked on hostile times. It
//! may not tell a sender why it was refused, and never reads a clock.

mod credential;
mod hmac;
mod key;
mod sign;
mod standard;

use std::fmt;

use axum::http::{HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

pub use key::AuthFault;
pub use sign::{CannotSign, Draft, Signer};

use crate::config::source::{Auth, Scheme};
use crate::domain::{Timestamp, timestamp::TimeFormat};

/// Signatures of one header that are tried: a rotation has two, and each Ed25519 one costs a tenth of a
/// millisecond. The others are passed over.
pub const SIGNATURES_MAX: usize = 8;

/// Characters of a signed delivery id.
pub const ID_CHARS_MAX: usize = 128;

/// A delivery as it came.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The public URL with path and query, byte for byte as the upstream called it. Only schemes that sign it
    /// need it.
    pub url: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// A delivery that comes from its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which of the secrets proved it; 0 is the current one.
    pub secret: usize,
    /// The delivery's id, only where the signature covers it.
    pub delivery_id: Option<String>,
}

/// Why a delivery is not taken for authentic: for metrics and logs, never for the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    #[error("a header that proves the sender is missing")]
    MissingHeader,
    #[error("a header that proves the sender stands more than once")]
    DuplicateHeader,
    #[error("no signature of the expected form")]
    NoSignature,
    #[error("the delivery id is not 1 to {ID_CHARS_MAX} of A-Z, a-z, 0-9, _ and -")]
    MalformedId,
    #[error("the timestamp is not in the configured format")]
    MalformedTime,
    #[error("the signature covers the public URL, but server.public_url is not set")]
    UrlUnknown,
    #[error("no secret gives this signature")]
    NoMatch,
    #[error("authentic, but older than the tolerance: a replay, or a clock is wrong")]
    Stale,
    #[error("authentic, but from the future beyond the tolerance: a clock is wrong")]
    Future,
}

impl Refused {
    /// Whether a clock or the configuration is at fault, rather than the sender.
    #[must_use]
    pub const fn is_ours_to_mend(self) -> bool {
        matches!(self, Self::UrlUnknown | Self::Stale | Self::Future)
    }

    /// The value of the metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::DuplicateHeader => "duplicate_header",
            Self::NoSignature => "no_signature",
            Self::MalformedId => "malformed_id",
            Self::MalformedTime => "malformed_time",
            Self::UrlUnknown => "url_unknown",
            Self::NoMatch => "no_match",
            Self::Stale => "stale",
            Self::Future => "future",
        }
    }
}

/// Verifies the deliveries of one source; its keys are decoded once.
pub struct Verifier(Kind);

enum Kind {
    Hmac(hmac::Verifier),
    Standard(standard::Verifier),
    Credential(credential::Verifier),
}

impl Verifier {
    /// # Errors
    /// A secret that cannot be the scheme's key, or a scheme that would prove nothing.
    pub fn new(auth: &Auth) -> Result<Self, AuthFault> {
        key::check(auth)?;
        Ok(Self(match &auth.scheme {
            Scheme::Hmac(rule) => Kind::Hmac(hmac::Verifier::new(rule, &auth.secrets)?),
            Scheme::StandardWebhooks { prefixes, tolerance } => {
                Kind::Standard(standard::Verifier::new(prefixes, *tolerance, &auth.secrets)?)
            }
            Scheme::StaticSecret { .. } | Scheme::Basic | Scheme::Bearer => {
                Kind::Credential(credential::Verifier::new(auth))
            }
        }))
    }

    /// # Errors
    /// The first thing that keeps the delivery from being authentic and timely. The times are judged last, so
    /// that [`Refused::Stale`] is only said of what the upstream really sent.
    pub fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Refused> {
        match &self.0 {
            Kind::Hmac(verifier) => verifier.verify(request, now),
            Kind::Standard(verifier) => verifier.verify(request, now),
            Kind::Credential(verifier) => verifier.verify(request.headers),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// The one header of that name: with two, what was signed and what is read could differ.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h HeaderValue, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(Refused::MissingHeader),
        (_, Some(_)) => Err(Refused::DuplicateHeader),
    }
}

/// Equal in content and length, in a time that tells nothing of the content.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// A signed delivery id. A dot in it would make `id.timestamp.body` ambiguous, and an old delivery pass for
/// a fresh one.
fn delivery_id(value: &HeaderValue) -> Result<&str, Refused> {
    let id = value.to_str().map_err(|_| Refused::MalformedId)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if id.is_empty() || id.len() > ID_CHARS_MAX || !id.bytes().all(allowed) {
        return Err(Refused::MalformedId);
    }
    Ok(id)
}

/// A signed time, strictly: the counting formats are ASCII digits and nothing else.
fn signed_time(text: &str, format: TimeFormat) -> Result<Timestamp, Refused> {
    let digits = || text.bytes().all(|byte| byte.is_ascii_digit());
    let strict = format == TimeFormat::Iso8601 || digits();
    Timestamp::parse(text, format).filter(|_| strict).ok_or(Refused::MalformedTime)
}

#[cfg(test)]
mod tests;
