//! What the demo does and tells, step by step.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::folder::{DEALS, Folder, LISTINGS};
use crate::app::{Listening, Parts};
use crate::clock::SharedClock;
use crate::config::{Config, ProcessEnvironment, Secret};
use crate::fold;
use crate::sandbox::leadlex::LeadLexSettings;
use crate::sandbox::repliers::{ListingKey, RepliersSettings};
use crate::sandbox::{LeadLex, Repliers, Sandbox};
use crate::sources::http::plain_client;
use crate::store::chain::Verifier;

/// Listings that the simulated upstream deletes and tells of.
const TOLD: u32 = 12;
/// Listings that it deletes while the webhooks are lost.
const LOST: u32 = 5;
/// Deals that are deleted.
const LOST_DEALS: u32 = 3;
/// How often the demo looks whether a step is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The simulated upstreams.
pub struct Upstream {
    repliers: Arc<Repliers>,
    leadlex: Arc<LeadLex>,
}

impl Upstream {
    /// Starts them on the folder's port, with the listings that the replica has.
    pub async fn start(folder: &Folder, clock: SharedClock) -> anyhow::Result<Self> {
        let settings =
            RepliersSettings::documented(Secret::new("demo-api-key"), Secret::new("demo-hook-secret"));
        let repliers = Repliers::new(settings, clock.clone())?;
        let leadlex = LeadLex::new(LeadLexSettings::documented(Secret::new("demo-api-key")), clock.clone())?;
        for number in 1..=LISTINGS {
            repliers.list(&ListingKey::new(2, format!("W{number}")), clock.now());
        }
        for number in 1..=DEALS {
            leadlex.add(&format!("deal-{number}"), &format!("deal {number}"));
        }
        let hooks = format!("http://127.0.0.1:{}/hooks", folder.hooks);
        for event in ["listing.deleted", "listing.updated"] {
            repliers.subscribe_known(event, &format!("{hooks}/repliers/{event}"));
        }
        leadlex.subscribe(&format!("{hooks}/leadlex"), Secret::new("demo-leadlex-secret"));
        let listener = TcpListener::bind(("127.0.0.1", folder.upstream)).await?;
        let sandbox = Sandbox::new(vec![repliers.clone(), leadlex.clone()]);
        tokio::spawn(sandbox.serve(listener, CancellationToken::new()));
        Ok(Self { repliers, leadlex })
    }
}

/// The tour.
pub async fn tell(
    folder: &Folder,
    upstream: &Upstream,
    listening: Listening,
    clock: SharedClock,
) -> anyhow::Result<()> {
    println!(
        "1. Seeded {LISTINGS} listings (3 images and 1 booking each), {DEALS} deals and a search index."
    );
    println!("   The daemon listens on http://{} for webhooks.", listening.hooks);
    first_run(folder, &clock).await?;
    webhooks(folder, upstream, &clock).await?;
    forged(listening).await?;
    feed(folder, upstream, &clock).await?;
    journal(folder, clock).await?;
    println!("\nWhere to look next:");
    println!("  expunged --config {0} status", folder.config().display());
    println!("  expunged --config {} explain --entity listing --key 2 W1", folder.config().display());
    println!("  http://{0}/metrics   http://{0}/readyz", listening.admin);
    Ok(())
}

/// The daemon has never read the feed, and so does it at its start.
async fn first_run(folder: &Folder, clock: &SharedClock) -> anyhow::Result<()> {
    let config = Config::load(&folder.config(), &ProcessEnvironment)?;
    let parts = Parts::open(config, clock.clone(), false).await?;
    until(async || Ok(parts.store.checkpoint("repliers").await?.is_some())).await?;
    println!("   It has read the upstream's deleted feed for the first time: nothing in it so far.");
    Ok(())
}

