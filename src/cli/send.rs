//! `expunged send`: a test deletion, signed as its upstream would sign it, to see that everything is connected.

use std::process::ExitCode;

use clap::Args;

use super::Context;
use crate::config::source::{Auth, EventFrom, EventRule, Meaning};
use crate::config::{self, Source};
use crate::domain::{Action, Timestamp};
use crate::sources::compose;
use crate::sources::http;
use crate::sources::signature::{Draft, Signer};
use crate::vault::Vault;

/// What to send.
#[derive(Debug, Args)]
pub struct Send {
    /// The source in whose name it is sent
    #[arg(long)]
    source: String,
    /// The parts of the key, in the configuration's order
    #[arg(long, num_args = 1.., required = true)]
    key: Vec<String>,
    /// The event's name; without it the first one that means a deletion
    #[arg(long)]
    event: Option<String>,
    /// Where to; without it the configuration's own listener on this machine
    #[arg(long)]
    url: Option<String>,
}

impl Send {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let config = &context.config;
        let Some(source) = config.sources.iter().find(|source| source.name == self.source) else {
            anyhow::bail!("no source {}", self.source);
        };
        let Some(auth) = &source.auth else {
            anyhow::bail!("source {} takes no webhooks: it has no auth", source.name);
        };
        let Some(event) = self.event.clone().or_else(|| deleting(source)) else {
            anyhow::bail!("no event of source {} means a deletion: name one with --event", source.name);
        };
        let now = context.clock.now();
        let url = self.url.clone().unwrap_or_else(|| own_url(&config.server, source, &event));
        let body = compose::body(source, &self.key, &event, now)?;
        let id = format!("test_{}", now.micros());
        let signed_url = public_url(&config.server, &url);
        let draft = Draft { method: "POST", url: &signed_url, id: &id, body: body.as_bytes() };
        let kept = Vault::beside(&config.state.path).secrets(&source.name)?;
        let secrets =
            auth.secrets.iter().cloned().chain(kept.into_iter().map(|(_, secret)| secret)).collect();
        let auth = Auth { scheme: auth.scheme.clone(), secrets };
        let headers = Signer::new(&auth)?.sign(&draft, now);
        post(&url, source, &event, headers, body, now).await
    }
}

async fn post(
    url: &str,
    source: &Source,
    event: &str,
    headers: Vec<(String, String)>,
    body: String,
    now: Timestamp,
) -> anyhow::Result<ExitCode> {
    let mut request = http::plain_client()?.post(url).header("content-type", "application/json").body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let EventFrom::Header(name) = &source.payload.event {
        request = request.header(name, event);
    }
    let answer = request
        .send()
        .await
        .map_err(|error| anyhow::anyhow!("{url}: {}: is the daemon running?", error.without_url()))?;
    let (status, text) = (answer.status(), answer.text().await?);
    println!("{event} sent at {now}: {status} {text}");
    Ok(ExitCode::from(u8::from(!status.is_success())))
}

/// The first event that means a deletion.
fn deleting(source: &Source) -> Option<String> {
    let deletes = |rule: &EventRule| *rule == EventRule::Means(Meaning::Notice(Action::Delete));
    source.events.iter().find(|(_, rule)| deletes(rule)).map(|(event, _)| event.clone())
}

fn own_url(server: &config::Server, source: &Source, event: &str) -> String {
    let mut address = server.hooks;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    match source.payload.event {
        EventFrom::Path => format!("http://{address}/hooks/{}/{event}", source.name),
        _ => format!("http://{address}/hooks/{}", source.name),
    }
}

/// The address under which the upstream would have called `url`: what a signature over the URL covers.
fn public_url(server: &config::Server, url: &str) -> String {
    let path = url::Url::parse(url).map_or_else(|_| String::new(), |url| url.path().to_owned());
    server
        .public_url
        .as_ref()
        .map_or_else(|| url.to_owned(), |public| format!("{}{path}", public.trim_end_matches('/')))
}
