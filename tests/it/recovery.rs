//! I1, I2, I8: killed again and again under load, the daemon loses nothing that it acknowledged, touches
//! nothing else, and tells truly what it did.

#![allow(clippy::unwrap_used, reason = "a test's own steps")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use expunged::sources::http::plain_client;

use crate::support::crash::home::{assert_same, dump, open};
use crate::support::crash::{Addresses, Home, Journal, Setup, deletion, post, receipt, settled};
use crate::support::servers::{Database, mariadb, postgres};

const ROUNDS: u64 = 50;
const SEED: u64 = 20_240_516;
const LISTINGS: u32 = 6_000;
/// Deliveries that are under way at once, each on a connection of its own.
const CONNECTIONS: usize = 8;
/// The longest that a daemon lives once it listens.
const LIFE_MAX: Duration = Duration::from_millis(300);
/// The longest that one lives that is killed while it starts.
const START_MAX: Duration = Duration::from_millis(150);

/// What the upstream knows: what it has told, and what was acknowledged.
struct Upstream {
    random: fastrand::Rng,
    fresh: Vec<u32>,
    /// Listings of new deletions that may be told in this round.
    budget: usize,
    told: Vec<Vec<u32>>,
    acknowledged: Vec<(i64, Vec<u32>)>,
}

impl Upstream {
    fn next(&mut self) -> Vec<u32> {
        if self.told.is_empty() || (self.budget > 0 && self.random.u8(..10) < 7) {
            let together = self.random.usize(1..=3).min(self.fresh.len());
            self.budget = self.budget.saturating_sub(together);
            self.told.push(self.fresh.split_off(self.fresh.len() - together));
            return self.told.last().unwrap().clone();
        }
        let again = self.random.usize(..self.told.len());
        self.told[again].clone()
    }
}

/// Tells one deletion after the other, until the daemon is gone.
async fn deliver(upstream: Arc<Mutex<Upstream>>, client: reqwest::Client, to: Addresses) {
    loop {
        let numbers = upstream.lock().unwrap().next();
        let Ok(answer) = post(&client, &to, deletion(&numbers)).await else { return };
        let Some(seq) = receipt(answer).await else { return };
        upstream.lock().unwrap().acknowledged.push((seq, numbers));
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// One life of the daemon, ended by SIGKILL; every fifth ends while the daemon still starts.
async fn round(home: &Home, upstream: &Arc<Mutex<Upstream>>, random: &mut fastrand::Rng) {
    let mut daemon = home.serve();
    if random.u8(..5) == 0 {
        tokio::time::sleep(START_MAX.mul_f64(random.f64())).await;
        daemon.kill();
        return;
    }
    let to = daemon.listening().await;
    let client = plain_client().unwrap();
    let senders: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(deliver(upstream.clone(), client.clone(), to))).collect();
    tokio::time::sleep(LIFE_MAX.mul_f64(random.f64())).await;
    daemon.kill();
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i2_i8_killed_at_random_moments_it_loses_nothing_and_counts_nothing_twice() {
    killed_at_random_moments(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i2_i8_the_same_with_a_replica_in_postgres() {
    if let Some(database) = postgres::database().await {
        killed_at_random_moments(Some(database)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i2_i8_the_same_with_a_replica_in_mariadb() {
    if let Some(database) = mariadb::database().await {
        killed_at_random_moments(Some(database)).await;
    }
}

async fn killed_at_random_moments(replica: Option<Database>) {
    let rounds = from_environment("EXPUNGED_CRASH_ROUNDS", ROUNDS);
    let seed = from_environment("EXPUNGED_CRASH_SEED", SEED);
    let mut random = fastrand::Rng::with_seed(seed);
    println!("{rounds} rounds, seed {seed}");
    let home = Home::new(Setup { listings: LISTINGS, replica, ..Setup::default() }).await;
    let upstream = Arc::new(Mutex::new(Upstream {
        random: random.fork(),
        fresh: (1..=LISTINGS).collect(),
        budget: 0,
        told: vec![],
        acknowledged: vec![],
    }));

    let began = Instant::now();
    for _ in 0..rounds {
        upstream.lock().unwrap().budget = LISTINGS as usize * 9 / 10 / usize::try_from(rounds).unwrap();
        round(&home, &upstream, &mut random).await;
    }
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    settled(&plain_client().unwrap(), &daemon, &to).await;
    daemon.terminate();
    let (code, log) = daemon.ended().await;
    assert_eq!(code, 0, "{log}");

    let journal = home.journal();
    let acknowledged = std::mem::take(&mut upstream.lock().unwrap().acknowledged);
    report(&journal, acknowledged.len(), began.elapsed());
    assert_acknowledged_is_stored(&journal, &acknowledged);
    home.assert_gone_exactly(&journal.heard()).await;
    assert_told_truly(&journal);
    journal.assert_every_step_has_its_cause();
    home.succeed(&["journal", "verify"]);
    assert_rebuilt_is_the_same(&home).await;
}

/// I1: each receipt names an entry that heard of exactly what was delivered.
fn assert_acknowledged_is_stored(journal: &Journal, acknowledged: &[(i64, Vec<u32>)]) {
    assert!(!acknowledged.is_empty());
    for (seq, numbers) in acknowledged {
        assert_eq!(journal.heard_at(*seq), *numbers, "entry {seq}");
    }
}

/// I2, I8: each record came to one end at each target. All were there, so none was ever `not_found`.
fn assert_told_truly(journal: &Journal) {
    for target in ["replica", "search"] {
        let ends = journal.ends(target);
        assert_eq!(ends.keys().copied().collect::<BTreeSet<_>>(), journal.heard(), "{target}");
        for (number, end) in ends {
            let newer = target == "replica" && number % crate::support::crash::home::NEWER_EVERY == 0;
            let may_be: &[&str] = if newer { &["superseded"] } else { &["deleted", "already_deleted"] };
            assert!(may_be.contains(&end.as_str()), "{target}: listing {number} ended as {end}");
        }
    }
}

/// What is folded from the journal alone is what was folded step by step, with crashes in between.
async fn assert_rebuilt_is_the_same(home: &Home) {
    let status = || {
        let mut status: serde_json::Value =
            serde_json::from_str(&home.succeed(&["status", "--json"])).unwrap();
        // The time at which it was asked.
        status["at"].take();
        status
    };
    let projections = home.projections_file();
    let (told, folded) = (status(), dump(&mut open(&projections).await).await);
    for suffix in ["", "-wal", "-shm"] {
        let mut file = projections.clone().into_os_string();
        file.push(suffix);
        std::fs::remove_file(file).ok();
    }
    assert_eq!(status(), told);
    assert_same(&dump(&mut open(&projections).await).await, &folded);
}

/// Figures for people; seen with `--nocapture`.
fn report(journal: &Journal, acknowledged: usize, took: Duration) {
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for target in ["replica", "search"] {
        for end in journal.ends(target).into_values() {
            *counts.entry((target, end)).or_default() += 1;
        }
    }
    println!(
        "{acknowledged} acknowledged, {} records heard of, {counts:?}, {took:.1?}",
        journal.heard().len()
    );
}
