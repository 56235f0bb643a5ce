//! Reads how a source's deliveries prove themselves.

use super::super::source::{Auth, Encoding, Hmac, HmacAlgorithm, Piece, Scheme, SecretEncoding, SignedTime};
use super::secrets::{self, weakness};
use super::source::TIME_FORMATS;
use super::{Field, Section};

#[derive(Clone, Copy)]
enum Kind {
    Hmac,
    StandardWebhooks,
    StaticSecret,
    Basic,
    Bearer,
}

const SCHEMES: [(&str, Kind); 5] = [
    ("hmac", Kind::Hmac),
    ("standard_webhooks", Kind::StandardWebhooks),
    ("static_secret", Kind::StaticSecret),
    ("basic", Kind::Basic),
    ("bearer", Kind::Bearer),
];

const ALGORITHMS: [(&str, HmacAlgorithm); 3] =
    [("sha1", HmacAlgorithm::Sha1), ("sha256", HmacAlgorithm::Sha256), ("sha512", HmacAlgorithm::Sha512)];

const ENCODINGS: [(&str, Encoding); 2] = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];

const SECRET_ENCODINGS: [(&str, SecretEncoding); 3] =
    [("utf8", SecretEncoding::Utf8), ("hex", SecretEncoding::Hex), ("base64", SecretEncoding::Base64)];

/// `auth` and `secret` of a source. A scheme without a secret is a fault, and so is the reverse.
pub(super) fn auth(source: &Section<'_>) -> Option<Auth> {
    let scheme = source.get("auth").map(|field| field.section(scheme));
    let secret = source.get("secret");
    match (scheme, secret) {
        (None, None) => None,
        (None, Some(_)) => {
            let mend = "say how it proves a delivery: auth = { scheme = \"hmac\", … }, or name a preset";
            source.fault("secret", "is used by nothing, since the source has no auth", mend)
        }
        // The upstream offers its secret when it is subscribed to, which is kept beside the journal.
        (Some(scheme), None) if source.get("subscriptions").is_some_and(|field| !field.is_false()) => {
            Some(Auth { scheme: scheme?, secrets: Vec::new() })
        }
        (Some(_), None) => {
            source.fault("secret", "missing, and without it no delivery can be trusted", secrets::WAYS)
        }
        (Some(scheme), Some(secret)) => {
            let given = secret.secrets();
            let (scheme, given) = (scheme?, given?);
            for (secret, field) in &given {
                if let Err((what, mend)) = weakness(&scheme, secret) {
                    field.fault::<()>(what, mend);
                }
            }
            Some(Auth { scheme, secrets: given.into_iter().map(|(secret, _)| secret).collect() })
        }
    }
}

fn scheme(section: &Section<'_>) -> Option<Scheme> {
    let mend = "write one of \"hmac\", \"standard_webhooks\", \"static_secret\", \"basic\", \"bearer\"";
    match section.chosen("scheme", mend, &SCHEMES)? {
        Kind::Hmac => hmac(section).map(Scheme::Hmac),
        Kind::StandardWebhooks => {
            let default = vec!["webhook".to_owned()];
            let prefixes = section.or("prefixes", default, |field| field.all(Field::header));
            let tolerance = section.or("tolerance", SignedTime::TOLERANCE, Field::duration);
            Some(Scheme::StandardWebhooks { prefixes, tolerance })
        }
        Kind::StaticSecret => {
            let mend = "name the header that brings the secret, like headers = [\"x-hook-secret\"]";
            let headers = section.required("headers", mend, |field| field.all(Field::header))?;
            Some(Scheme::StaticSecret { headers })
        }
        Kind::Basic => Some(Scheme::Basic),
        Kind::Bearer => Some(Scheme::Bearer),
    }
}

fn hmac(section: &Section<'_>) -> Option<Hmac> {
    let algorithm = section.or("algorithm", HmacAlgorithm::Sha256, |field| field.choice(&ALGORITHMS));
    let encoding = section.or("encoding", Encoding::Hex, |field| field.choice(&ENCODINGS));
    let mend = "name the header that brings the signature, like \"x-signature\"";
    let header = section.required("header", mend, Field::header);
    let prefix = section.or("prefix", String::new(), |field| field.text().map(ToOwned::to_owned));
    let separator = section.optional("separator", separator);
    let signed = section.or("signed", vec![Piece::Body], Field::signed);
    let id_header = section.optional("id_header", Field::header);
    let timestamp = section.get("timestamp");
    let given = (id_header.is_some(), timestamp.is_some());
    let timestamp = timestamp.and_then(|field| field.section(signed_time));
    let secret_encoding =
        section.or("secret_encoding", SecretEncoding::Utf8, |field| field.choice(&SECRET_ENCODINGS));

    if signed.contains(&Piece::Id) && !given.0 {
        let mend = "name the header that brings the delivery's id: id_header = \"x-delivery-id\"";
        section.fault::<()>("id_header", "missing, while signed has {id}", mend);
    }
    if signed.contains(&Piece::Timestamp) && !given.1 {
        let mend =
            "say where the time stands: timestamp = { header = \"x-timestamp\", format = \"unix_seconds\" }";
        section.fault::<()>("timestamp", "missing, while signed has {timestamp}", mend);
    }
    if timestamp.as_ref().is_some_and(|time| time.field.is_some()) && separator.is_none() {
        let mend = "say what stands between the fields of the header: separator = \",\"";
        section.fault::<()>("separator", "missing, while the timestamp is a field", mend);
    }
    Some(Hmac {
        algorithm,
        encoding,
        header: header?,
        prefix,
        separator,
        signed,
        id_header,
        timestamp,
        secret_encoding,
    })
}

fn separator(field: &Field<'_>) -> Option<char> {
    let text = field.text()?;
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Some(character),
        _ => field.fault("is not one character", "write the one that stands between signatures, like \",\""),
    }
}

fn signed_time(section: &Section<'_>) -> Option<SignedTime> {
    let header = section.required("header", "name the header that brings the time", Field::header);
    let field = section.optional("field", Field::name);
    let format =
        section.required("format", "write one of \"iso8601\", \"unix_seconds\", \"unix_millis\"", |field| {
            field.choice(&TIME_FORMATS)
        });
    let tolerance = section.or("tolerance", SignedTime::TOLERANCE, Field::duration);
    let refuse_future = section.or("refuse_future", true, Field::boolean);
    Some(SignedTime { header: header?, field, format: format?, tolerance, refuse_future })
}
