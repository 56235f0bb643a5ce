//! Secrets as keys: decoded once, never printed.

use ::hmac::{Hmac, KeyInit, Mac};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::config::Secret;
use crate::config::source::{self, Auth, Encoding, HmacAlgorithm, Piece, Scheme, SecretEncoding};

/// Bytes of a Standard Webhooks secret: specification 1.0.0 asks for 24 to 64.
pub(super) const STANDARD_SECRET_BYTES_MIN: usize = 24;
/// An Ed25519 seed, and an Ed25519 public key.
const ED25519_BYTES: usize = 32;

/// Why a source could not be verified at all. Secrets are counted from 1, as an operator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthFault {
    #[error("no secret is configured")]
    NoSecret,
    #[error("secret {0} is empty")]
    Empty(usize),
    #[error("secret {0} is not base64")]
    NotBase64(usize),
    #[error("secret {0} is not hex")]
    NotHex(usize),
    #[error("secret {0} is shorter than {STANDARD_SECRET_BYTES_MIN} bytes after base64 decoding")]
    TooShort(usize),
    #[error("secret {0} is not an Ed25519 key: whpk_ and 32 bytes, or whsk_ and 64 bytes, in base64")]
    NotEd25519(usize),
    #[error("the signed content leaves out {{body}}, so a signature would prove nothing")]
    BodyNotSigned,
    #[error("the signed content has {{id}}, but no header is named for it")]
    NoIdHeader,
    #[error("the signed content has {{timestamp}}, but no header is named for it")]
    NoTimestampHeader,
}

/// What must hold for every scheme, before its keys are decoded.
pub(super) fn check(auth: &Auth) -> Result<(), AuthFault> {
    if auth.secrets.is_empty() {
        return Err(AuthFault::NoSecret);
    }
    if let Some(index) = auth.secrets.iter().position(|secret| secret.expose().is_empty()) {
        return Err(AuthFault::Empty(index + 1));
    }
    let Scheme::Hmac(rule) = &auth.scheme else { return Ok(()) };
    if !rule.signed.contains(&Piece::Body) {
        return Err(AuthFault::BodyNotSigned);
    }
    if rule.signed.contains(&Piece::Id) && rule.id_header.is_none() {
        return Err(AuthFault::NoIdHeader);
    }
    if rule.signed.contains(&Piece::Timestamp) && rule.timestamp.is_none() {
        return Err(AuthFault::NoTimestampHeader);
    }
    Ok(())
}

/// An HMAC key as the state after its padding was hashed.
#[derive(Clone)]
pub(super) enum MacKey {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl MacKey {
    fn new(algorithm: HmacAlgorithm, key: &[u8]) -> Self {
        const ANY: &str = "HMAC takes keys of any length";
        match algorithm {
            HmacAlgorithm::Sha1 => Self::Sha1(Hmac::new_from_slice(key).expect(ANY)),
            HmacAlgorithm::Sha256 => Self::Sha256(Hmac::new_from_slice(key).expect(ANY)),
            HmacAlgorithm::Sha512 => Self::Sha512(Hmac::new_from_slice(key).expect(ANY)),
        }
    }

    /// The key of secret `number`, for the HMAC scheme.
    pub(super) fn of(rule: &source::Hmac, number: usize, secret: &Secret) -> Result<Self, AuthFault> {
        let text = secret.expose();
        let bytes = match rule.secret_encoding {
            SecretEncoding::Utf8 => text.to_vec(),
            SecretEncoding::Hex => hex::decode(text).map_err(|_| AuthFault::NotHex(number))?,
            SecretEncoding::Base64 => BASE64.decode(text).map_err(|_| AuthFault::NotBase64(number))?,
        };
        if bytes.is_empty() {
            return Err(AuthFault::Empty(number));
        }
        Ok(Self::new(rule.algorithm, &bytes))
    }

    /// The MAC over the pieces in a row, as text.
    pub(super) fn sign(&self, content: &[&[u8]], encoding: Encoding) -> String {
        match self {
            Self::Sha1(mac) => encoded(mac.clone(), content, encoding),
            Self::Sha256(mac) => encoded(mac.clone(), content, encoding),
            Self::Sha512(mac) => encoded(mac.clone(), content, encoding),
        }
    }
}

/// Lower-case hex or padded base64: one text for one MAC, so that comparing texts compares MACs, and no
/// other spelling (upper case, loose bits at the end) passes.
fn encoded<M: Mac>(mut mac: M, content: &[&[u8]], encoding: Encoding) -> String {
    for piece in content {
        mac.update(piece);
    }
    let tag = mac.finalize().into_bytes();
    match encoding {
        Encoding::Hex => hex::encode(tag),
        Encoding::Base64 => BASE64.encode(tag),
    }
}

/// A key of Standard Webhooks, told apart by its prefix.
pub(super) enum StandardKey {
    /// `v1`: base64 after an optional `whsec_`.
    Shared(Box<MacKey>),
    /// `v1a`: base64 after `whpk_`.
    Public([u8; ED25519_BYTES]),
    /// `v1a`, for signing: base64 of seed and public key after `whsk_`. Verifies by its public half.
    Private(Box<Ed25519KeyPair>),
}

impl StandardKey {
    pub(super) fn of(number: usize, secret: &Secret) -> Result<Self, AuthFault> {
        let text = secret.expose();
        let not_ed25519 = AuthFault::NotEd25519(number);
        if let Some(public) = text.strip_prefix(b"whpk_") {
            let bytes = BASE64.decode(public).map_err(|_| not_ed25519)?;
            return Ok(Self::Public(bytes.try_into().map_err(|_| not_ed25519)?));
        }
        if let Some(private) = text.strip_prefix(b"whsk_") {
            let bytes = BASE64.decode(private).map_err(|_| not_ed25519)?;
            let (seed, public) = bytes.split_at_checked(ED25519_BYTES).ok_or(not_ed25519)?;
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| not_ed25519)?;
            return Ok(Self::Private(Box::new(pair)));
        }
        let shared = text.strip_prefix(b"whsec_").unwrap_or(text);
        let bytes = BASE64.decode(shared).map_err(|_| AuthFault::NotBase64(number))?;
        if bytes.len() < STANDARD_SECRET_BYTES_MIN {
            return Err(AuthFault::TooShort(number));
        }
        Ok(Self::Shared(Box::new(MacKey::new(HmacAlgorithm::Sha256, &bytes))))
    }

    pub(super) fn public(&self) -> Option<&[u8]> {
        match self {
            Self::Shared(_) => None,
            Self::Public(bytes) => Some(bytes),
            Self::Private(pair) => Some(pair.public_key().as_ref()),
        }
    }
}

/// Whether `signature` (base64) is the public key's over `content`.
pub(super) fn ed25519_verifies(public: &[u8], content: &[u8], signature: &str) -> bool {
    let Ok(bytes) = BASE64.decode(signature) else { return false };
    UnparsedPublicKey::new(&ED25519, public).verify(content, &bytes).is_ok()
}

pub(super) fn ed25519_sign(pair: &Ed25519KeyPair, content: &[u8]) -> String {
    BASE64.encode(pair.sign(content))
}
