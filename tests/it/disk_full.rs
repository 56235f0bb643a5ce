//! I1: on a full disk nothing is acknowledged that is not stored, and once there is room the daemon goes on.
//!
//! The state lies on a small file system of its own, mounted where only the daemon sees it.

#![allow(clippy::unwrap_used, reason = "a test's own steps")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use expunged::sources::http::plain_client;

use crate::support::crash::home::{BOARD, DELETED_AT};
use crate::support::crash::{Daemon, Home, Journal, Setup, ask, post, receipt, settled, until};

const SMALL: &str = "1m";
const LARGE: &str = "64m";
const LISTINGS: u32 = 400;
/// Bytes that each delivery carries beside the deletion: its body is kept, and fills the disk.
const BALLAST: usize = 16 * 1024;

/// Looks at a disk that stays full, over three of the daemon's own.
const LOOKS: u32 = 30;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether a file system can be mounted here without being seen by others.
fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// The daemon, with `SMALL` room for its state.
fn serve_in_small_room(home: &Home) -> Daemon {
    let serve = home.command(&["serve"]);
    let script = format!("mount -t tmpfs -o size={SMALL} tmpfs \"$1\" && shift && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script, "sh"]).arg(home.path("state"));
    command.arg(serve.get_program()).args(serve.get_args());
    Daemon::spawn(command)
}

/// Runs a command where the daemon's file system is seen; what it printed.
fn within(daemon: &Daemon, command: &Command) -> String {
    let mut entered = Command::new("nsenter");
    entered.args(["-U", "-m", "--preserve-credentials", "-t", &daemon.id().to_string()]);
    let output = entered.arg(command.get_program()).args(command.get_args()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn delivery(number: u32) -> String {
    let ballast = "x".repeat(BALLAST);
    format!(
        r#"{{"data":[{{"board":{BOARD},"number":"W{number}","deleted_at":"{DELETED_AT}"}}],"ballast":"{ballast}"}}"#
    )
}

#[tokio::test]
async fn i1_a_full_disk_is_answered_with_503_and_mends_itself_when_there_is_room() {
    if !can_mount() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "CI must be able to mount: unshare -rm"
        );
        println!("skipped: no file system can be mounted here (unshare -rm)");
        return;
    }
    let home = Home::new(Setup { listings: LISTINGS, ..Setup::default() }).await;
    std::fs::create_dir(home.path("state")).unwrap();
    let mut daemon = serve_in_small_room(&home);
    let to = daemon.listening().await;
    let client = plain_client().unwrap();

    let (mut acknowledged, mut refused) = (vec![], BTreeSet::new());
    for number in 1..=LISTINGS / 2 {
        let answer = post(&client, &to, delivery(number)).await.unwrap();
        if answer.status() == 503 {
            assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
            refused.insert(number);
        } else {
            acknowledged.push((receipt(answer).await.unwrap(), number));
        }
    }
    assert!(!acknowledged.is_empty() && !refused.is_empty(), "{} taken", acknowledged.len());
    // What an operator sees stays so, for several of the daemon's own looks: there is room for a small entry
    // now and then, and for no delivery.
    until("the refusal to be seen", async || ask(&client, &to, "/readyz").await.0 == 503).await;
    for _ in 0..LOOKS {
        let (status, answer) = ask(&client, &to, "/readyz").await;
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert_eq!(status, 503, "{:#?}", daemon.log());
        assert!(reason.contains("the journal cannot be written") && reason.contains("full"), "{reason}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert_eq!(ask(&client, &to, "/api/v1/status").await.0, 200);

    let mut grow = Command::new("mount");
    within(&daemon, grow.args(["-o", &format!("remount,size={LARGE}")]).arg(home.path("state")));
    until("readiness", async || ask(&client, &to, "/readyz").await.0 == 200).await;
    for number in LISTINGS / 2 + 1..=LISTINGS {
        let seq = receipt(post(&client, &to, delivery(number)).await.unwrap()).await;
        acknowledged.push((seq.expect("taken, now that there is room"), number));
    }
    settled(&client, &daemon, &to).await;

    let journal = Journal::parse(&within(&daemon, &home.command(&["journal", "export"])));
    for (seq, number) in &acknowledged {
        assert_eq!(journal.heard_at(*seq), [*number], "entry {seq}");
    }
    within(&daemon, &home.command(&["journal", "verify"]));
    journal.assert_every_step_has_its_cause();
    home.assert_gone_exactly(&journal.heard()).await;
    for target in ["replica", "search"] {
        journal.assert_settled(target);
    }
    println!("{} acknowledged, {} refused while the disk was full", acknowledged.len(), refused.len());
}
