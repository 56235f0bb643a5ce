//! LeadLex: one webhook a deal however many go at once, retries under other delivery ids, and what stays behind.

use std::path::Path;
use std::sync::Arc;

use expunged::clock::Clock as _;
use expunged::config::{Config, Secret};
use expunged::domain::{Entity, Event, Key};
use expunged::sandbox::LeadLex;
use expunged::sandbox::leadlex::LeadLexSettings;
use sqlx::Connection as _;

use super::{Daemon, folder};
use crate::support::mirror::{self, LEADLEX_SECRET, replica, texts};
use crate::support::rig::until;
use crate::support::secrets::OTHER_API_KEY;

/// Deals of one documented bulk deletion.
const BURST: usize = 500;

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
CREATE TABLE deals (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE activities (id INTEGER PRIMARY KEY, deal_id TEXT REFERENCES deals (id));
CREATE INDEX activities_of ON activities (deal_id);
CREATE TABLE notes (id INTEGER PRIMARY KEY, deal_id TEXT REFERENCES deals (id));
CREATE INDEX notes_of ON notes (deal_id);
CREATE TABLE tasks (id INTEGER PRIMARY KEY, deal_id TEXT REFERENCES deals (id));
CREATE INDEX tasks_of ON tasks (deal_id);
CREATE TABLE documents (id INTEGER PRIMARY KEY, deal_id TEXT);
CREATE INDEX documents_of ON documents (deal_id);";

/// Makes them and what hangs on them in the replica of a folder.
pub async fn seed(folder: &Path, deals: &[String]) {
    let mut replica = replica(folder).await;
    sqlx::raw_sql(SCHEMA).execute(&mut replica).await.unwrap();
    let deals = serde_json::to_string(deals).unwrap();
    for statement in [
        "INSERT INTO deals (id, name) SELECT value, 'a deal' FROM json_each(?)",
        "INSERT INTO activities (deal_id) SELECT value FROM json_each(?)",
        "INSERT INTO notes (deal_id) SELECT value FROM json_each(?)",
        "INSERT INTO tasks (deal_id) SELECT value FROM json_each(?)",
        "INSERT INTO documents (deal_id) SELECT value FROM json_each(?)",
    ] {
        sqlx::query(statement).bind(&deals).execute(&mut replica).await.unwrap();
    }
}

/// Activities, notes and tasks stay and lose their deal; documents stay as they are.
pub const DEALS: &str = r#"
[targets.replica.entities.deal]
table = "deals"
key = ["id"]
children = [
  { table = "activities", column = "deal_id", references = "id", on_delete = "nullify" },
  { table = "notes", column = "deal_id", references = "id", on_delete = "nullify" },
  { table = "tasks", column = "deal_id", references = "id", on_delete = "nullify" },
  { table = "documents", column = "deal_id", references = "id", on_delete = "keep" },
]
"#;

pub fn config(folder: &Path, more: &str) -> Config {
    let folder = folder.display();
    let text = format!(
        r#"
server = {{ hooks = "127.0.0.1:0", admin = "127.0.0.1:0" }}
state = {{ url = "sqlite://{folder}/state.db" }}
brake = {{ rows = 100000 }}
[sources.leadlex]
preset = "leadlex"
secret = {{ env = "LEADLEX_SECRET" }}
{more}
[targets.replica]
kind = "sql"
url = {{ env = "REPLICA_URL" }}
{DEALS}"#
    );
    mirror::parsed(&text, &format!("sqlite://{folder}/replica.db"))
}

pub fn deals(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("deal_{number:04}")).collect()
}

fn upstream(daemon: &Daemon, deals: &[String]) -> Arc<LeadLex> {
    let settings =
        LeadLexSettings { retry_scale: 0.0, ..LeadLexSettings::documented(Secret::new(OTHER_API_KEY)) };
    let upstream = LeadLex::new(settings, daemon.clock.clone()).unwrap();
    upstream.subscribe(&daemon.hook("leadlex"), Secret::new(LEADLEX_SECRET));
    for deal in deals {
        upstream.add(deal, "a deal");
    }
    upstream
}

pub async fn count(folder: &Path, query: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
        .fetch_one(&mut replica(folder).await)
        .await
        .unwrap()
}

