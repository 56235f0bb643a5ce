//! How an upstream is asked to send its webhooks, and how it hands over the secret for them.

use super::source::{Access, Pointers};

/// An API with one resource for each subscription, which carries one event to one URL.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscriptions {
    pub access: Access,
    /// Whether there is a credential for it.
    pub has_credential: bool,
    /// Absolute. Subscriptions are posted to it and listed by it; `/ID` behind it names one.
    pub url: String,
    /// Where a listing has its items; none means the whole answer.
    pub items: Pointers,
    /// Names of the fields, in requests and answers alike.
    pub id: String,
    pub event: String,
    pub target: String,
    /// Header (lower case) of the empty delivery with which the upstream offers its secret, and which our answer
    /// repeats.
    pub handshake: String,
}
