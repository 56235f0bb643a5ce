//! Our own state: group commit, the chain, and projections that any way of folding gives alike.

mod earlier;
mod model;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use expunged::domain::event::{Heard, Resolved, RunEnded, RunStarted};
use expunged::domain::{Action, Door, Event, Notice, Timestamp};
use expunged::fold;
use expunged::store::chain::Verifier;
use expunged::store::sqlite::{OpenOptions, SqliteStore, projections_path};
use expunged::store::{Draft, Entry, SharedStore, StoreError};
use expunged::targets::Target;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::support::memory::Memory;
use crate::support::mirror;
use crate::support::rig::{Rig, delivery, listing, notice};

pub async fn open(folder: &Path) -> SharedStore {
    let options = OpenOptions { daemon: false, queue_max: 8_192 };
    let (store, writer) = SqliteStore::open(&folder.join("state.db"), options).await.unwrap();
    tokio::spawn(writer.run());
    Arc::new(store)
}

pub async fn entries(store: &SharedStore) -> Vec<Entry> {
    store.entries(0, u32::MAX, usize::MAX).await.unwrap()
}

/// One notice of one delivery.
fn told(notice: Notice) -> Event {
    Event::Heard(Heard {
        source: "repliers".into(),
        door: Door::Webhook,
        run: None,
        sha256: None,
        notices: vec![notice],
        unreadable: vec![],
        reason: None,
        asked: None,
    })
}

pub fn heard(text: &str, at: Timestamp) -> Draft {
    let event = told(notice(&listing(text), Action::Delete, at));
    Draft { at, event, body: Some(Bytes::from(text.to_owned())) }
}

/// Every table of the projections, row by row.
async fn dump(folder: &Path) -> Vec<String> {
    let file = projections_path(&folder.join("state.db"));
    let options = SqliteConnectOptions::new().filename(file).disable_statement_logging();
    let mut database = options.connect().await.unwrap();
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name";
    let mut rows = Vec::new();
    for table in mirror::texts(&mut database, tables).await {
        let columns =
            format!("SELECT group_concat('quote(' || name || ')', ',') FROM pragma_table_info('{table}')");
        let columns = mirror::texts(&mut database, columns).await.remove(0);
        let query = format!("SELECT json_array('{table}', {columns}) AS row FROM {table} ORDER BY row");
        rows.extend(mirror::texts(&mut database, query).await);
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_many_appends_at_once_are_all_answered_with_numbers_of_their_own_and_the_chain_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let now = mirror::time("2024-05-16T10:00:00Z");
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..64 {
        let store = store.clone();
        clients.spawn(async move {
            let mut mine = Vec::new();
            for number in 0..20 {
                let name = |part| format!("{client}-{number}-{part}");
                let drafts = (0..=number % 3).map(|part| heard(&name(part), now)).collect();
                let seqs = store.append(drafts).await.unwrap();
                assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "one request stays together");
                mine.extend(seqs.into_iter().zip((0..).map(name)));
            }
            assert!(mine.is_sorted(), "a client's own order is kept");
            mine
        });
    }
    let mut all: Vec<_> = clients.join_all().await.concat();
    all.sort();
    assert!(all.iter().map(|(seq, _)| *seq).eq(1..=i64::try_from(all.len()).unwrap()), "without gaps");
    let mut verifier = Verifier::default();
    for (entry, (seq, name)) in entries(&store).await.iter().zip(&all) {
        verifier.follow(entry).unwrap();
        assert!(entry.seq == *seq && entry.body.contains(&format!("\"{name}\"")));
        assert_eq!(store.body(*seq).await.unwrap().as_deref(), Some(name.as_bytes()));
    }
}

#[tokio::test]
async fn an_append_of_nothing_writes_nothing_and_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    assert!(store.append(vec![]).await.unwrap().is_empty());
    assert_eq!(store.append(vec![heard("W1", Timestamp::from_seconds(1))]).await.unwrap(), [1]);
}

#[tokio::test]
async fn two_processes_that_append_to_one_journal_continue_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (open(folder.path()).await, open(folder.path()).await);
    let now = mirror::time("2024-05-16T10:00:00Z");
    for number in 0..20 {
        let (one, other) = tokio::join!(
            one.append(vec![heard(&format!("one {number}"), now)]),
            other.append(vec![heard(&format!("other {number}"), now)])
        );
        assert_ne!(one.unwrap(), other.unwrap());
    }
    // In one statement, and in several: the other one's head is never what was known of it.
    for (size, store) in [1, 64, 65, 200].into_iter().flat_map(|size| [(size, &one), (size, &other)]) {
        let drafts = (0..size).map(|number| heard(&format!("{size} {number}"), now));
        let seqs = store.append(drafts.collect()).await.unwrap();
        for (number, seq) in [(0, seqs[0]), (size - 1, seqs[size - 1])] {
            let body = store.body(seq).await.unwrap();
            assert_eq!(body.as_deref(), Some(format!("{size} {number}").as_bytes()));
        }
    }
    let mut verifier = Verifier::default();
    let all = entries(&one).await;
    all.iter().try_for_each(|entry| verifier.follow(entry)).unwrap();
    assert_eq!(all.len(), 40 + 2 * (1 + 64 + 65 + 200));
}

