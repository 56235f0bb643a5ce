//! An HMAC over parts of the request, as most upstreams sign.

use axum::http::HeaderMap;

use super::key::{AuthFault, MacKey};
use super::{Refused, Request, SIGNATURES_MAX, Verified, delivery_id, header, same, signed_time};
use crate::config::Secret;
use crate::config::source::{Hmac, Piece, SignedTime};
use crate::domain::Timestamp;

pub(super) struct Verifier {
    rule: Hmac,
    keys: Vec<MacKey>,
}

impl Verifier {
    pub(super) fn new(rule: &Hmac, secrets: &[Secret]) -> Result<Self, AuthFault> {
        let numbered = secrets.iter().enumerate();
        let keys =
            numbered.map(|(index, secret)| MacKey::of(rule, index + 1, secret)).collect::<Result<_, _>>()?;
        Ok(Self { rule: rule.clone(), keys })
    }

    pub(super) fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Refused> {
        let rule = &self.rule;
        let given = header(request.headers, &rule.header)?.to_str().map_err(|_| Refused::NoSignature)?;
        let signatures: Vec<&str> = entries(given, rule.separator)
            .filter_map(|entry| entry.strip_prefix(rule.prefix.as_str()))
            .take(SIGNATURES_MAX)
            .collect();
        if signatures.is_empty() {
            return Err(Refused::NoSignature);
        }
        let id = match &rule.id_header {
            Some(name) if rule.signed.contains(&Piece::Id) => {
                Some(delivery_id(header(request.headers, name)?)?)
            }
            _ => None,
        };
        let time_text = match &rule.timestamp {
            Some(time) => Some(time_text(request.headers, time, rule.separator)?),
            None => None,
        };
        let url = request.url.filter(|_| rule.signed.contains(&Piece::Url));
        if rule.signed.contains(&Piece::Url) && url.is_none() {
            return Err(Refused::UrlUnknown);
        }
        let parts = Parts { id, time: time_text, method: request.method, url, body: request.body };
        let content = parts.content(&rule.signed);
        let secret = self.keys.iter().position(|key| {
            let expected = key.sign(&content, rule.encoding);
            signatures.iter().any(|signature| same(signature.as_bytes(), expected.as_bytes()))
        });
        let secret = secret.ok_or(Refused::NoMatch)?;
        if let (Some(time), Some(text)) = (&rule.timestamp, time_text) {
            timely(time, text, now)?;
        }
        Ok(Verified { secret, delivery_id: id.map(str::to_owned) })
    }
}

/// What the pieces of a signed content stand for in one delivery.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) time: Option<&'a str>,
    pub(super) method: &'a str,
    pub(super) url: Option<&'a str>,
    pub(super) body: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn content(&self, signed: &'a [Piece]) -> Vec<&'a [u8]> {
        let bytes = |piece: &'a Piece| match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Id => self.id.unwrap_or_default().as_bytes(),
            Piece::Timestamp => self.time.unwrap_or_default().as_bytes(),
            Piece::Method => self.method.as_bytes(),
            Piece::Url => self.url.unwrap_or_default().as_bytes(),
            Piece::Body => self.body,
        };
        signed.iter().map(bytes).collect()
    }
}

/// The entries of a header that may hold several; one that is no list is taken as it is.
fn entries(value: &str, separator: Option<char>) -> impl Iterator<Item = &str> {
    let whole = separator.is_none().then_some(value);
    let split = separator.map(|separator| value.split(separator).map(str::trim));
    whole.into_iter().chain(split.into_iter().flatten())
}

fn time_text<'h>(
    headers: &'h HeaderMap,
    time: &SignedTime,
    separator: Option<char>,
) -> Result<&'h str, Refused> {
    let value = header(headers, &time.header)?.to_str().map_err(|_| Refused::MalformedTime)?;
    let Some(field) = &time.field else { return Ok(value) };
    let named = |entry: &'h str| entry.strip_prefix(field.as_str())?.strip_prefix('=');
    let mut found = entries(value, separator).filter_map(named);
    match (found.next(), found.next()) {
        (Some(text), None) => Ok(text),
        _ => Err(Refused::MalformedTime),
    }
}

fn timely(time: &SignedTime, text: &str, now: Timestamp) -> Result<(), Refused> {
    let at = signed_time(text, time.format)?;
    if now.since(at) > time.tolerance {
        return Err(Refused::Stale);
    }
    if time.refuse_future && at.since(now) > time.tolerance {
        return Err(Refused::Future);
    }
    Ok(())
}
