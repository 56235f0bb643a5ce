//! From what was asked to what is in the journal: one entry for a list, one for each thousand lines of an
//! upload, each with the part of the request that it came of.

use bytes::Bytes;
use serde::Serialize;

use super::ids::{self, IdFault, Item};
use super::refused::Refused;
use super::{Alternate, Api};
use crate::config::Token;
use crate::config::target::Table;
use crate::domain::event::{Asked, AskedEnd, Refusal};
use crate::domain::{Action, Door, Entity, Evidence, Key, Notice, Outcome, Seq};
use crate::intake::Delivery;
use crate::targets::Identified;

/// Bytes of a reason: a paragraph.
const REASON_BYTES_MAX: usize = 1_000;
/// Refused ids that an answer shows at once; the others are told of page by page.
pub const FAULTS_SHOWN: u32 = 1_000;

/// What is asked for, as far as it is the same for all ids.
pub struct Ask {
    pub entity: Entity,
    /// Another identifier than the key, by its name.
    by: Option<(String, Alternate)>,
    /// Parts of an id; `None` if nobody can tell.
    parts: Option<usize>,
    reason: Option<String>,
}

impl Ask {
    /// # Errors
    /// No target holds the entity, or knows such an identifier.
    pub fn new(api: &Api, entity: &str, by: Option<&str>, reason: Option<String>) -> Result<Self, Refused> {
        let entity = Entity::new(entity);
        let Some(form) = api.forms.get(&entity) else {
            let known: Vec<&str> = api.forms.keys().map(Entity::as_str).collect();
            let message = format!("no target holds this entity: known are {}", known.join(", "));
            return Err(Refused::bad("unknown_entity", message));
        };
        check_reason(reason.as_deref())?;
        match by {
            None | Some(Table::BY_KEY) => Ok(Self { entity, by: None, parts: form.parts, reason }),
            Some(name) => {
                let Some(alternate) = form.alternates.get(name) else {
                    let known = form.alternates.keys().map(String::as_str);
                    let known: Vec<&str> = std::iter::once(Table::BY_KEY).chain(known).collect();
                    let message = format!("{entity} has no such identifier: known are {}", known.join(", "));
                    return Err(Refused::bad("unknown_identifier", message));
                };
                let by = Some((name.to_owned(), *alternate));
                Ok(Self { entity, by, parts: Some(alternate.parts), reason })
            }
        }
    }

    pub fn item(&self, place: u64, parts: Result<Vec<String>, IdFault>) -> Item {
        Item { place, id: parts.and_then(|parts| ids::key(parts, self.parts)) }
    }

    /// For each id the key of its record, or why there is none.
    pub async fn keys(
        &self,
        api: &Api,
        items: Vec<Item>,
    ) -> Result<Vec<(u64, Result<Key, Refusal>)>, Refused> {
        let refused = |place, fault: IdFault| refusal(place, Outcome::Failed, "bad_id", fault.to_string());
        let items = items.into_iter();
        let mut keys: Vec<_> =
            items.map(|Item { place, id }| (place, id.map_err(|fault| refused(place, fault)))).collect();
        let Some((name, alternate)) = &self.by else { return Ok(keys) };
        let target = &api.targets[alternate.target];
        let identifiers: Vec<Key> = keys.iter().filter_map(|(_, id)| id.as_ref().ok()).cloned().collect();
        let found = target.look_up(&self.entity, name, &identifiers).await;
        let found = found.map_err(|error| Refused::target(target.name(), &error))?;
        let wanted = keys.iter_mut().filter(|(_, id)| id.is_ok());
        for ((place, id), found) in wanted.zip(found) {
            *id = identified(*place, found);
        }
        Ok(keys)
    }
}

/// A reason is shown to people, on terminals too.
pub fn check_reason(reason: Option<&str>) -> Result<(), Refused> {
    let Some(reason) = reason else { return Ok(()) };
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        let message = format!("a reason has {REASON_BYTES_MAX} bytes at most, and no control characters");
        return Err(Refused::bad("bad_request", message));
    }
    Ok(())
}

fn identified(place: u64, found: Identified) -> Result<Key, Refusal> {
    let (outcome, code, message) = match found {
        Identified::Key(key) => return Ok(key),
        Identified::Nobody => (Outcome::NotFound, "unknown_id", "no record has this identifier"),
        Identified::Several => (Outcome::Failed, "ambiguous_id", "more than one record has this identifier"),
        Identified::Unfit => {
            let message = "its column cannot hold this identifier exactly, or the record has no key";
            (Outcome::Failed, "unfit_id", message)
        }
    };
    Err(refusal(place, outcome, code, message.to_owned()))
}

