//! The webhook door over the network: the order of its checks, and what it leaves behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expunged::app::{self, Listening};
use expunged::clock::ManualClock;
use expunged::config::{Config, Secret};
use expunged::domain::Event;
use expunged::domain::event::Heard;
use expunged::lifecycle::{Ending, Stop};
use expunged::sandbox::LeadLex;
use expunged::sandbox::leadlex::LeadLexSettings;
use expunged::sandbox::repliers::ListingKey;
use expunged::sources::http::plain_client;
use expunged::store::SharedStore;
use expunged::store::sqlite::{OpenOptions, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::mirror::{self, HOOK_SECRET, OLD_HOOK_SECRET};
use crate::support::rig::until;
use crate::support::secrets::FORGED;

/// A whole daemon, as `serve` runs it.
struct Daemon {
    folder: TempDir,
    clock: Arc<ManualClock>,
    listening: Listening,
    stop: Stop,
    task: JoinHandle<anyhow::Result<Ending>>,
    client: reqwest::Client,
}

/// An answer as the sender sees it.
struct Seen {
    status: u16,
    retry_after: Option<String>,
    text: String,
}

impl Daemon {
    async fn start(top: &str, repliers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        mirror::seed(folder.path(), &[], &[]).await;
        let config = mirror::config(folder.path(), "http://127.0.0.1:9", top, repliers);
        Self::serve(folder, config).await
    }

    async fn serve(folder: TempDir, config: Config) -> Self {
        let (clock, stop) = (mirror::clock(), Stop::default());
        let (told, listening) = tokio::sync::oneshot::channel();
        let serving = app::serve(config, clock.clone(), stop.clone(), move |at| told.send(at).unwrap());
        let task = tokio::spawn(serving);
        let listening = listening.await.unwrap();
        Self { folder, clock, listening, stop, task, client: plain_client().unwrap() }
    }

    async fn post(&self, path: &str, secret: &str, body: impl Into<reqwest::Body>) -> Seen {
        let url = format!("http://{}/hooks/{path}", self.listening.hooks);
        let answer = self.client.post(url).header("x-hook-secret", secret).body(body).send().await.unwrap();
        let retry_after = answer.headers().get("retry-after").map(|it| it.to_str().unwrap().to_owned());
        Seen { status: answer.status().as_u16(), retry_after, text: answer.text().await.unwrap() }
    }

    async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.listening.admin);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    async fn stop(self) -> TempDir {
        self.stop.drain.cancel();
        assert_eq!(self.task.await.unwrap().unwrap(), Ending::Drained);
        self.folder
    }
}

async fn store(folder: &Path) -> SharedStore {
    let options = OpenOptions { daemon: false, queue_max: 8 };
    Arc::new(SqliteStore::open(&folder.join("state.db"), options).await.unwrap().0)
}

/// What was heard, with the numbers of the entries.
async fn heard(store: &SharedStore) -> Vec<(i64, Heard)> {
    let entries = store.entries(0, u32::MAX, usize::MAX).await.unwrap();
    let heard = entries.iter().filter_map(|entry| match entry.event().unwrap() {
        Event::Heard(heard) => Some((entry.seq, heard)),
        _ => None,
    });
    heard.collect()
}

