//! Commands beside the running daemon: they write the same journal, and the daemon finds what they wrote.

#![allow(clippy::unwrap_used, reason = "a test's own steps")]

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::process::{Command, Stdio};
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
use crate::support::shell::PROGRAM;

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

/// Deletes these listings by hand; the first of all that is heard of fits the brake, the others are held.
fn delete_by_hand(home: &Home, numbers: RangeInclusive<u32>) {
    let keys: Vec<String> = numbers.map(|number| format!("{BOARD}\tW{number}")).collect();
    std::fs::write(home.path("keys"), keys.join("\n")).unwrap();
    home.succeed(&["delete", "--entity", "listing", "--file", home.path("keys").to_str().unwrap()]);
}

#[tokio::test]
async fn i5_a_hold_that_is_approved_beside_the_daemon_is_carried_out_as_far_as_it_was_seen() {
    let home = Home::new(Setup { listings: 40, brake_rows: 5, ..Setup::default() }).await;
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let client = plain_client().unwrap();
    let waiting = async || ask(&client, &to, "/api/v1/status").await.1["holds"][0]["facts"].as_u64();
    delete_by_hand(&home, 1..=20);
    // A listing and its images are three rows: only one fits.
    until("a hold", async || waiting().await == Some(19)).await;
    settled(&client, &daemon, &to).await;
    home.assert_gone_exactly(&BTreeSet::from([1])).await;

    let listed = home.succeed(&["holds", "list"]);
    let json: Value = serde_json::from_str(&home.succeed(&["holds", "list", "--json"])).unwrap();
    let (hold, through) = (json[0]["id"].to_string(), json[0]["through"].to_string());
    delete_by_hand(&home, 21..=30);
    until("more in the hold", async || waiting().await == Some(29)).await;

    // Word for word as it was listed, before more joined.
    let printed = listed.lines().find_map(|line| line.trim().strip_prefix("let them go: expunged ")).unwrap();
    assert!(printed.starts_with(&format!("holds approve {hold} --through {through} --config ")), "{printed}");
    let told = Command::new(PROGRAM).args(printed.split(' ')).output().unwrap();
    let said = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && said.contains("10 listing records joined it later"), "{said}");
    settled(&client, &daemon, &to).await;
    home.assert_gone_exactly(&(1..=20).collect()).await;

    for unseen in ["1", "99999"] {
        let refused = home.run(&["holds", "approve", &hold, "--through", unseen]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
    home.succeed(&["holds", "reject", &hold, "--actor", "somebody"]);
    assert_eq!(home.succeed(&["holds", "list"]), "nothing is held\n");
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
