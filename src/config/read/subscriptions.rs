//! Reads how an upstream is asked to send its webhooks.

use super::super::Secret;
use super::super::source::Subscriptions;
use super::feed::{carried, credential};
use super::pull::access;
use super::{Field, Section};

/// The subscriptions of a source; `subscriptions = false` takes a preset's away.
pub(super) fn subscriptions(source: &Section<'_>) -> Option<Subscriptions> {
    let field = source.get("subscriptions").filter(|field| !field.is_false())?;
    field.section(|section| {
        let url = url(section, source);
        let credential = section.get("credential").map(|field| field.section(credential));
        // A key that is missing is told when somebody subscribes: nothing else needs it.
        let key = source.get("api_key").map(|field| carried(&field));
        let has_credential = credential.is_none() || key.is_some();
        let headers = match (credential, key) {
            (Some(credential), Some(key)) => credential.zip(key).map(|((name, prefix), key)| {
                vec![(name, Secret::new([prefix.as_bytes(), key.expose()].concat()))]
            }),
            (Some(None), None) => None,
            (Some(Some(_)) | None, _) => Some(Vec::new()),
        };
        let items = section.pointers("items");
        let mend = "name the field with a subscription's number, like id = \"id\"";
        let id = section.required("id", mend, Field::name);
        let mend = "name the field with the event, like event = \"event\"";
        let event = section.required("event", mend, Field::name);
        let mend = "name the field with our URL, like target = \"target_url\"";
        let target = section.required("target", mend, Field::name);
        let mend = "name the header that brings the secret, like handshake = \"x-hook-secret\"";
        let handshake = section.required("handshake", mend, Field::header);
        let access = access(section, headers);
        Some(Subscriptions {
            access: access?,
            has_credential,
            url: url?,
            items,
            id: id?,
            event: event?,
            target: target?,
            handshake: handshake?,
        })
    })
}

/// An absolute URL, or a path under the source's `base_url`.
fn url(section: &Section<'_>, source: &Section<'_>) -> Option<String> {
    let mend = "say where subscriptions are made: url = \"https://…\", or a path under base_url";
    let Some(field) = section.get("url") else { return section.fault("url", "missing", mend) };
    let text = field.text()?;
    if !text.starts_with('/') {
        return field.url();
    }
    if source.get("base_url").is_none() {
        return field.fault(
            "is a path without a base",
            "give the source a base_url, like \"https://api.example.com\"",
        );
    }
    Some(format!("{}{text}", source.optional("base_url", Field::url)?))
}