/// A journal with everything in it that there is.
async fn eventful(folder: &Path) -> Vec<Draft> {
    let clock = mirror::clock();
    let target = Memory::new("replica", clock.clone());
    for number in 0..60 {
        target.put(&listing(number.to_string()), 1, Timestamp::MIN);
    }
    let targets: Vec<Arc<dyn Target>> = vec![target.clone(), Memory::new("search", clock.clone())];
    let config = mirror::config(folder, "http://127.0.0.1:9", "[brake]\nrows = 20\npercent = 0.001", "");
    let mut rig = Rig::over(config, clock.clone(), targets).await;
    target.state().poison.insert(listing("3"));
    rig.run();
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..12 {
        let at = mirror::time("2024-05-16T10:00:00Z").plus(Duration::from_secs(3_600 * round));
        clock.set(at);
        let action = [Action::Delete, Action::Delete, Action::Deactivate, Action::Relisted];
        let told = (0..8).map(|_| {
            let key = listing(random.u8(0..60).to_string());
            notice(&key, random.choice(action).unwrap(), at)
        });
        let mut delivery = delivery(Door::Webhook, told.collect());
        let intake = &rig.parts.intake;
        let run = RunStarted { source: "repliers".into(), from: None, to: Some(at) };
        let run = intake.note(Event::RunStarted(run)).await.unwrap();
        if round % 2 == 0 {
            (delivery.door, delivery.run) = (Door::Feed, Some(run));
        }
        if round % 3 == 0 {
            delivery.unreadable.push("no key".into());
        }
        // One that was ahead is brought back.
        let back = round == 7;
        let reached = if back { at.minus(Duration::from_hours(5)) } else { at };
        let checkpoint = (round % 4 != 0).then_some(reached);
        let error = (round % 4 == 0).then(|| "cut".to_owned());
        let ended = RunEnded { run, source: "repliers".into(), pages: 1, found: 8, checkpoint, back, error };
        intake.record_with(delivery, Some(Event::RunEnded(ended))).await.unwrap();
        rig.quiet_or_waiting().await;
        if let Some(hold) = rig.parts.store.holds(true).await.unwrap().first() {
            let through = rig.parts.store.position().await.unwrap().seq - i64::from(random.u8(0..6));
            let resolved = Resolved {
                hold: hold.id,
                approve: random.bool(),
                through,
                actor: "ann".into(),
                reason: None,
            };
            intake.note(Event::Resolved(resolved)).await.unwrap();
            rig.quiet_or_waiting().await;
        }
    }
    let journal = entries(&rig.parts.store).await;
    rig.stop().await;
    let mut kinds: Vec<_> = journal.iter().map(|entry| entry.kind.clone()).collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 8, "an entry of every kind: {kinds:?}");
    journal.iter().map(|entry| Draft { at: entry.at, event: entry.event().unwrap(), body: None }).collect()
}

/// Polls so often, and drops what is not ready then: a crash between any two of its steps.
async fn crash_after<F: Future>(polls: u32, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn i2_folding_entry_by_entry_with_a_crash_between_any_two_steps_gives_what_one_go_gives() {
    let origin = tempfile::tempdir().unwrap();
    let drafts = eventful(origin.path()).await;
    let (at_once, stepwise) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());

    let store = open(at_once.path()).await;
    store.append(drafts.clone()).await.unwrap();
    fold::catch_up(&store).await.unwrap();
    let expected = dump(at_once.path()).await;

    let store = open(stepwise.path()).await;
    let mut crashes = 0;
    for draft in drafts {
        store.append(vec![draft]).await.unwrap();
        for polls in 1.. {
            match crash_after(polls, fold::step(&store, None)).await {
                Some(folded) => {
                    assert!(folded.unwrap().entries <= 1);
                    break;
                }
                None => crashes += 1,
            }
        }
    }
    fold::catch_up(&store).await.unwrap();
    assert!(crashes > 300, "{crashes}");
    assert!(dump(stepwise.path()).await == expected, "other projections");
    // The journal that the running daemon wrote and folded as it went has the same projections.
    assert!(dump(origin.path()).await == expected, "other projections than the daemon's own");
}