async fn webhooks(folder: &Folder, upstream: &Upstream, clock: &SharedClock) -> anyhow::Result<()> {
    for number in 1..=TOLD {
        upstream.repliers.delete(&ListingKey::new(2, format!("W{number}")), clock.now());
    }
    for number in 1..=LOST_DEALS {
        upstream.leadlex.delete(&format!("deal-{number}"));
    }
    upstream.repliers.terminate(&ListingKey::new(2, "W900"), clock.now());
    let rows = LISTINGS - TOLD;
    until(async || {
        Ok(count(folder, "listings").await? == rows
            && count(folder, "deals").await? == DEALS - LOST_DEALS
            && count(folder, "listings WHERE active = 0").await? == 1)
    })
    .await?;
    documents(folder, rows).await?;
    println!("2. The upstreams deleted {TOLD} listings and {LOST_DEALS} deals, and sent signed webhooks:");
    println!("   {rows} listings are left, {} images, {rows} documents.", count(folder, "images").await?);
    println!(
        "   The bookings stay, without their listing. A listing that was terminated stays, marked inactive."
    );
    Ok(())
}

async fn forged(listening: Listening) -> anyhow::Result<()> {
    let url = format!("http://{}/hooks/repliers/listing.deleted", listening.hooks);
    let request = plain_client()?.post(url).header("x-hook-secret", "a guess");
    let answer = request.body(r#"{"data":{"boardId":2,"mlsNumber":"W500"}}"#).send().await?;
    anyhow::ensure!(answer.status() == 401, "a forged delivery was answered {}", answer.status());
    println!(
        "3. Somebody forged a deletion of listing W500: refused with {}, nothing stored.",
        answer.status()
    );
    Ok(())
}

async fn feed(folder: &Folder, upstream: &Upstream, clock: &SharedClock) -> anyhow::Result<()> {
    upstream.repliers.deliveries().lose_next(LOST);
    for number in 101..=100 + LOST {
        upstream.repliers.delete(&ListingKey::new(2, format!("W{number}")), clock.now());
    }
    println!("4. {LOST} more were deleted, and their webhooks got lost. Reconciling with the deleted feed:");
    let config = Config::load(&folder.config(), &ProcessEnvironment)?;
    let parts = Parts::open(config, clock.clone(), false).await?;
    let source = parts.config.sources.iter().find(|source| source.name == "repliers");
    let source = source.ok_or_else(|| anyhow::anyhow!("the demo's configuration has no repliers"))?;
    let report = parts.reconciler().run(source, None, &|_, _| {}).await?;
    fold::catch_up(&parts.store).await?;
    let run = parts.store.runs(Some("repliers"), 8).await?.into_iter().find(|run| Some(run.id) == report.run);
    let run = run.ok_or_else(|| anyhow::anyhow!("the run is not in the journal"))?;
    println!(
        "   {} deletions found: {} known by webhook, {} new. The webhooks had missed {:.0} %.",
        run.found,
        run.counts.by_webhook,
        run.counts.fresh,
        run.counts.missed_by_webhooks().unwrap_or(0.0) * 100.0
    );
    let rows = LISTINGS - TOLD - LOST;
    until(async || Ok(count(folder, "listings").await? == rows)).await?;
    documents(folder, rows).await?;
    println!("   {rows} listings and {rows} documents are left.");
    Ok(())
}

async fn journal(folder: &Folder, clock: SharedClock) -> anyhow::Result<()> {
    let config = Config::load(&folder.config(), &ProcessEnvironment)?;
    let parts = Parts::open(config, clock, false).await?;
    let (mut verifier, mut after) = (Verifier::default(), 0);
    loop {
        let entries = parts.store.entries(after, 1_024, usize::MAX).await?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        entries.iter().try_for_each(|entry| verifier.follow(entry))?;
    }
    println!("5. The journal verifies: {after} entries, from the first notice to the last removal.");
    Ok(())
}

async fn documents(folder: &Folder, expected: u32) -> anyhow::Result<()> {
    let index = tantivy::Index::open_in_dir(folder.index())?;
    until(async || {
        let reader = index.reader_builder().reload_policy(tantivy::ReloadPolicy::Manual).try_into()?;
        let reader: tantivy::IndexReader = reader;
        Ok(reader.searcher().num_docs() == u64::from(expected))
    })
    .await
}

async fn count(folder: &Folder, what: &str) -> anyhow::Result<u32> {
    let mut replica = folder.replica().await?;
    let text = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {what}"));
    Ok(sqlx::query_scalar(text).fetch_one(&mut replica).await?)
}

/// Looks until it is so; the caller bounds the time.
async fn until<F: Future<Output = anyhow::Result<bool>>>(look: impl Fn() -> F) -> anyhow::Result<()> {
    while !look().await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
