//! Whose token it is: compared by hashes, in the same time whatever was sent.

use subtle::{Choice, ConstantTimeEq};

use super::rate::Rate;
use crate::config::Token;

/// The tokens that there are, each with what it has used of its minute.
#[derive(Debug)]
pub struct Keyring(Vec<(Token, Rate)>);

impl Keyring {
    pub fn new(tokens: &[Token]) -> Self {
        let with_rate = |token: &Token| (token.clone(), Rate::new(token.requests_per_minute));
        Self(tokens.iter().map(with_rate).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token that was sent. Every hash is compared to its end, and none of them ends the search.
    pub fn find(&self, sent: &[u8]) -> Option<(&Token, &Rate)> {
        let hash = Token::hash(sent);
        let mut found = None;
        for (token, rate) in &self.0 {
            let same: Choice = token.sha256.ct_eq(&hash);
            if bool::from(same) {
                found = Some((token, rate));
            }
        }
        found
    }
}