#[tokio::test]
async fn i2_projections_that_are_lost_or_of_another_journal_are_rebuilt_alike() {
    let folder = tempfile::tempdir().unwrap();
    let drafts = eventful(folder.path()).await;
    let expected = dump(folder.path()).await;
    let file = projections_path(&folder.path().join("state.db"));
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.clone().into_os_string();
        name.push(suffix);
        std::fs::remove_file(name).ok();
    }
    let store = open(folder.path()).await;
    fold::catch_up(&store).await.unwrap();
    assert!(dump(folder.path()).await == expected, "lost, and rebuilt otherwise");
    drop(store);

    // Another journal, with this one's projections beside it.
    let other = tempfile::tempdir().unwrap();
    let store = open(other.path()).await;
    store.append(drafts[..drafts.len() / 2].to_vec()).await.unwrap();
    store.append(vec![heard("another", mirror::time("2024-05-16T10:00:00Z"))]).await.unwrap();
    store.append(drafts[drafts.len() / 2..].to_vec()).await.unwrap();
    fold::catch_up(&store).await.unwrap();
    let own = dump(other.path()).await;
    drop(store);
    let target = projections_path(&other.path().join("state.db"));
    let mut options = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    std::fs::remove_file(&target).unwrap();
    for suffix in ["-wal", "-shm"] {
        let mut name = target.clone().into_os_string();
        name.push(suffix);
        std::fs::remove_file(name).ok();
    }
    sqlx::query("VACUUM INTO ?").bind(target.to_str().unwrap()).execute(&mut options).await.unwrap();
    let store = open(other.path()).await;
    fold::catch_up(&store).await.unwrap();
    assert!(dump(other.path()).await == own, "the foreign projections stayed");
}

#[tokio::test]
async fn a_lease_is_one_holders_until_it_is_over_or_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let now = mirror::time("2024-05-16T10:00:00Z");
    let minute = |count| now.plus(Duration::from_mins(1) * count);
    let take =
        async |holder, from, until| store.lease("run", holder, minute(from), minute(until)).await.unwrap();
    assert!(take("one", 0, 10).await);
    assert!(!take("other", 9, 20).await);
    assert!(take("one", 9, 20).await, "its holder renews it");
    assert!(!take("other", 19, 30).await);
    assert!(take("other", 20, 30).await, "it is over");
    store.release_lease("run", "one").await.unwrap();
    assert!(!take("one", 21, 30).await, "only its holder gives it back");
    store.release_lease("run", "other").await.unwrap();
    assert!(take("one", 21, 30).await);
    assert!(store.lease("another", "other", minute(21), minute(30)).await.unwrap());
}

#[tokio::test]
async fn a_second_daemon_on_one_state_is_refused_and_a_command_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let daemon = OpenOptions { daemon: true, queue_max: 8 };
    let first = SqliteStore::open(&path, daemon).await.unwrap();
    let refused = SqliteStore::open(&path, daemon).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)) && refused.to_string().contains("another daemon"));
    SqliteStore::open(&path, OpenOptions { daemon: false, queue_max: 8 }).await.unwrap();
    drop(first);
    SqliteStore::open(&path, daemon).await.unwrap();
}

/// Bytes that the journal's WAL may come to: what is written before it is moved, and as much again meanwhile.
const WAL_BYTES_MAX: u64 = 48 << 20;

#[tokio::test]
async fn the_wal_stays_small_while_the_journal_is_written_without_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let at = mirror::time("2024-05-16T10:00:00Z");
    let large = Draft { body: Some(vec![b'x'; 512 * 1024].into()), ..heard("1", at) };
    let wal = folder.path().join("state.db-wal");
    let mut largest = 0;
    for _ in 0..300 {
        store.append(vec![large.clone()]).await.unwrap();
        largest = largest.max(std::fs::metadata(&wal).unwrap().len());
    }
    assert!(largest < WAL_BYTES_MAX, "{largest} bytes of WAL for 150 MiB of bodies");
    let file = std::fs::metadata(folder.path().join("state.db")).unwrap().len();
    assert!(file > 100 << 20, "nothing was moved into the file");
}

#[tokio::test]
async fn what_is_folded_from_memory_is_what_is_in_the_file_whoever_wrote_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (open(folder.path()).await, open(folder.path()).await);
    let at = mirror::time("2024-05-16T10:00:00Z");
    let append = async |store: &SharedStore, name: &str| {
        for number in 0..100 {
            store.append(vec![heard(&format!("{name}{number}"), at)]).await.unwrap();
        }
    };
    tokio::join!(append(&one, "a"), append(&other, "b"));
    let all = entries(&one).await;
    assert_eq!(all.len(), 200);
    for after in 0..200 {
        let ahead = one.ahead(after, 3, usize::MAX).await.unwrap();
        assert!(!ahead.is_empty() && all[usize::try_from(after).unwrap()..].starts_with(&ahead), "{after}");
    }
}
