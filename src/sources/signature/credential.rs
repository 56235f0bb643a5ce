//! Secrets that are sent as they are: in a header of the upstream's, or in `Authorization`.
//!
//! They prove that the sender knows the secret, and nothing about the body or its age.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{Refused, Verified, header, same};
use crate::config::Secret;
use crate::config::source::{Auth, Scheme};

pub(super) struct Verifier {
    place: Place,
    /// As they are sent.
    expected: Vec<Vec<u8>>,
}

enum Place {
    Headers(Vec<String>),
    /// `Authorization` with this scheme name, lower case.
    Authorization(&'static str),
}

impl Verifier {
    pub(super) fn new(auth: &Auth) -> Self {
        let place = match &auth.scheme {
            Scheme::StaticSecret { headers } => Place::Headers(headers.clone()),
            Scheme::Basic => Place::Authorization("basic"),
            _ => Place::Authorization("bearer"),
        };
        let expected = auth.secrets.iter().map(|secret| as_sent(&auth.scheme, secret)).collect();
        Self { place, expected }
    }

    pub(super) fn verify(&self, headers: &HeaderMap) -> Result<Verified, Refused> {
        let secret = match &self.place {
            Place::Headers(names) => self.in_headers(headers, names)?,
            Place::Authorization(scheme) => {
                let value = header(headers, AUTHORIZATION.as_str())?;
                self.position(credentials(value.as_bytes(), scheme).ok_or(Refused::NoSignature)?)
            }
        };
        Ok(Verified { secret: secret.ok_or(Refused::NoMatch)?, delivery_id: None })
    }

    /// An upstream that changes from one header to another sends both for a while, not always with the same
    /// value: any of them proves it.
    fn in_headers(&self, headers: &HeaderMap, names: &[String]) -> Result<Option<usize>, Refused> {
        let mut found = Err(Refused::MissingHeader);
        for name in names {
            match header(headers, name) {
                Ok(value) => found = Ok(found.ok().flatten().or(self.position(value.as_bytes()))),
                Err(Refused::MissingHeader) => {}
                Err(other) => return Err(other),
            }
        }
        found
    }

    fn position(&self, given: &[u8]) -> Option<usize> {
        self.expected.iter().position(|expected| same(given, expected))
    }
}

/// What follows the name of the scheme, which is not case-sensitive (RFC 9110 section 11.1).
fn credentials<'h>(value: &'h [u8], scheme: &str) -> Option<&'h [u8]> {
    let (name, rest) = value.split_at_checked(scheme.len())?;
    let given = rest.trim_ascii_start();
    (name.eq_ignore_ascii_case(scheme.as_bytes()) && given.len() < rest.len()).then_some(given)
}

/// The secret as it stands in the header, without the name of the scheme.
pub(super) fn as_sent(scheme: &Scheme, secret: &Secret) -> Vec<u8> {
    match scheme {
        Scheme::Basic => BASE64.encode(secret.expose()).into_bytes(),
        _ => secret.expose().to_vec(),
    }
}
