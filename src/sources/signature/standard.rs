//! Standard Webhooks 1.0.0 and Svix: `v1` is an HMAC-SHA256, `v1a` an Ed25519 signature, both over
//! `id.timestamp.body`, several in one header with spaces between.

use std::time::Duration;

use super::key::{AuthFault, StandardKey, ed25519_verifies};
use super::{Refused, Request, SIGNATURES_MAX, Verified, delivery_id, header, same, signed_time};
use crate::config::Secret;
use crate::config::source::Encoding;
use crate::domain::{Timestamp, timestamp::TimeFormat};

pub(super) struct Verifier {
    names: Vec<Names>,
    tolerance: Duration,
    keys: Vec<StandardKey>,
}

/// The three headers under one prefix.
pub(super) struct Names {
    pub(super) id: String,
    pub(super) timestamp: String,
    pub(super) signature: String,
}

impl Names {
    pub(super) fn under(prefix: &str) -> Self {
        Self {
            id: format!("{prefix}-id"),
            timestamp: format!("{prefix}-timestamp"),
            signature: format!("{prefix}-signature"),
        }
    }
}

impl Verifier {
    pub(super) fn new(
        prefixes: &[String],
        tolerance: Duration,
        secrets: &[Secret],
    ) -> Result<Self, AuthFault> {
        let numbered = secrets.iter().enumerate();
        let keys =
            numbered.map(|(index, secret)| StandardKey::of(index + 1, secret)).collect::<Result<_, _>>()?;
        Ok(Self { names: prefixes.iter().map(|prefix| Names::under(prefix)).collect(), tolerance, keys })
    }

    pub(super) fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Refused> {
        let headers = request.headers;
        let signed_under = |names: &&Names| headers.contains_key(names.signature.as_str());
        let names = self.names.iter().find(signed_under).ok_or(Refused::MissingHeader)?;
        let given = header(headers, &names.signature)?.to_str().map_err(|_| Refused::NoSignature)?;
        let id = delivery_id(header(headers, &names.id)?)?;
        let time_text = header(headers, &names.timestamp)?.to_str().map_err(|_| Refused::MalformedTime)?;
        let at = signed_time(time_text, TimeFormat::UnixSeconds)?;

        let content = content(id, time_text, request.body);
        let secret = self.matching(given, &content)?;
        if now.since(at) > self.tolerance {
            return Err(Refused::Stale);
        }
        if at.since(now) > self.tolerance {
            return Err(Refused::Future);
        }
        Ok(Verified { secret, delivery_id: Some(id.to_owned()) })
    }

    /// Index of the first key that one of the signatures is by. Versions that are not known are skipped.
    fn matching(&self, given: &str, content: &[&[u8]]) -> Result<usize, Refused> {
        let known = |entry: &&str| entry.starts_with("v1,") || entry.starts_with("v1a,");
        let signatures: Vec<&str> = given.split(' ').filter(known).take(SIGNATURES_MAX).collect();
        if signatures.is_empty() {
            return Err(Refused::NoSignature);
        }
        self.keys.iter().position(|key| verifies(key, content, &signatures)).ok_or(Refused::NoMatch)
    }
}

fn verifies(key: &StandardKey, content: &[&[u8]], signatures: &[&str]) -> bool {
    if let StandardKey::Shared(mac) = key {
        let expected = mac.sign(content, Encoding::Base64);
        let mut macs = signatures.iter().filter_map(|entry| entry.strip_prefix("v1,"));
        return macs.any(|signature| same(signature.as_bytes(), expected.as_bytes()));
    }
    let Some(public) = key.public() else { return false };
    let mut signatures = signatures.iter().filter_map(|entry| entry.strip_prefix("v1a,")).peekable();
    if signatures.peek().is_none() {
        return false;
    }
    let message = content.concat();
    signatures.any(|signature| ed25519_verifies(public, &message, signature))
}

pub(super) fn content<'a>(id: &'a str, time: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", time.as_bytes(), b".", body]
}
