//! `expunged sources`: what the sources are, and who of them was asked to send webhooks.
//!
//! Subscribing needs the daemon: the upstream offers a secret at the public door while we wait here. Both know of
//! each other by the vault alone.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use url::Url;

use super::token::random;
use super::{Context, print};
use crate::config::Config;
use crate::config::source::{Source, Subscriptions};
use crate::sources::feed::FeedError;
use crate::sources::subscriptions::{Registrar, Subscription, SubscriptionError};
use crate::store::sqlite::expect_journal;
use crate::vault::{HANDSHAKE_WORD, Vault};

/// The longest wait for a handshake: while one is awaited, the door stands open for whoever knows its word.
const WAIT_MAX_SECONDS: u64 = 60;
/// Too many to be tried out in that time.
const WORD_BYTES: usize = 16;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to do.
#[derive(Debug, Args)]
pub struct Sources {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the sources, the doors that they come through, and what they were asked to send
    List,
    /// Ask a source to send an event, while the daemon runs to take its secret
    Subscribe(Subscribe),
    /// Ask a source to send an event no more, and forget its secret
    Unsubscribe(Unsubscribe),
}

#[derive(Debug, Args)]
struct Subscribe {
    /// The source's name
    source: String,
    /// The event, as the source names it
    #[arg(long)]
    event: String,
    /// Where to; without it the event's path under server.public_url
    #[arg(long)]
    url: Option<String>,
    /// Seconds that the upstream's handshake may take once it has answered: some make it right after
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=WAIT_MAX_SECONDS))]
    wait: u64,
}

#[derive(Debug, Args)]
struct Unsubscribe {
    /// The source's name
    source: String,
    /// The event, as the source names it
    #[arg(long)]
    event: String,
    /// The one that goes there, if there are several
    #[arg(long)]
    url: Option<String>,
}

impl Sources {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::List => list(&context).await,
            Action::Subscribe(subscribe) => subscribe.run(&context).await,
            Action::Unsubscribe(unsubscribe) => unsubscribe.run(&context).await,
        }
    }
}

/// A source that can be asked for webhooks.
struct Asked<'c> {
    source: &'c Source,
    registrar: Registrar,
    vault: Vault,
}

impl<'c> Asked<'c> {
    fn find(context: &'c Context, name: &str, event: &str) -> anyhow::Result<Self> {
        // The vault lies beside it, where the daemon must find the same one.
        expect_journal(&context.config.state.path)?;
        let config = &context.config;
        let Some(source) = config.sources.iter().find(|source| source.name == name) else {
            anyhow::bail!("no source {name}: there is {}", names(config));
        };
        let Some(rule) = &source.subscriptions else {
            anyhow::bail!("source {name} says nothing of subscriptions: register its webhooks by hand");
        };
        if !rule.has_credential {
            anyhow::bail!("source {name} has no api_key, without which nobody may subscribe");
        }
        if !source.events.contains_key(event) {
            let events: Vec<_> = source.events.keys().map(String::as_str).collect();
            anyhow::bail!("source {name} knows no event {event}: it knows {}", events.join(", "));
        }
        Ok(Self { source, registrar: registrar(context, rule)?, vault: vault(config) })
    }

    /// Those of one event, at one URL or any.
    async fn existing(&self, event: &str, url: Option<&str>) -> Result<Vec<Subscription>, SubscriptionError> {
        let mut all = self.registrar.list().await?;
        let same = |one: &Subscription| url.is_none_or(|url| without_word(&one.target) == without_word(url));
        all.retain(|one| one.event == event && same(one));
        Ok(all)
    }
}

