//! The program as a process: how it refuses to start, how it ends, and with which code.

#![allow(clippy::unwrap_used, reason = "a test's own steps")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use expunged::sources::http::plain_client;
use sqlx::Connection;

use crate::support::crash::home::open;
use crate::support::crash::{Addresses, Daemon, Home, Setup, deletion, post, receipt, settled, until};

/// Deliveries that are under way at once.
const CONNECTIONS: usize = 6;

/// Delivers one listing after the other until the daemon takes no more; the receipts.
async fn deliver(
    client: reqwest::Client,
    to: Addresses,
    next: Arc<AtomicU32>,
    taken: Arc<Mutex<Vec<(i64, u32)>>>,
) {
    loop {
        let number = next.fetch_add(1, Ordering::SeqCst);
        let Ok(answer) = post(&client, &to, deletion(&[number])).await else { return };
        let Some(seq) = receipt(answer).await else { return };
        taken.lock().unwrap().push((seq, number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i8_sigterm_under_load_drains_ends_with_0_and_leaves_nothing_to_tell_twice() {
    const LIVES: u32 = 5;
    let home = Home::new(Setup { listings: 5_000, ..Setup::default() }).await;
    let (next, taken) = (Arc::new(AtomicU32::new(1)), Arc::default());
    for life in 1..=LIVES {
        let mut daemon = home.serve();
        let (to, client) = (daemon.listening().await, plain_client().unwrap());
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|_| tokio::spawn(deliver(client.clone(), to, next.clone(), Arc::clone(&taken))))
            .collect();
        until("load", async || taken.lock().unwrap().len() >= 80 * life as usize).await;
        daemon.terminate();
        let (code, log) = daemon.ended().await;
        assert_eq!(code, 0, "{log}");
        for sender in senders {
            sender.await.unwrap();
        }
    }
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    settled(&plain_client().unwrap(), &daemon, &to).await;

    let journal = home.journal();
    for (seq, number) in taken.lock().unwrap().iter() {
        assert_eq!(journal.heard_at(*seq), [*number]);
    }
    for target in ["replica", "search"] {
        journal.assert_settled(target);
    }
    home.assert_gone_exactly(&journal.heard()).await;
    home.succeed(&["journal", "verify"]);
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

async fn pretend_to_be_newer(file: &Path) {
    let mut database = open(file).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (999, 'of a later version', TRUE, x'00', 0)";
    sqlx::query(newer).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_state_that_a_newer_version_wrote_is_refused_by_name_and_left_as_it_is() {
    for projections in [false, true] {
        let home = Home::new(Setup { listings: 1, ..Setup::default() }).await;
        let mut daemon = home.serve();
        daemon.listening().await;
        daemon.terminate();
        daemon.ended().await;
        let file = if projections { home.projections_file() } else { home.journal_file() };
        pretend_to_be_newer(&file).await;
        let before = std::fs::read(&file).unwrap();
        for command in ["serve", "status"] {
            let (code, log) = told(&home.run(&[command]));
            assert_eq!(code, Some(1), "{log}");
            assert!(log.contains(&format!("{}: schema version 999 is newer", file.display())), "{log}");
            assert!(log.contains("run the version of expunged that wrote it, or a later one"), "{log}");
        }
        assert!(std::fs::read(&file).unwrap() == before, "{} was changed", file.display());
    }
}

#[tokio::test]
async fn a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on() {
    let home = Home::new(Setup { listings: 10, ..Setup::default() }).await;
    let mut first = home.serve();
    let to = first.listening().await;
    let (code, log) = told(&home.run(&["serve"]));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("another daemon has this state open; stop it first"), "{log}");

    let client = plain_client().unwrap();
    assert!(receipt(post(&client, &to, deletion(&[1])).await.unwrap()).await.is_some());
    settled(&client, &first, &to).await;
    home.assert_gone_exactly(&BTreeSet::from([1])).await;
    first.kill();
    home.serve().listening().await;
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_start_with_1_and_a_mend() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let hooks_port = taken.local_addr().unwrap().port();
    let home = Home::new(Setup { listings: 1, hooks_port, ..Setup::default() }).await;
    let (code, log) = Daemon::spawn(home.command(&["serve"])).ended().await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{hooks_port} (server.hooks)")), "{log}");
    assert!(log.contains("choose another port"), "{log}");
}

#[tokio::test]
async fn a_bad_configuration_ends_every_command_with_78_and_names_all_faults_at_once() {
    const BAD: &str = r#"server = { hooks = "8080", admni = "127.0.0.1:0" }
state = { bodies_kept = "soon" }
[sources.board]
preset = "standard_webhook"
[sources.crm]
preset = "leadlex"
secret = { env = "EXPUNGED_TEST_THERE_IS_NO_SUCH_VARIABLE" }
[targets.replica]
kind = "sqlite"
"#;
    let home = Home::new(Setup { listings: 1, ..Setup::default() }).await;
    std::fs::write(home.path("expunged.toml"), BAD).unwrap();
    for command in [&["serve"][..], &["check"], &["status"], &["journal", "verify"]] {
        let output = home.run(command);
        let (code, log) = told(&output);
        assert_eq!(code, Some(78), "{log}");
        assert!(output.stdout.is_empty());
        for fault in [
            "expunged.toml:1: server.hooks: ",
            "expunged.toml:1: server.admni: unknown key; did you mean \"admin\"?",
            "expunged.toml:2: state.bodies_kept: ",
            "expunged.toml:4: sources.board.preset: ",
            "expunged.toml:7: sources.crm.secret",
            "expunged.toml:9: targets.replica.kind: ",
        ] {
            assert!(log.contains(fault), "{fault}\n{log}");
        }
        assert_eq!(log.lines().count(), 6, "{log}");
    }
    assert!(!home.journal_file().exists(), "a state was made for a configuration that was refused");
}

#[tokio::test]
async fn i3_check_warns_of_a_source_whose_deletions_cannot_be_told_from_their_repeats() {
    const SOURCE: &str = r#"
[sources.crm]
entity = "listing"
secret = { file = "{folder}/board.secret" }
auth = { scheme = "bearer" }
payload = { key = ["/board", "/id"], event = "/event" }
events = { deleted = "delete", back = "relisted" }
"#;
    for (more, warned) in [
        (SOURCE.to_owned(), true),
        (SOURCE.replace("event =", "event_id = \"/no\", event ="), false),
        (SOURCE.replace(", back = \"relisted\"", ""), false),
    ] {
        let home = Home::new(Setup { listings: 1, more, ..Setup::default() }).await;
        let told = home.succeed(&["check"]);
        assert_eq!(told.contains("warning: sources.crm.payload.deleted_at: missing"), warned, "{told}");
    }
}

#[tokio::test]
async fn no_configuration_is_a_bad_one() {
    let home = Home::new(Setup { listings: 1, ..Setup::default() }).await;
    std::fs::remove_file(home.path("expunged.toml")).unwrap();
    let (code, log) = told(&home.run(&["serve"]));
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("--config FILE"), "{log}");
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_does_nothing() {
    let home = Home::new(Setup { listings: 1, ..Setup::default() }).await;
    for arguments in [
        &[][..],
        &["serv"],
        &["serve", "--nonsense"],
        &["delete", "--entity", "listing"],
        &["delete", "--entity", "listing", "--key", "2", "W1", "--file", "keys"],
        &["holds", "approve", "the-first", "--through", "57"],
        &["holds", "approve", "42"],
    ] {
        let (code, log) = told(&home.run(arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {log}");
        assert!(log.contains("Usage: expunged") || log.contains("--help"), "{log}");
    }
    assert!(!home.journal_file().exists());
}

#[tokio::test]
async fn a_command_that_finds_no_journal_names_the_place_and_begins_none() {
    let home = Home::new(Setup { listings: 1, ..Setup::default() }).await;
    let config = std::fs::read_to_string(home.path("expunged.toml")).unwrap();
    let absolute = home.journal_file().display().to_string();
    assert!(config.contains(&absolute));
    std::fs::write(home.path("expunged.toml"), config.replace(&absolute, "data/expunged.db")).unwrap();
    let (here, elsewhere) = (home.path(""), home.path("elsewhere"));
    std::fs::create_dir(&elsewhere).unwrap();
    let run = |folder: &Path, arguments: &[&str]| {
        told(&home.command(arguments).current_dir(folder).output().unwrap())
    };
    for arguments in [
        &["status"][..],
        &["delete", "--entity", "listing", "--key", "2", "W1"],
        &["explain", "--entity", "listing", "--key", "2", "W1"],
        &["holds", "list"],
        &["journal", "verify"],
        &["reconcile", "--source", "board"],
        &["sources", "subscribe", "board", "--event", "deleted", "--url", "http://127.0.0.1:9"],
        &["sources", "unsubscribe", "board", "--event", "deleted"],
    ] {
        let (code, log) = run(&elsewhere, arguments);
        assert_eq!(code, Some(1), "{log}");
        let place = elsewhere.join("data/expunged.db");
        assert!(log.contains(&format!("{}: there is no journal here", place.display())), "{log}");
        assert!(log.contains("relative paths start at the current directory"), "{log}");
        assert!(log.contains("run this where the daemon runs, or start the daemon once"), "{log}");
    }
    let (code, log) = run(&elsewhere, &["check"]);
    assert_eq!(code, Some(0), "it may come before the daemon's first start: {log}");
    assert!(std::fs::read_dir(&elsewhere).unwrap().next().is_none(), "something was made");

    let mut daemon = Daemon::spawn({
        let mut command = home.command(&["serve"]);
        command.current_dir(&here);
        command
    });
    daemon.listening().await;
    assert_eq!(run(&here, &["status"]).0, Some(0));
    assert_eq!(run(&elsewhere, &["status"]).0, Some(1));
    daemon.kill();
}
