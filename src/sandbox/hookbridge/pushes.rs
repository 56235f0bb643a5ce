//! Pushes: deliveries to the customers of whoever sends through HookBridge.
//!
//! The signature is the hex HMAC-SHA256 of `timestamp.body`; while keys rotate, the header holds one for each,
//! with a comma between them.

use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::super::delivery::Delivery;
use super::HookBridge;
use crate::config::Secret;

#[derive(Clone, Debug)]
pub(super) struct Receiver {
    url: String,
    /// Several while they rotate.
    keys: Vec<Secret>,
}

impl HookBridge {
    /// From now on pushes go to `url`, signed with each of the keys.
    pub fn push_to(&self, url: &str, keys: Vec<Secret>) {
        let mut state = self.state();
        state.receivers.retain(|receiver| receiver.url != url);
        state.receivers.push(Receiver { url: url.to_owned(), keys });
    }

    /// Sends a body to everybody.
    pub fn push(&self, body: &str) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        for receiver in self.state().receivers.clone() {
            let (clock, signed) = (self.clock.clone(), body.clone());
            let headers = move |_attempt| {
                let timestamp = clock.now().seconds().to_string();
                let signatures: Vec<String> = receiver
                    .keys
                    .iter()
                    .map(|key| format!("sha256={}", sign(key, &timestamp, &signed)))
                    .collect();
                vec![
                    ("content-type", "application/json".to_owned()),
                    ("x-webhook-timestamp", timestamp),
                    ("x-webhook-signature", signatures.join(",")),
                ]
            };
            let delivery =
                Delivery { url: receiver.url.clone(), body: body.clone(), headers: Arc::new(headers) };
            self.outbox.send(delivery);
        }
    }
}

/// Lower-case hex of the HMAC-SHA256.
pub(super) fn sign(key: &Secret, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("an HMAC takes keys of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
