//! Signing as an upstream would, by the same data that verifies: for test deliveries and simulated upstreams.

use std::fmt;

use ring::signature::Ed25519KeyPair;

use super::credential::as_sent;
use super::hmac::Parts;
use super::key::{self, AuthFault, MacKey, StandardKey, ed25519_sign};
use super::standard::{self, Names};
use crate::config::Secret;
use crate::config::source::{Auth, Encoding, Hmac, Scheme};
use crate::domain::{Timestamp, timestamp::TimeFormat};

/// A delivery to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    pub method: &'a str,
    /// The URL that is called.
    pub url: &'a str,
    /// The delivery's id, for schemes that have one: 1 to 128 of `A-Z a-z 0-9 _ -`.
    pub id: &'a str,
    pub body: &'a [u8],
}

/// Why nothing can be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotSign {
    #[error(transparent)]
    Auth(#[from] AuthFault),
    #[error("the current secret is a public key, which verifies but cannot sign: give the whsk_ key")]
    PublicKey,
    #[error("the current secret is not text, and cannot be sent in a header")]
    NotText,
    #[error("no header is configured to send the proof in")]
    NoHeader,
}

/// Signs with the current secret of one source.
pub struct Signer(Kind);

enum Kind {
    Hmac(Box<Hmac>, Box<MacKey>),
    V1(Names, Box<MacKey>),
    V1a(Names, Box<Ed25519KeyPair>),
    /// The whole header.
    Credential(String, String),
}

impl Signer {
    /// # Errors
    /// The current secret is no key for this scheme, or verifies only.
    pub fn new(auth: &Auth) -> Result<Self, CannotSign> {
        key::check(auth)?;
        let secret = auth.secrets.first().ok_or(AuthFault::NoSecret)?;
        Ok(Self(match &auth.scheme {
            Scheme::Hmac(rule) => Kind::Hmac(Box::new(rule.clone()), Box::new(MacKey::of(rule, 1, secret)?)),
            Scheme::StandardWebhooks { prefixes, .. } => {
                let names = Names::under(prefixes.first().ok_or(CannotSign::NoHeader)?);
                match StandardKey::of(1, secret)? {
                    StandardKey::Shared(mac) => Kind::V1(names, mac),
                    StandardKey::Private(pair) => Kind::V1a(names, pair),
                    StandardKey::Public(_) => return Err(CannotSign::PublicKey),
                }
            }
            Scheme::StaticSecret { headers } => {
                let name = headers.first().ok_or(CannotSign::NoHeader)?;
                Kind::Credential(name.clone(), text_sent(&auth.scheme, secret)?)
            }
            Scheme::Basic => authorization("Basic", &text_sent(&auth.scheme, secret)?),
            Scheme::Bearer => authorization("Bearer", &text_sent(&auth.scheme, secret)?),
        }))
    }

    /// The headers that prove the delivery at `now`; names in lower case.
    #[must_use]
    pub fn sign(&self, draft: &Draft<'_>, now: Timestamp) -> Vec<(String, String)> {
        match &self.0 {
            Kind::Hmac(rule, key) => hmac_headers(rule, key, draft, now),
            Kind::V1(names, mac) => standard_headers(names, draft, now, |content| {
                format!("v1,{}", mac.sign(content, Encoding::Base64))
            }),
            Kind::V1a(names, pair) => standard_headers(names, draft, now, |content| {
                format!("v1a,{}", ed25519_sign(pair, &content.concat()))
            }),
            Kind::Credential(name, value) => vec![(name.clone(), value.clone())],
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

fn text_sent(scheme: &Scheme, secret: &Secret) -> Result<String, CannotSign> {
    String::from_utf8(as_sent(scheme, secret)).map_err(|_| CannotSign::NotText)
}

fn authorization(scheme: &str, credentials: &str) -> Kind {
    Kind::Credential("authorization".to_owned(), format!("{scheme} {credentials}"))
}

fn hmac_headers(rule: &Hmac, key: &MacKey, draft: &Draft<'_>, now: Timestamp) -> Vec<(String, String)> {
    let time = rule.timestamp.as_ref().map(|time| (time, time_text(now, time.format)));
    let parts = Parts {
        id: Some(draft.id),
        time: time.as_ref().map(|(_, text)| text.as_str()),
        method: draft.method,
        url: Some(draft.url),
        body: draft.body,
    };
    let mac = key.sign(&parts.content(&rule.signed), rule.encoding);
    let mut signature = format!("{}{mac}", rule.prefix);
    let mut headers = Vec::new();
    if let Some((time, text)) = &time {
        let value = time.field.as_ref().map_or_else(|| text.clone(), |field| format!("{field}={text}"));
        match rule.separator {
            Some(separator) if time.header == rule.header => {
                signature = format!("{value}{separator}{signature}");
            }
            _ => headers.push((time.header.clone(), value)),
        }
    }
    if let Some(name) = &rule.id_header {
        headers.push((name.clone(), draft.id.to_owned()));
    }
    headers.push((rule.header.clone(), signature));
    headers
}

fn standard_headers(
    names: &Names,
    draft: &Draft<'_>,
    now: Timestamp,
    signature: impl FnOnce(&[&[u8]]) -> String,
) -> Vec<(String, String)> {
    let time = time_text(now, TimeFormat::UnixSeconds);
    let signature = signature(&standard::content(draft.id, &time, draft.body));
    vec![
        (names.id.clone(), draft.id.to_owned()),
        (names.timestamp.clone(), time),
        (names.signature.clone(), signature),
    ]
}

fn time_text(now: Timestamp, format: TimeFormat) -> String {
    match format {
        TimeFormat::Iso8601 => now.to_string(),
        TimeFormat::UnixSeconds => now.seconds().to_string(),
        TimeFormat::UnixMillis => now.millis().to_string(),
    }
}
