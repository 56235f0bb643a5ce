//! HookBridge pushes: signed over time and body, by several keys while they rotate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expunged::clock::Clock as _;
use expunged::config::{Config, Secret};
use expunged::sandbox::HookBridge;
use expunged::sandbox::hookbridge::HookBridgeSettings;
use sqlx::Executor as _;

use super::{Daemon, folder};
use crate::support::mirror::{self, HOOK_SECRET, LEADLEX_SECRET, OLD_HOOK_SECRET, replica, texts};
use crate::support::secrets::{FORGED, OTHER_API_KEY};

/// What a source needs beside its secrets.
pub const SENDER: &str = r#"
preset = "hookbridge"
entity = "deal"
payload = { event = "/type", key = ["/data/id"], deleted_at = "/timestamp" }
events = { "deal.deleted" = "delete" }
"#;

fn config(folder: &Path) -> Config {
    let folder = folder.display();
    let text = format!(
        r#"
server = {{ hooks = "127.0.0.1:0", admin = "127.0.0.1:0" }}
state = {{ url = "sqlite://{folder}/state.db" }}
[sources.hookbridge]
secret = [{{ env = "REPLIERS_SECRET" }}, {{ env = "REPLIERS_OLD_SECRET" }}]
{SENDER}
[targets.replica]
kind = "sql"
url = {{ env = "REPLICA_URL" }}
entities.deal = {{ table = "deals", key = ["id"] }}
"#
    );
    mirror::parsed(&text, &format!("sqlite://{folder}/replica.db"))
}

pub fn deletion(deal: &str) -> String {
    format!(r#"{{"type":"deal.deleted","timestamp":"2024-05-16T09:59:00Z","data":{{"id":"{deal}"}}}}"#)
}

fn pusher(daemon: &Daemon) -> Arc<HookBridge> {
    let settings = HookBridgeSettings { api_key: Secret::new(OTHER_API_KEY), retry_scale: 0.0 };
    HookBridge::new(settings, daemon.clock.clone()).unwrap()
}

#[tokio::test]
async fn pushes_are_taken_by_either_key_while_they_rotate_and_by_no_other() {
    let folder = folder();
    let mut replica = replica(folder.path()).await;
    replica.execute("CREATE TABLE deals (id TEXT PRIMARY KEY)").await.unwrap();
    for deal in ["a", "b", "c", "d"] {
        sqlx::query("INSERT INTO deals VALUES (?)").bind(deal).execute(&mut replica).await.unwrap();
    }
    let daemon = Daemon::serve(config(folder.path())).await;
    let service = pusher(&daemon);
    for (deal, keys) in [
        ("a", vec![OLD_HOOK_SECRET]),
        ("b", vec![OLD_HOOK_SECRET, HOOK_SECRET]),
        ("c", vec![FORGED, HOOK_SECRET]),
        ("d", vec![LEADLEX_SECRET]),
    ] {
        service.push_to(&daemon.hook("hookbridge"), keys.into_iter().map(Secret::new).collect());
        service.push(&deletion(deal));
        service.deliveries().settled().await;
    }
    assert_eq!(service.deliveries().counts().delivered, 3);
    assert_eq!(service.deliveries().counts().lost, 1, "refused in every try");
    daemon.settled(&["replica"]).await;
    assert_eq!(texts(&mut replica, "SELECT id FROM deals").await, ["d"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_push_that_somebody_kept_is_refused_when_it_is_old_or_changed() {
    let folder = folder();
    replica(folder.path()).await.execute("CREATE TABLE deals (id TEXT PRIMARY KEY)").await.unwrap();
    let daemon = Daemon::serve(config(folder.path())).await;
    let body = deletion("a");
    let now = "1715853600";
    let signed = super::leadlex::hmac_hex(HOOK_SECRET.as_bytes(), format!("{now}.{body}").as_bytes());
    let signature = format!("sha256={signed}");
    let headers = |time| [("x-webhook-timestamp", time), ("x-webhook-signature", signature.as_str())];
    assert_eq!(daemon.post("hookbridge", &headers(now), &body).await, 202);
    assert_eq!(daemon.post("hookbridge", &headers("1715853601"), &body).await, 401, "the time is signed");
    assert_eq!(daemon.post("hookbridge", &headers(now), &deletion("b")).await, 401);
    daemon.clock.set(daemon.clock.now().plus(Duration::from_secs(301)));
    assert_eq!(daemon.post("hookbridge", &headers(now), &body).await, 401, "older than five minutes");
    assert_eq!(daemon.heard().await.len(), 1);
    daemon.stop().await;
}