#[tokio::test]
async fn activities_notes_and_tasks_stay_without_their_deal_and_documents_stay_as_they_are() {
    let folder = folder();
    let all = deals(3);
    seed(folder.path(), &all).await;
    let daemon = Daemon::serve(config(folder.path(), "")).await;
    let upstream = upstream(&daemon, &all);
    assert!(upstream.delete(&all[1]));
    upstream.deliveries().settled().await;
    daemon.settled(&["replica"]).await;
    let left = texts(&mut replica(folder.path()).await, "SELECT id FROM deals ORDER BY id").await;
    assert_eq!(left, [all[0].clone(), all[2].clone()]);
    for table in ["activities", "notes", "tasks"] {
        assert_eq!(count(folder.path(), &format!("SELECT count(*) FROM {table}")).await, 3, "{table}");
        let orphans = format!("SELECT count(*) FROM {table} WHERE deal_id IS NULL");
        assert_eq!(count(folder.path(), &orphans).await, 1, "{table}");
    }
    assert_eq!(count(folder.path(), "SELECT count(DISTINCT deal_id) FROM documents").await, 3);
    daemon.stop().await;
}

#[tokio::test]
async fn i2_attempts_under_other_delivery_ids_are_one_deletion() {
    let folder = folder();
    let all = deals(2);
    seed(folder.path(), &all).await;
    let daemon = Daemon::serve(config(folder.path(), "")).await;
    let upstream = upstream(&daemon, &all);
    upstream.deliveries().repeat_next(1);
    assert!(upstream.delete(&all[0]));
    upstream.deliveries().settled().await;
    daemon.settled(&["replica"]).await;
    // The same body under yet another id, a year later: ids prove nothing, and so does a time that nobody signed.
    let body = daemon.store.body(first_heard(&daemon).await).await.unwrap().unwrap();
    let body = String::from_utf8(body).unwrap();
    let signature = format!("sha256={}", hmac_hex(LEADLEX_SECRET.as_bytes(), body.as_bytes()));
    daemon.clock.set(daemon.clock.now().plus(std::time::Duration::from_hours(24 * 365)));
    let headers = [
        ("x-leadlex-signature", signature.as_str()),
        ("x-leadlex-delivery-id", "3f8e1d2c-4b5a-4d7e-8f9a-0b1c2d3e4f5a"),
        ("x-leadlex-timestamp", "2099-01-01T00:00:00Z"),
    ];
    assert_eq!(daemon.post("leadlex", &headers, &body).await, 202);
    assert_eq!(daemon.post("leadlex", &headers, &body.replace("deal_0001", "deal_0002")).await, 401);
    daemon.settled(&["replica"]).await;

    let key = Key::new(vec![all[0].clone()]).unwrap();
    let story = daemon.store.story(&Entity::new("deal"), &key).await.unwrap().unwrap();
    assert_eq!(story.tombstone.notices, 3);
    let settled: Vec<_> = daemon
        .events()
        .await
        .into_iter()
        .filter_map(|event| if let Event::Settled(settled) = event { Some(settled.results) } else { None })
        .flatten()
        .collect();
    assert_eq!(settled.len(), 1, "deleted once, and nothing else was done: {settled:?}");
    assert_eq!(count(folder.path(), "SELECT count(*) FROM deals").await, 1);
    daemon.stop().await;
}

async fn first_heard(daemon: &Daemon) -> i64 {
    let entries = daemon.store.entries(0, u32::MAX, usize::MAX).await.unwrap();
    entries.iter().find(|entry| entry.kind == "heard").unwrap().seq
}

/// As the documents say, computed apart from the program.
pub fn hmac_hex(secret: &[u8], body: &[u8]) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_single_webhooks_become_a_few_batches() {
    let folder = folder();
    let all = deals(BURST);
    seed(folder.path(), &all).await;
    let daemon = Daemon::serve(config(folder.path(), "")).await;
    let upstream = upstream(&daemon, &all);
    // Somebody works on the replica for as long as the burst lasts.
    let mut other = replica(folder.path()).await;
    let busy = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for deal in &all {
        assert!(upstream.delete(deal));
    }
    upstream.deliveries().settled().await;
    assert_eq!(upstream.deliveries().counts().delivered, BURST as u64);
    until("all of it to be known", async || {
        let tally = daemon.store.tally().await.unwrap();
        tally.tombstones == BURST as u64 && tally.awaiting == 0
    })
    .await;
    busy.rollback().await.unwrap();
    daemon.settled(&["replica"]).await;
    assert_eq!(count(folder.path(), "SELECT count(*) FROM deals").await, 0);
    let events = daemon.events().await;
    let settled = events.iter().filter(|event| matches!(event, Event::Settled(_))).count();
    assert!(settled <= 10, "{settled} batches for {BURST} webhooks");
    daemon.stop().await;
}