fn refusal(place: u64, outcome: Outcome, code: &str, message: String) -> Refusal {
    Refusal { place, outcome, code: code.to_owned(), message }
}

/// That a request was taken: the same words whenever it is asked again.
#[derive(Serialize)]
pub struct Taken {
    #[serde(serialize_with = "super::report::as_text")]
    pub receipt: Seq,
    /// Ids, refused ones included.
    pub received: u64,
    pub accepted: u64,
    pub refused: u64,
    /// The first of those that were refused.
    pub faults: Vec<Fault>,
}

/// An id that became no deletion, and why.
#[derive(Serialize)]
pub struct Fault {
    pub n: u64,
    pub outcome: Outcome,
    pub code: String,
    pub message: String,
}

/// A request on its way into the journal.
pub struct Recording<'a> {
    api: &'a Api,
    token: &'a Token,
    ask: &'a Ask,
    /// SHA-256 of the key under which a repeat is recognised, hex.
    key: Option<&'a str>,
    /// Whoever asks means it, also what a webhook told of an hour ago: evidence of its own.
    evidence: Evidence,
    receipt: Option<Seq>,
    received: u64,
    refused: u64,
    faults: Vec<Fault>,
}

impl<'a> Recording<'a> {
    pub fn begin(api: &'a Api, token: &'a Token, ask: &'a Ask, key: Option<&'a str>) -> Self {
        let event_id = Some(format!("api:{}.{}", api.name, api.number()));
        let evidence = Evidence { event_id, ..Evidence::default() };
        let faults = Vec::new();
        Self { api, token, ask, key, evidence, receipt: None, received: 0, refused: 0, faults }
    }

    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Writes one part; with `fingerprint`, the last one.
    pub async fn part(
        &mut self,
        items: Vec<Item>,
        body: Option<Bytes>,
        fingerprint: Option<String>,
    ) -> Result<(), Refused> {
        let (mut places, mut notices, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let received = self.received + items.len() as u64;
        for (place, key) in self.ask.keys(self.api, items).await? {
            match key {
                Ok(key) => {
                    places.push(place);
                    notices.push(self.notice(key));
                }
                Err(refusal) => refused.push(refusal),
            }
        }
        let refused_in_all = self.refused + refused.len() as u64;
        let asked = Asked {
            request: self.receipt,
            by: self.token.name.clone(),
            key: self.key.map(ToOwned::to_owned),
            places,
            refused: refused.clone(),
            ended: fingerprint.map(|fingerprint| AskedEnd { fingerprint, received, refused: refused_in_all }),
        };
        let delivery = Delivery {
            source: "operator".into(),
            door: Door::Operator,
            run: None,
            notices,
            unreadable: vec![],
            reason: self.ask.reason.clone(),
            body,
        };
        let seq = self.api.intake.record_asked(delivery, asked).await?;
        self.receipt.get_or_insert(seq);
        (self.received, self.refused) = (received, refused_in_all);
        let room = (FAULTS_SHOWN as usize).saturating_sub(self.faults.len());
        self.faults.extend(refused.into_iter().take(room).map(Fault::from));
        Ok(())
    }

    fn notice(&self, key: Key) -> Notice {
        let (entity, evidence) = (self.ask.entity.clone(), self.evidence.clone());
        Notice { entity, key, action: Action::Delete, evidence }
    }

    /// Names what is in the journal already beside what went wrong.
    pub fn broken_off(&self, refused: Refused, request_id: &str) -> Refused {
        if let Some(receipt) = self.receipt {
            tracing::warn!(
                token = self.token.name,
                receipt,
                received = self.received,
                request_id,
                code = refused.code,
                "an upload broke off: what came of it is carried out"
            );
        }
        Refused { receipt: self.receipt, ..refused }
    }

    /// # Panics
    /// No part was written.
    pub fn taken(self, request_id: &str) -> Taken {
        let Self { token, received, refused, faults, .. } = self;
        let receipt = self.receipt.expect("a request that was accepted has its last part in the journal");
        tracing::info!(token = token.name, receipt, received, refused, request_id, "deletions asked for");
        Taken { receipt, received, accepted: received - refused, refused, faults }
    }
}

impl From<Refusal> for Fault {
    fn from(Refusal { place, outcome, code, message }: Refusal) -> Self {
        Self { n: place, outcome, code, message }
    }
}
