//! Asks an upstream to send its webhooks, lists what it sends where, and takes it back.
//!
//! The secret that the upstream offers meanwhile comes in through the public door and is not seen here. Making a
//! subscription is never tried twice: the first try may have been heard.

use url::Url;

use super::feed::client::{Ask, shown};
use super::feed::{Client, FeedError};
use super::json::{Document, Fault, Item};
use crate::clock::SharedClock;
use crate::config::source::{Access, Pointer, Pointers, Subscriptions};

/// A subscription, as the upstream has it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Subscription {
    pub id: String,
    pub event: String,
    pub target: String,
}

/// Why it could not be asked, or was not understood.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    #[error(transparent)]
    Asking(#[from] FeedError),
    #[error("{url} answered something unreadable: {what}: {fault}")]
    Answer { url: String, what: String, fault: Fault },
}

/// The subscriptions of one source.
pub struct Registrar {
    patient: Client,
    /// For what must not be asked twice.
    once: Client,
    rule: Subscriptions,
}

impl Registrar {
    /// # Errors
    /// A header or the trust store cannot be used.
    pub fn new(rule: &Subscriptions, clock: SharedClock) -> Result<Self, FeedError> {
        let once = Access { attempts_max: 1, ..rule.access.clone() };
        Ok(Self {
            patient: Client::new(&rule.access, clock.clone())?,
            once: Client::new(&once, clock)?,
            rule: rule.clone(),
        })
    }

    /// Asks for `event` at `target`; the number of the subscription, where the answer names one.
    ///
    /// # Errors
    /// The upstream refused, or its answer did not arrive: then it may have subscribed us all the same.
    pub async fn subscribe(&self, event: &str, target: &str) -> Result<Option<String>, SubscriptionError> {
        let url = self.url(None)?;
        let body = serde_json::json!({ &self.rule.event: event, &self.rule.target: target });
        let answer = self.once.ask(&Ask::post(&url, body.to_string())).await?;
        let document = Document::parse(&answer.body).ok();
        Ok(document.and_then(|document| field(&document.root(), &self.rule.id).ok()))
    }

    /// # Errors
    /// The upstream could not be asked, or its answer was not understood.
    pub async fn list(&self) -> Result<Vec<Subscription>, SubscriptionError> {
        let url = self.url(None)?;
        let answer = self.patient.get(&url).await?;
        let unreadable =
            |what: &str, fault| SubscriptionError::Answer { url: shown(&url), what: what.to_owned(), fault };
        let document = Document::parse(&answer.body).map_err(|fault| unreadable("body", fault))?;
        let items = document.items(&self.rule.items).map_err(|fault| unreadable("items", fault))?;
        let named =
            |item: &Item<'_, '_>, name: &str| field(item, name).map_err(|fault| unreadable(name, fault));
        let read = |item: &Item<'_, '_>| {
            Ok(Subscription {
                id: named(item, &self.rule.id)?,
                event: named(item, &self.rule.event)?,
                target: named(item, &self.rule.target)?,
            })
        };
        items.iter().map(read).collect()
    }

    /// Takes a subscription back; `false` if there was none of that number.
    ///
    /// # Errors
    /// The upstream could not be asked.
    pub async fn unsubscribe(&self, id: &str) -> Result<bool, SubscriptionError> {
        let url = self.url(Some(id))?;
        match self.patient.ask(&Ask::delete(&url)).await {
            Ok(_) => Ok(true),
            Err(FeedError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn url(&self, id: Option<&str>) -> Result<Url, FeedError> {
        let setup = || FeedError::Setup("the url of the subscriptions is not absolute".into());
        let mut url = Url::parse(&self.rule.url).map_err(|_| setup())?;
        if let Some(id) = id {
            // Dots alone are no name but a way up, to all subscriptions at once.
            if matches!(id, "" | "." | "..") {
                return Err(FeedError::Setup("the subscription's id is empty or made of dots".into()));
            }
            url.path_segments_mut().map_err(|()| setup())?.push(id);
        }
        Ok(url)
    }
}

fn field(item: &Item<'_, '_>, name: &str) -> Result<String, Fault> {
    let place: Pointers = vec![Pointer { whole: false, tokens: vec![name.to_owned()] }];
    item.exact_text(&place).map(std::borrow::Cow::into_owned)
}