impl Subscribe {
    async fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let asked = Asked::find(context, &self.source, &self.event)?;
        let word = hex::encode(random::<WORD_BYTES>()?);
        let url = with_word(&self.target(&context.config)?, &word)?;
        asked.vault.expect(&self.source, &self.event, &word, context.clock.now())?;
        let result = self.ask(&asked, &url).await;
        asked.vault.stop_expecting(&self.source, &self.event)?;
        let id = result?;
        if context.json {
            print::json(&json!({ "source": self.source, "event": self.event, "target": url, "id": id }))?;
        } else {
            let number = id.map_or(String::new(), |id| format!(" (number {id})"));
            println!("{} sends {} to {url}{number}; its secret is kept", self.source, self.event);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn target(&self, config: &Config) -> anyhow::Result<String> {
        match (&self.url, &config.server.public_url) {
            (Some(url), _) => Ok(url.clone()),
            (None, Some(public)) => {
                let public = public.trim_end_matches('/');
                Ok(format!("{public}/hooks/{}/{}", self.source, self.event))
            }
            (None, None) => anyhow::bail!("say where to with --url, or set server.public_url"),
        }
    }

    /// Subscribes, and waits for the secret. What fails leaves neither a subscription nor a secret.
    async fn ask(&self, asked: &Asked<'_>, url: &str) -> anyhow::Result<Option<String>> {
        let id = match asked.registrar.subscribe(&self.event, url).await {
            Ok(id) => id,
            Err(error) => {
                let refused = matches!(
                    error,
                    SubscriptionError::Asking(FeedError::Refused { .. } | FeedError::Credential { .. })
                );
                // Without an answer it may have been heard all the same.
                let found = if refused { vec![] } else { asked.existing(&self.event, Some(url)).await? };
                let Some(found) = found.into_iter().next() else {
                    asked.vault.forget(&self.source, &self.event)?;
                    return Err(anyhow::Error::new(error).context(format!(
                        "not subscribed: is the daemon running, does {url} lead to it, and is that URL not used yet?"
                    )));
                };
                Some(found.id)
            }
        };
        if self.has_secret(asked).await? {
            return Ok(id);
        }
        if let Some(id) = &id {
            asked.registrar.unsubscribe(id).await?;
        }
        // One that came meanwhile is the secret of nothing.
        asked.vault.stop_expecting(&self.source, &self.event)?;
        asked.vault.forget(&self.source, &self.event)?;
        anyhow::bail!(
            "no secret was offered within {} s, so the subscription was taken back: does {url} lead to the daemon?",
            self.wait
        )
    }

    async fn has_secret(&self, asked: &Asked<'_>) -> anyhow::Result<bool> {
        let looking = async {
            while asked.vault.secret(&self.source, &self.event)?.is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(Duration::from_secs(self.wait), looking).await {
            Ok(found) => found.map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

/// The address that is subscribed, with the word that its handshake has to say.
fn with_word(url: &str, word: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(url).with_context(|| format!("{url} is no absolute URL"))?;
    url.query_pairs_mut().append_pair(HANDSHAKE_WORD, word);
    Ok(url.into())
}

/// The same address as a person writes it.
fn without_word(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    let pairs = parsed.query_pairs().filter(|(name, _)| name != HANDSHAKE_WORD);
    let pairs: Vec<(String, String)> = pairs.map(|(name, value)| (name.into(), value.into())).collect();
    parsed.set_query(None);
    if !pairs.is_empty() {
        parsed.query_pairs_mut().extend_pairs(pairs);
    }
    parsed.into()
}

impl Unsubscribe {
    async fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let asked = Asked::find(context, &self.source, &self.event)?;
        let found = asked.existing(&self.event, self.url.as_deref()).await?;
        if found.len() > 1 {
            let targets: Vec<_> = found.iter().map(|one| one.target.as_str()).collect();
            anyhow::bail!("{} goes to {}: name one with --url", self.event, targets.join(" and to "));
        }
        for one in &found {
            asked.registrar.unsubscribe(&one.id).await?;
        }
        let forgotten = asked.vault.forget(&asked.source.name, &self.event)?;
        let was = if found.is_empty() { "was not sent" } else { "is not sent any more" };
        let secret = if forgotten { "its secret is forgotten" } else { "no secret of it was kept" };
        println!("{}: {} {was}; {secret}", self.source, self.event);
        Ok(ExitCode::from(u8::from(found.is_empty() && !forgotten)))
    }
}

async fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let vault = vault(&context.config);
    let (mut shown, mut faulty) = (Vec::new(), false);
    for source in &context.config.sources {
        let kept: Vec<String> = vault.secrets(&source.name)?.into_iter().map(|(event, _)| event).collect();
        let subscriptions = match source.subscriptions.as_ref().filter(|rule| rule.has_credential) {
            Some(rule) => Some(registrar(context, rule)?.list().await),
            None => None,
        };
        faulty |= matches!(subscriptions, Some(Err(_)));
        if context.json {
            shown.push(json!({
                "name": source.name,
                "entity": source.entity.as_str(),
                "doors": doors(source),
                "secrets_kept": kept,
                "subscriptions": subscriptions.as_ref().and_then(|all| all.as_ref().ok()),
                "error": subscriptions.as_ref().and_then(|all| Some(all.as_ref().err()?.to_string())),
            }));
        } else {
            println!("{}: {}, by {}", source.name, source.entity, doors(source).join(", "));
            if let Some(all) = &subscriptions {
                print_subscriptions(all, &kept);
            }
        }
    }
    if context.json {
        print::json(&shown)?;
    }
    Ok(ExitCode::from(u8::from(faulty)))
}

fn print_subscriptions(all: &Result<Vec<Subscription>, SubscriptionError>, kept: &[String]) {
    match all {
        Ok(all) if all.is_empty() => println!("  no subscriptions: see `expunged sources subscribe --help`"),
        Ok(all) => {
            for one in all {
                let secret = if kept.contains(&one.event) { ", secret kept" } else { "" };
                println!("  {} to {} (number {}{secret})", one.event, one.target, one.id);
            }
        }
        Err(error) => println!("  subscriptions unknown: {error}"),
    }
}

/// The ways in which a source tells of deletions.
fn doors(source: &Source) -> Vec<&'static str> {
    let doors = [
        ("webhooks", source.auth.is_some()),
        ("pull endpoint", source.pull.is_some()),
        ("deleted feed", source.feed.is_some()),
    ];
    doors.into_iter().filter(|(_, open)| *open).map(|(door, _)| door).collect()
}

fn names(config: &Config) -> String {
    config.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn registrar(context: &Context, rule: &Subscriptions) -> anyhow::Result<Registrar> {
    Ok(Registrar::new(rule, context.clock.clone())?)
}

fn vault(config: &Config) -> Vault {
    Vault::beside(&config.state.path)
}
