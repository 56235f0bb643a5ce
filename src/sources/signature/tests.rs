//! Schemes and deliveries that the tests share.

mod hostile;
mod rules;
mod vectors;

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use super::*;
use crate::config::Secret;
use crate::config::source::{Encoding, Hmac, HmacAlgorithm, Piece, SecretEncoding, SignedTime};

pub(super) const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(super) const STANDARD_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
pub(super) const STANDARD_BODY: &str = r#"{"test": 2432232314}"#;
pub(super) const PRIVATE_KEY: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
pub(super) const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
pub(super) const FIVE_MINUTES: Duration = Duration::from_mins(5);

pub(super) fn auth(scheme: Scheme, secrets: &[&str]) -> Auth {
    Auth { scheme, secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect() }
}

pub(super) fn standard(secrets: &[&str]) -> Auth {
    let prefixes = vec!["webhook".to_owned(), "svix".to_owned()];
    auth(Scheme::StandardWebhooks { prefixes, tolerance: FIVE_MINUTES }, secrets)
}

/// HMAC-SHA256 over the body, in hex, without a time.
pub(super) fn body_only(header: &str, prefix: &str) -> Hmac {
    Hmac {
        algorithm: HmacAlgorithm::Sha256,
        encoding: Encoding::Hex,
        header: header.to_owned(),
        prefix: prefix.to_owned(),
        separator: None,
        signed: vec![Piece::Body],
        id_header: None,
        timestamp: None,
        secret_encoding: SecretEncoding::Utf8,
    }
}

pub(super) fn timed(header: &str, format: TimeFormat) -> SignedTime {
    SignedTime {
        header: header.to_owned(),
        field: None,
        format,
        tolerance: FIVE_MINUTES,
        refuse_future: true,
    }
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

pub(super) fn hookbridge() -> Hmac {
    Hmac {
        separator: Some(','),
        signed: vec![Piece::Timestamp, text("."), Piece::Body],
        timestamp: Some(timed("x-webhook-timestamp", TimeFormat::UnixSeconds)),
        ..body_only("x-webhook-signature", "sha256=")
    }
}

pub(super) fn stripe() -> Hmac {
    let time = timed("stripe-signature", TimeFormat::UnixSeconds);
    Hmac {
        separator: Some(','),
        signed: vec![Piece::Timestamp, text("."), Piece::Body],
        timestamp: Some(SignedTime { field: Some("t".to_owned()), refuse_future: false, ..time }),
        ..body_only("stripe-signature", "v1=")
    }
}

pub(super) fn slack() -> Hmac {
    Hmac {
        signed: vec![text("v0:"), Piece::Timestamp, text(":"), Piece::Body],
        timestamp: Some(timed("x-slack-request-timestamp", TimeFormat::UnixSeconds)),
        ..body_only("x-slack-signature", "v0=")
    }
}

pub(super) fn hubspot() -> Hmac {
    Hmac {
        encoding: Encoding::Base64,
        signed: vec![Piece::Method, Piece::Url, Piece::Body, Piece::Timestamp],
        timestamp: Some(timed("x-hubspot-request-timestamp", TimeFormat::UnixMillis)),
        ..body_only("x-hubspot-signature-v3", "")
    }
}

pub(super) fn shopify() -> Hmac {
    Hmac { encoding: Encoding::Base64, ..body_only("x-shopify-hmac-sha256", "") }
}

/// A delivery that a test can alter.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) url: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) now: Timestamp,
}

impl Delivery {
    pub(super) fn new(headers: &[(&str, &str)], body: &str, seconds: i64) -> Self {
        let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            url: Some("https://www.example.com/webhook_uri".to_owned()),
            headers: owned.collect(),
            body: body.into(),
            now: Timestamp::from_seconds(seconds),
        }
    }

    pub(super) fn signed(auth: &Auth, body: &str, seconds: i64) -> Self {
        let unsigned = Self::new(&[], body, seconds);
        let url = unsigned.url.as_deref().unwrap();
        let draft = Draft { method: "POST", url, id: STANDARD_ID, body: &unsigned.body };
        let headers = Signer::new(auth).unwrap().sign(&draft, unsigned.now);
        Self { headers, ..unsigned }
    }

    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut altered = self.clone();
        for header in altered.headers.iter_mut().filter(|header| header.0 == name) {
            value.clone_into(&mut header.1);
        }
        altered
    }

    pub(super) fn get(&self, name: &str) -> &str {
        &self.headers.iter().find(|header| header.0 == name).unwrap().1
    }

    pub(super) fn at(&self, seconds: i64) -> Self {
        Self { now: Timestamp::from_seconds(seconds), ..self.clone() }
    }

    pub(super) fn check(&self, auth: &Auth) -> Result<Verified, Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        let request =
            Request { method: "POST", url: self.url.as_deref(), headers: &headers, body: &self.body };
        Verifier::new(auth).unwrap().verify(&request, self.now)
    }
}
