//! Secrets: from a file or the environment, never from the text itself, and never too weak to prove anything.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::file::Value;
use super::super::source::{Hmac, Scheme, SecretEncoding};
use super::{Field, Secret};

/// Bytes of a file with a secret: 64 KiB, far beyond any key or token.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The shortest secret that is taken: 8 bytes, since shorter ones can be tried out.
pub(super) const BYTES_MIN: usize = 8;

/// Bytes of a Standard Webhooks secret behind `whsec_`, as its specification has them.
const STANDARD_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Bytes of an Ed25519 public key behind `whpk_` (RFC 8032).
const PUBLIC_KEY_BYTES: usize = 32;

/// Bytes of an Ed25519 key pair behind `whsk_`, seed and public key: for those who sign test deliveries.
const KEY_PAIR_BYTES: usize = 64;

pub(super) const WAYS: &str =
    "write { file = \"/run/credentials/NAME\" } or { env = \"NAME\" }, or a list of those, the current first";

/// What is wrong with a secret, and how to mend it. Holds nothing of the secret.
type Weakness = (String, &'static str);

impl Field<'_> {
    /// One secret.
    pub(super) fn secret(&self) -> Option<Secret> {
        if !matches!(self.node.value, Value::Table(_)) {
            return self.fault("a secret can't stand in the configuration itself", WAYS);
        }
        self.section(|section| match (section.get("file"), section.get("env")) {
            (Some(file), None) => file.secret_from_file(),
            (None, Some(env)) => env.secret_from_env(),
            _ => self.fault("needs either file or env", WAYS),
        })
    }

    /// One secret or a rotation, the current one first; each with its place, for what its use demands.
    pub(super) fn secrets(&self) -> Option<Vec<(Secret, Self)>> {
        if !matches!(self.node.value, Value::Table(_) | Value::List(_)) {
            return self.fault("a secret can't stand in the configuration itself", WAYS);
        }
        self.all(|item| Some((item.secret()?, item.clone())))
    }

    fn secret_from_env(&self) -> Option<Secret> {
        let name = self.text()?;
        // Somebody may have put the secret where its name belongs: what is no name is not shown.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            let mend = "give the variable's name: letters, digits and \"_\"";
            return self.fault("is not the name of an environment variable", mend);
        }
        match self.reader.env.var(name) {
            None => self.fault(
                format!("environment variable {name} is not set"),
                "set it, or write { file = \"…\" } instead",
            ),
            Some(value) if value.is_empty() => {
                self.fault(format!("environment variable {name} is empty"), "put the secret in it")
            }
            Some(value) => Some(Secret::new(value)),
        }
    }

    fn secret_from_file(&self) -> Option<Secret> {
        let path = self.text()?;
        let bytes = match self.reader.env.read(Path::new(path), FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                let mend = "check the path, and that this user may read it";
                return self.fault(format!("can't read {path}: {error}"), mend);
            }
        };
        // Editors and `echo` end a file with a line break that nobody means.
        let secret =
            bytes.strip_suffix(b"\n").map_or(&bytes[..], |cut| cut.strip_suffix(b"\r").unwrap_or(cut));
        if secret.is_empty() {
            return self.fault(format!("{path} is empty"), "put the secret in it");
        }
        Some(Secret::new(secret))
    }
}

/// Whether `secret` can serve `scheme` at all.
pub(super) fn weakness(scheme: &Scheme, secret: &Secret) -> Result<(), Weakness> {
    match scheme {
        Scheme::Hmac(Hmac { secret_encoding, .. }) => long_enough(decoded(secret, *secret_encoding)?.len()),
        Scheme::StandardWebhooks { .. } => standard_webhooks(secret),
        Scheme::StaticSecret { .. } | Scheme::Bearer => {
            in_a_header(secret)?;
            long_enough(secret.expose().len())
        }
        Scheme::Basic => {
            let colon = secret.expose().iter().position(|byte| *byte == b':').filter(|at| *at > 0);
            let Some(colon) = colon else {
                return Err(("is not user:password".to_owned(), "put both in it, with a colon between them"));
            };
            long_enough(secret.expose().len() - colon - 1)
        }
    }
}

/// Whether `secret` can be the value of a header.
pub(super) fn in_a_header(secret: &Secret) -> Result<(), Weakness> {
    let bytes = secret.expose();
    let edges = [bytes.first(), bytes.last()];
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) && !edges.contains(&Some(&b' ')) {
        return Ok(());
    }
    let what = "holds characters that a header does not carry, or spaces at an end";
    Err((what.to_owned(), "check it for stray spaces and line breaks"))
}

fn long_enough(bytes: usize) -> Result<(), Weakness> {
    if bytes >= BYTES_MIN {
        return Ok(());
    }
    Err((
        format!("the secret has {bytes} bytes, fewer than {BYTES_MIN}"),
        "use a longer one: 32 random bytes are usual",
    ))
}

fn decoded(secret: &Secret, encoding: SecretEncoding) -> Result<Vec<u8>, Weakness> {
    let bytes = secret.expose();
    let decoded = match encoding {
        SecretEncoding::Utf8 => return Ok(bytes.to_vec()),
        SecretEncoding::Hex => hex::decode(bytes).ok(),
        SecretEncoding::Base64 => STANDARD.decode(bytes).ok(),
    };
    let mend = "check the secret, or auth.secret_encoding (\"utf8\" takes it as it is)";
    decoded
        .ok_or_else(|| ("the secret is not in the encoding that auth.secret_encoding names".to_owned(), mend))
}

fn standard_webhooks(secret: &Secret) -> Result<(), Weakness> {
    let mend = "copy it whole: whsec_ and base64 of 24 to 64 bytes, whpk_ and of 32, or whsk_ and of 64";
    let text = secret.expose_str().unwrap_or_default();
    let (encoded, expected) = if let Some(encoded) = text.strip_prefix("whsec_") {
        (encoded, STANDARD_BYTES)
    } else if let Some(encoded) = text.strip_prefix("whpk_") {
        (encoded, PUBLIC_KEY_BYTES..=PUBLIC_KEY_BYTES)
    } else if let Some(encoded) = text.strip_prefix("whsk_") {
        (encoded, KEY_PAIR_BYTES..=KEY_PAIR_BYTES)
    } else {
        return Err(("is not a Standard Webhooks secret".to_owned(), mend));
    };
    match STANDARD.decode(encoded).map(|bytes| bytes.len()) {
        Err(_) => Err(("is not valid base64 behind its prefix".to_owned(), mend)),
        Ok(bytes) if !expected.contains(&bytes) => {
            Err((format!("holds {bytes} bytes behind its prefix"), mend))
        }
        Ok(_) => Ok(()),
    }
}
