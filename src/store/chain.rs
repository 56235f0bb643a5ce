//! The hash chain: each entry's hash covers the one before it, so that an entry that was edited, removed or
//! moved is found and named (I9).
//!
//! A chain alone does not see that its end was cut off, or that all of it was written anew: keep the head
//! that `journal verify` prints somewhere else, and give it back with `--head`.

use sha2::{Digest, Sha256};

use super::Entry;
use crate::domain::{Seq, Timestamp};

/// SHA-256 over the previous hash, then number and time as 8 bytes each (big endian), the kind, a zero byte,
/// and the body.
#[must_use]
pub fn hash(previous: &[u8; 32], seq: Seq, at: Timestamp, kind: &str, body: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(seq.to_be_bytes());
    digest.update(at.micros().to_be_bytes());
    digest.update(kind.as_bytes());
    digest.update([0]);
    digest.update(body.as_bytes());
    digest.finalize().into()
}

/// Follows the chain entry by entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verifier {
    seq: Seq,
    hash: [u8; 32],
}

/// Where a chain breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("entry {expected} is missing: the next one found is {found}")]
    Missing { expected: Seq, found: Seq },
    #[error(
        "entry {0} was altered, or stands where another stood: its hash does not follow from the one before"
    )]
    Altered(Seq),
}

impl Verifier {
    /// # Errors
    /// Names the first entry that does not follow from those before.
    pub fn follow(&mut self, entry: &Entry) -> Result<(), Broken> {
        let expected = self.seq + 1;
        if entry.seq != expected {
            return Err(Broken::Missing { expected, found: entry.seq });
        }
        if hash(&self.hash, entry.seq, entry.at, &entry.kind, &entry.body) != entry.hash {
            return Err(Broken::Altered(entry.seq));
        }
        self.seq = entry.seq;
        self.hash = entry.hash;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(length: i64) -> Vec<Entry> {
        let mut previous = [0; 32];
        (1..=length)
            .map(|seq| {
                let (at, kind, body) = (Timestamp::from_seconds(seq), "heard", format!("{{\"n\":{seq}}}"));
                previous = hash(&previous, seq, at, kind, &body);
                Entry { seq, at, kind: kind.into(), body: body.into(), hash: previous }
            })
            .collect()
    }

    fn verify(entries: &[Entry]) -> Result<(), Broken> {
        let mut verifier = Verifier::default();
        entries.iter().try_for_each(|entry| verifier.follow(entry))
    }

    proptest! {
        #[test]
        fn i9_any_edit_removal_or_swap_is_found(at in 0..19_usize, how in 0..6_u8) {
            let mut entries = chain(20);
            prop_assert!(verify(&entries).is_ok());
            let victim = &mut entries[at];
            match how {
                0 => victim.body = format!("{} ", victim.body).into(),
                1 => victim.kind = "settled".into(),
                2 => victim.at = Timestamp::from_micros(victim.at.micros() + 1),
                3 => victim.hash[31] ^= 1,
                4 => drop(entries.remove(at)),
                _ => entries.swap(at, at + 1),
            }
            prop_assert!(verify(&entries).is_err());
        }
    }
}
