//! Commands beside the running daemon: they write the same journal, and the daemon finds what they wrote.

#![allow(clippy::unwrap_used, reason = "a test's own steps")]

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;

use expunged::clock::{Clock, SystemClock};
use expunged::config::Secret;
use expunged::sandbox::repliers::{ListingKey, RepliersSettings};
use expunged::sandbox::{Repliers, Sandbox};
use expunged::sources::http::plain_client;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::crash::home::BOARD;
use crate::support::crash::{Home, Setup, ask, deletion, post, receipt, settled, until};
use crate::support::secrets::{API_KEY, HOOK_SECRET};

#[tokio::test]
async fn what_a_command_hears_of_the_running_daemon_finds_by_its_scan() {
    let home = Home::new(Setup { listings: 40, ..Setup::default() }).await;
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let client = plain_client().unwrap();
    settled(&client, &daemon, &to).await;

    let told = home.succeed(&["delete", "--entity", "listing", "--key", "2", "W7", "--reason", "by hand"]);
    assert!(told.starts_with("1 deletions recorded"), "{told}");
    settled(&client, &daemon, &to).await;
    home.assert_gone_exactly(&BTreeSet::from([7])).await;
    let journal = home.journal();
    let (_, heard) = journal.of_kind("heard").next().unwrap();
    assert_eq!((&heard["door"], &heard["reason"]), (&"operator".into(), &"by hand".into()));
}

#[tokio::test]
async fn i5_a_hold_that_is_approved_beside_the_daemon_is_carried_out_by_it() {
    let home = Home::new(Setup { listings: 40, brake_rows: 5, ..Setup::default() }).await;
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let client = plain_client().unwrap();
    let keys: Vec<String> = (1..=20).map(|number| format!("{BOARD}\tW{number}")).collect();
    std::fs::write(home.path("keys"), keys.join("\n")).unwrap();
    home.succeed(&["delete", "--entity", "listing", "--file", home.path("keys").to_str().unwrap()]);
    until("a hold", async || !ask(&client, &to, "/api/v1/status").await.1["holds"][0].is_null()).await;
    settled(&client, &daemon, &to).await;
    // A listing and its images are three rows: only one fits.
    home.assert_gone_exactly(&BTreeSet::from([1])).await;

    let holds: Value = serde_json::from_str(&home.succeed(&["holds", "list", "--json"])).unwrap();
    assert_eq!(holds[0]["facts"], 19);
    home.succeed(&["holds", "approve", &holds[0]["id"].to_string(), "--actor", "somebody"]);
    settled(&client, &daemon, &to).await;
    home.assert_gone_exactly(&(1..=20).collect()).await;
    home.succeed(&["journal", "verify"]);
    home.journal().assert_every_step_has_its_cause();
}

/// An upstream whose feed tells of listings 1 to `deleted`; its address.
async fn upstream(deleted: u32) -> String {
    let settings = RepliersSettings::documented(Secret::new(API_KEY), Secret::new(HOOK_SECRET));
    let clock = Arc::new(SystemClock);
    let repliers = Repliers::new(settings, clock.clone()).unwrap();
    for number in 1..=deleted {
        let key = ListingKey::new(BOARD.into(), format!("W{number}"));
        repliers.list_silently(&key, clock.now());
        repliers.delete(&key, clock.now());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Sandbox::new(vec![repliers]).serve(listener, CancellationToken::new()));
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_run_beside_the_daemon_moves_the_checkpoint_and_the_daemon_carries_it_out() {
    let more = format!(
        r#"
[sources.repliers]
preset = "repliers"
base_url = "{}"
secret = {{ file = "{{folder}}/board.secret" }}
api_key = {{ file = "{{folder}}/api.key" }}
feed = {{ schedule = false }}
"#,
        upstream(12).await
    );
    let home = Home::new(Setup { listings: 40, more, ..Setup::default() }).await;
    std::fs::write(home.path("api.key"), API_KEY).unwrap();
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let client = plain_client().unwrap();

    let told = home.succeed(&["reconcile", "--source", "repliers"]);
    assert!(told.contains("12 deletions found, 12 new"), "{told}");
    settled(&client, &daemon, &to).await;
    home.assert_gone_exactly(&(1..=12).collect()).await;
    let (_, status) = ask(&client, &to, "/api/v1/status").await;
    let repliers = status["sources"].as_array().unwrap().iter().find(|it| it["name"] == "repliers").unwrap();
    assert!(repliers["checkpoint"].is_i64(), "{repliers}");
    home.succeed(&["journal", "verify"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_many_commands_and_deliveries_at_once_leave_one_chain() {
    const COMMANDS: u32 = 6;
    const DELIVERIES: u32 = 60;
    let home = Home::new(Setup { listings: 200, ..Setup::default() }).await;
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let client = plain_client().unwrap();
    let commands: Vec<_> = (1..=COMMANDS)
        .map(|number| {
            let key = format!("W{number}");
            let mut command = home.command(&["delete", "--entity", "listing", "--key", "2", &key]);
            command.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for number in 101..=100 + DELIVERIES {
        assert!(receipt(post(&client, &to, deletion(&[number])).await.unwrap()).await.is_some());
    }
    for mut command in commands {
        assert!(command.wait().unwrap().success());
    }
    settled(&client, &daemon, &to).await;
    home.assert_gone_exactly(&(1..=COMMANDS).chain(101..=100 + DELIVERIES).collect()).await;
    let told = home.succeed(&["journal", "verify"]);
    assert!(told.starts_with("the journal verifies"), "{told}");
}
