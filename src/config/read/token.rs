//! Reads the tokens of the operator's API.

use std::collections::BTreeMap;

use super::super::{Scope, Token};
use super::{Field, Section};

const MEND: &str = "make one with `expunged token NAME`, and copy the lines that it prints";

pub(super) fn tokens(field: &Field<'_>) -> Option<Vec<Token>> {
    let entries = field.entries()?;
    let tokens: Vec<_> = entries
        .iter()
        .map(|(name, field)| {
            field.check_own_name(name);
            field.section(|section| token(name, section))
        })
        .collect();
    let mut hashes = BTreeMap::new();
    for ((name, field), token) in entries.iter().zip(&tokens) {
        if let Some(token) = token
            && let Some(first) = hashes.insert(token.sha256, *name)
        {
            field.fault::<()>(format!("is the same token as {first}"), "make one for each program");
        }
    }
    tokens.into_iter().collect()
}

fn token(name: &str, section: &Section<'_>) -> Option<Token> {
    let sha256 = section.required("sha256", MEND, hash);
    let scopes = Scope::ALL.map(|scope| (scope.as_str(), scope));
    let mend = "say what it may do, like scopes = [\"read\", \"delete\"]";
    let scopes = section.required("scopes", mend, |field| field.all(|item| item.choice(&scopes)));
    let per_minute =
        section.or("requests_per_minute", Token::REQUESTS_PER_MINUTE, |field| field.integer(1..=1_000_000));
    Some(Token {
        name: name.to_owned(),
        sha256: sha256?,
        scopes: scopes?.into_iter().collect(),
        requests_per_minute: per_minute,
    })
}

/// Not shown when it is none: somebody may have put the token itself there.
fn hash(field: &Field<'_>) -> Option<[u8; 32]> {
    let decoded = hex::decode(field.text()?).ok();
    let hash = decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    hash.or_else(|| field.fault("is not a SHA-256 in hex, of 64 digits", MEND))
}