fn deletion(mls: &str) -> String {
    format!(r#"{{"data":{{"boardId":2,"mlsNumber":"{mls}","updatedOn":"2024-05-16T09:00:00.000Z"}}}}"#)
}

fn receipt(seen: &Seen) -> i64 {
    let value: serde_json::Value = serde_json::from_str(&seen.text).unwrap();
    value["receipt"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn size_is_looked_at_before_the_signature_and_neither_stores_anything() {
    let daemon = Daemon::start("[server.limits]\nbody_bytes_max = \"1KiB\"", "").await;
    let large = "x".repeat(1_025);
    assert_eq!(daemon.post("repliers/listing.deleted", FORGED, large.clone()).await.status, 413);
    assert_eq!(daemon.post("repliers/listing.deleted", HOOK_SECRET, large).await.status, 413);
    let forged = daemon.post("repliers/listing.deleted", FORGED, deletion("W1")).await;
    assert_eq!((forged.status, forged.text.as_str()), (401, r#"{"error":"not authentic"}"#));
    assert_eq!(daemon.post("nobody/listing.deleted", HOOK_SECRET, deletion("W1")).await.status, 404);
    assert_eq!(daemon.post("", HOOK_SECRET, deletion("W1")).await.status, 404);
    let folder = daemon.stop().await;
    assert_eq!(heard(&store(folder.path()).await).await, []);
}

#[tokio::test]
async fn the_rate_of_a_source_counts_only_what_is_authentic() {
    let daemon = Daemon::start("", "rate_per_second = 1").await;
    for _ in 0..20 {
        assert_eq!(daemon.post("repliers/listing.deleted", FORGED, deletion("W1")).await.status, 401);
    }
    let (mut taken, mut refused) = (0, 0);
    while refused == 0 {
        let posts = (0..20).map(|_| daemon.post("repliers/listing.deleted", HOOK_SECRET, deletion("W1")));
        for post in futures_all(posts).await {
            match post.status {
                202 => taken += 1,
                429 => {
                    assert_eq!(post.retry_after.as_deref(), Some("1"));
                    refused += 1;
                }
                other => panic!("{other}"),
            }
        }
    }
    assert!(taken > 0, "forged deliveries spend nothing of the rate");
    let folder = daemon.stop().await;
    assert_eq!(heard(&store(folder.path()).await).await.len(), taken, "what was refused is not stored");
}

/// All at once.
async fn futures_all<F: Future<Output = Seen>>(posts: impl Iterator<Item = F>) -> Vec<Seen> {
    let mut posts: Vec<_> = posts.map(|post| (Box::pin(post), None)).collect();
    std::future::poll_fn(|context| {
        for (post, seen) in &mut posts {
            if seen.is_none()
                && let std::task::Poll::Ready(answer) = post.as_mut().poll(context)
            {
                *seen = Some(answer);
            }
        }
        if posts.iter().all(|(_, seen)| seen.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    posts.into_iter().filter_map(|(_, seen)| seen).collect()
}

#[tokio::test]
async fn i6_what_is_authentic_and_unreadable_is_acknowledged_kept_and_parked() {
    let daemon = Daemon::start("", "").await;
    let bodies = ["not json", r#"{"data":[{"boardId":2},{"boardId":2,"mlsNumber":"W7"}]}"#];
    let mut receipts = Vec::new();
    for body in bodies {
        let seen = daemon.post("repliers/listing.deleted", HOOK_SECRET, body).await;
        assert_eq!(seen.status, 202);
        receipts.push(receipt(&seen));
    }
    let counted = r#"expunged_notices_total{source="repliers",door="webhook",result="unreadable"} 2"#;
    until("both are counted", async || daemon.metrics().await.contains(counted)).await;
    let folder = daemon.stop().await;
    let store = store(folder.path()).await;
    let heard = heard(&store).await;
    for ((body, receipt), (seq, heard)) in bodies.iter().zip(receipts).zip(heard.iter()) {
        assert_eq!((receipt, heard.unreadable.len()), (*seq, 1));
        assert_eq!(store.body(*seq).await.unwrap().unwrap(), body.as_bytes());
    }
    assert_eq!(heard[1].1.notices.len(), 1, "the readable one beside it is not lost");
    assert_eq!(store.tally().await.unwrap().unreadable, 2);
}

#[tokio::test]
async fn an_event_that_means_nothing_is_acknowledged_and_counted_and_leaves_no_entry() {
    let daemon = Daemon::start("", "").await;
    let seen = daemon.post("repliers/property.viewed", HOOK_SECRET, deletion("W1")).await;
    assert_eq!((seen.status, seen.text.as_str()), (202, r#"{"receipt":null,"ignored":true}"#));
    let counted = r#"expunged_notices_total{source="repliers",door="webhook",result="ignored"} 1"#;
    assert!(daemon.metrics().await.contains(counted));
    let folder = daemon.stop().await;
    assert_eq!(heard(&store(folder.path()).await).await, []);
}

#[tokio::test]
async fn i1_nothing_is_acknowledged_that_is_not_in_the_journal_when_the_queue_is_full() {
    let top = "queue_max = 1";
    let daemon = Daemon::start(top, "").await;
    let options = SqliteConnectOptions::new().filename(daemon.folder.path().join("state.db"));
    let mut other = options.disable_statement_logging().connect().await.unwrap();
    // Another process writes for long: the writer has one request in hand, one waits, the others are refused.
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let names: Vec<String> = (0..8).map(|number| deletion(&format!("W{number}"))).collect();
    let posts = names.iter().map(|body| daemon.post("repliers/listing.deleted", HOOK_SECRET, body.clone()));
    let answers = tokio::join!(futures_all(posts), async {
        until("somebody was refused", async || {
            let none = r#"expunged_deliveries_total{source="repliers",status="503"} 0"#;
            !daemon.metrics().await.contains(none)
        })
        .await;
        held.rollback().await.unwrap();
    });
    let mut receipts = Vec::new();
    for seen in answers.0 {
        match seen.status {
            202 => receipts.push(receipt(&seen)),
            503 => assert!(seen.retry_after.is_some()),
            other => panic!("{other}"),
        }
    }
    let folder = daemon.stop().await;
    let stored: Vec<i64> = heard(&store(folder.path()).await).await.iter().map(|(seq, _)| *seq).collect();
    receipts.sort_unstable();
    assert_eq!(receipts, stored);
}

#[tokio::test]
async fn in_a_rotation_the_old_secret_verifies_and_is_seen_to_be_used() {
    let daemon = Daemon::start("", "").await;
    let used = |secret: &str| {
        format!(r#"secret_last_used_timestamp_seconds{{source="repliers",secret="{secret}"}}"#)
    };
    assert_eq!(daemon.post("repliers/listing.deleted", HOOK_SECRET, deletion("W1")).await.status, 202);
    let metrics = daemon.metrics().await;
    assert!(metrics.contains(&used("current")) && !metrics.contains(&used("old1")), "{metrics}");
    daemon.clock.set(mirror::time("2024-05-16T11:00:00Z"));
    assert_eq!(daemon.post("repliers/listing.deleted", OLD_HOOK_SECRET, deletion("W2")).await.status, 202);
    let at = mirror::time("2024-05-16T11:00:00Z").seconds();
    assert!(daemon.metrics().await.contains(&format!("{} {at}", used("old1"))));
    daemon.stop().await;
}

/// As the design gives it, with a folder and ports of the test.
const DESIGN: &str = r#"
[server]
hooks = "127.0.0.1:0"
admin = "127.0.0.1:0"

[state]
url = "sqlite://FOLDER/expunged.db"

[sources.repliers]
preset  = "repliers"
base_url = "UPSTREAM"
secret  = { file = "/run/credentials/repliers" }
api_key = { env = "REPLIERS_API_KEY" }
feed    = { schedule = "0 15 3 * * *", overlap = "48h" }

[sources.leadlex]
preset = "leadlex"
secret = { env = "LEADLEX_SECRET" }

[targets.replica]
kind = "sql"
url  = { env = "REPLICA_URL" }
entities.deal = { table = "deals", key = ["id"] }

[targets.replica.entities.listing]
table    = "listings"
key      = ["board_id", "mls_number"]
guard    = "updated_at"
children = [
  { table = "images",   column = "listing_id", references = "id", on_delete = "delete" },
  { table = "bookings", column = "listing_id", references = "id", on_delete = "nullify" },
]

[targets.search]
kind = "tantivy"
path = "FOLDER/search"
entities.listing = { field = "id", id = "{0}:{1}" }   # how the target names a record, from the parts of the key
"#;

#[tokio::test]
async fn the_configuration_of_the_design_carries_deletions_from_both_upstreams_to_every_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (start, path) = (mirror::time("2024-05-15T08:00:00Z"), folder.path().to_owned());
    let listings: Vec<_> = (0..20).map(|number| (format!("W{number}"), start)).collect();
    mirror::seed(&path, &listings, &["deal-1".into(), "deal-2".into()]).await;
    let (repliers, address) = mirror::repliers(mirror::clock()).await;
    let settings = LeadLexSettings::documented(Secret::new(mirror::API_KEY));
    let leadlex = LeadLex::new(settings, mirror::clock()).unwrap();
    leadlex.add("deal-1", "the first");
    for (mls, at) in &listings {
        repliers.list_silently(&ListingKey::new(2, mls.as_str()), *at);
    }
    // Deleted before the daemon was there: its first run is to find it.
    assert!(repliers.delete(&ListingKey::new(2, "W0"), start.plus(Duration::from_hours(1))));
    let text = DESIGN.replace("FOLDER", path.to_str().unwrap()).replace("UPSTREAM", &address);
    let config = mirror::parsed(&text, &format!("sqlite://{}/replica.db", path.display()));
    let daemon = Daemon::serve(folder, config).await;
    let hooks = format!("http://{}/hooks", daemon.listening.hooks);
    repliers.subscribe_known("listing.deleted", &format!("{hooks}/repliers/listing.deleted"));
    leadlex.subscribe(&format!("{hooks}/leadlex"), Secret::new(mirror::LEADLEX_SECRET));
    for number in 1..5 {
        let key = ListingKey::new(2, format!("W{number}"));
        assert!(repliers.delete(&key, start.plus(Duration::from_hours(2))));
    }
    assert!(leadlex.delete("deal-1"));
    until("every copy is gone", async || {
        let mut replica = mirror::replica(&path).await;
        let counts =
            "SELECT (SELECT count(*) FROM listings) || ' ' || (SELECT count(*) FROM images) || ' ' ||
            (SELECT count(*) FROM bookings WHERE listing_id IS NULL) || ' ' || (SELECT count(*) FROM deals)";
        let counts = mirror::texts(&mut replica, counts).await;
        counts == ["15 30 5 1"] && mirror::documents(&path).len() == 15
    })
    .await;
    daemon.stop().await;
}
