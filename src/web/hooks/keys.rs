//! The secrets that prove a source's deliveries: those of the configuration, and those that the upstream offered.
//!
//! What is kept is looked at anew whenever its folder changes, since a command beside the daemon subscribes and
//! unsubscribes. Whether a secret may be offered is the vault's to say.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Secret;
use crate::config::source::{Auth, Source};
use crate::domain::Timestamp;
use crate::sources::signature::{AuthFault, Refused, Request, Verified, Verifier};
use crate::vault::{HANDSHAKE_WORD, Offer, Vault, VaultError, Version};

/// File systems count time in ticks of a few milliseconds: what changed within this time may change again without
/// looking any different.
const TICK_SECONDS: i64 = 1;

pub(super) struct Keys {
    source: String,
    auth: Auth,
    /// With the header of the upstream's handshake, for one that has it.
    offers: Option<(HeaderName, Vault)>,
    known: RwLock<Known>,
}

/// `None` while there is no secret at all.
#[derive(Clone, Default)]
struct Known {
    verifier: Option<Arc<Verifier>>,
    /// What the verifier was made from; `None` if it may have changed since.
    version: Option<Version>,
}

impl Keys {
    /// # Errors
    /// A secret of the configuration is no key for its scheme.
    pub(super) fn new(source: &Source, auth: &Auth, journal: &Path) -> Result<Self, AuthFault> {
        let offers = source.subscriptions.as_ref().and_then(|rule| {
            Some((HeaderName::from_bytes(rule.handshake.as_bytes()).ok()?, Vault::beside(journal)))
        });
        let verifier = match (&offers, auth.secrets.is_empty()) {
            (Some(_), true) => None,
            _ => Some(Arc::new(Verifier::new(auth)?)),
        };
        let known = RwLock::new(Known { verifier, version: None });
        Ok(Self { source: source.name.clone(), auth: auth.clone(), offers, known })
    }

    pub(super) fn is_empty(&self, now: Timestamp) -> bool {
        self.verifier(now).is_none()
    }

    pub(super) fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Refused> {
        self.verifier(now).ok_or(Refused::NoMatch)?.verify(request, now)
    }

    /// What an empty delivery offers as a secret, and the header in which it does and in which it hears it again.
    pub(super) fn offered(&self, headers: &HeaderMap, body: &[u8]) -> Option<(HeaderName, HeaderValue)> {
        let (name, _) = self.offers.as_ref().filter(|_| body.is_empty())?;
        let mut values = headers.get_all(name).iter();
        let mut value = values.next().filter(|_| values.next().is_none())?.clone();
        value.set_sensitive(true);
        Some((name.clone(), value))
    }

    /// Keeps a secret that is offered at an address with this query; `false` if none is wanted there, or another one
    /// is kept.
    pub(super) fn take(
        &self,
        event: &str,
        query: Option<&str>,
        offered: &HeaderValue,
        now: Timestamp,
    ) -> Result<bool, VaultError> {
        let (Some((_, vault)), Some(word)) = (&self.offers, query.and_then(word)) else { return Ok(false) };
        let secret = Secret::new(offered.as_bytes());
        if !vault.expects(&self.source, event, &word, now) || self.with(vec![secret.clone()]).is_err() {
            return Ok(false);
        }
        let offer = vault.offer(&self.source, event, &word, &secret, now)?;
        if offer == Offer::Refused {
            tracing::warn!(
                source = self.source,
                event,
                "another secret was offered than the one that is kept"
            );
        }
        Ok(offer != Offer::Refused)
    }

    fn verifier(&self, now: Timestamp) -> Option<Arc<Verifier>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((_, vault)) = &self.offers else { return known.verifier };
        let version = vault.version(&self.source);
        if known.version == Some(version) {
            return known.verifier;
        }
        let kept = match vault.secrets(&self.source) {
            Ok(kept) => kept.into_iter().map(|(_, secret)| secret).collect(),
            Err(error) => {
                tracing::error!(source = self.source, %error, "kept secrets cannot be read: those that were known go on");
                return known.verifier;
            }
        };
        let verifier = self.with(kept).ok().map(Arc::new);
        let settled = now.seconds() > version.0.saturating_add(TICK_SECONDS);
        let known = Known { verifier: verifier.clone(), version: settled.then_some(version) };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        verifier
    }

    /// A verifier of the configuration's secrets and these.
    fn with(&self, more: Vec<Secret>) -> Result<Verifier, AuthFault> {
        let mut secrets = self.auth.secrets.clone();
        for secret in more {
            // An upstream with one secret offers it with each subscription.
            if !secrets.contains(&secret) {
                secrets.push(secret);
            }
        }
        Verifier::new(&Auth { scheme: self.auth.scheme.clone(), secrets })
    }
}

/// The word of a subscription in the address that it was made for.
fn word(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(name, word)| (name == HANDSHAKE_WORD).then(|| word.into_owned()))
}
