//! A backlog through applier, target and store, against the fastest that can be written by hand.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use expunged::app::Parts;
use expunged::applier::Handover;
use expunged::config::Config;
use expunged::domain::{Action, Door, Entity, Evidence, Key, Notice, Timestamp};
use expunged::fold::Progress;
use expunged::intake::Delivery;
use expunged::targets::{Batch, Effect, Finding, Removal, Target, TargetError};
use sqlx::Connection;
use tokio::sync::watch;

use crate::replica;
use crate::report::{Report, median};
use crate::setting::{self, Loops};

const LISTINGS: u64 = 1_000_000;
const BACKLOG: usize = 100_000;
const ROUNDS: usize = 3;
/// Notices of one delivery.
const NOTICES: usize = 100;
/// Deletions that a bare index commits at once.
const COMMIT: usize = 1_000;
/// How often it is looked whether the backlog is done: each look takes a fraction of a millisecond from both cores.
const LOOK: Duration = Duration::from_millis(10);
/// As the SQL target sets them.
const PRAGMAS: &str = "PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;";

/// So many random listings of those that there are, none of them twice.
pub fn random(listings: u64, backlog: usize) -> Vec<u64> {
    let mut dice = fastrand::Rng::with_seed(7);
    let mut numbers: Vec<u64> = (0..listings).collect();
    dice.shuffle(&mut numbers);
    numbers.truncate(backlog);
    numbers
}

/// A target that measures how long it is at work.
struct Timed {
    target: Arc<dyn Target>,
    micros: AtomicU64,
}

#[async_trait]
impl Target for Timed {
    fn name(&self) -> &str {
        self.target.name()
    }

    async fn check(&self) -> Result<Vec<Finding>, TargetError> {
        self.target.check().await
    }

    fn batch_max(&self) -> u32 {
        self.target.batch_max()
    }

    async fn mirrored(&self, entity: &Entity) -> Result<u64, TargetError> {
        self.target.mirrored(entity).await
    }

    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        self.target.weigh(removals).await
    }

    async fn ready(&self) -> Result<(), TargetError> {
        self.target.ready().await
    }

    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        let began = Instant::now();
        let result = self.target.apply(batch).await;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        result
    }
}

/// Seconds of a backlog.
pub struct Took {
    /// From the first batch to the last settlement.
    pub whole: f64,
    /// Of it, those in which the target was at work.
    pub target: f64,
}

/// A backlog that only waits to be carried out.
pub struct Released {
    parts: Parts,
    target: Arc<Timed>,
    loops: Loops,
    reached: watch::Receiver<Progress>,
    wanted: usize,
}

/// Carries the backlog out at the target named `name`.
pub async fn ours(config: Config, name: &str, numbers: &[u64]) -> anyhow::Result<Took> {
    released(config, name, numbers).await?.carry_out(LOOK).await
}

/// Released means folded as well: from here on, only applying writes.
pub async fn released(mut config: Config, name: &str, numbers: &[u64]) -> anyhow::Result<Released> {
    config.targets.retain(|target| target.name == name);
    let parts = Parts::open(config, setting::clock(), true).await?;
    parts.note_topology().await?;
    let target = parts.targets().await?.pop().context("no such target")?;
    let target = Arc::new(Timed { target, micros: AtomicU64::new(0) });
    record(&parts, numbers).await?;
    let mut loops = Loops::default();
    let (mut reached, _) = loops.fold(&parts, &[]);
    let mut released = 0;
    while released < numbers.len() as u64 {
        reached.changed().await?;
        released = parts.store.queue(name).await?.due;
    }
    Ok(Released { parts, target, loops, reached, wanted: numbers.len() })
}

impl Released {
    /// Carries it out, and looks so often whether it is done.
    pub async fn carry_out(self, look: Duration) -> anyhow::Result<Took> {
        let Self { parts, target, mut loops, reached, wanted } = self;
        let began = Instant::now();
        let handover = Handover::new(target.clone(), &parts.holder);
        loops.apply(&parts, target.clone(), handover, reached);
        while !idle(&parts, target.name()).await? {
            tokio::time::sleep(look).await;
        }
        let whole = began.elapsed().as_secs_f64();
        loops.end().await;
        deleted(&parts, target.name(), wanted).await?;
        Ok(Took { whole, target: target.micros.load(Ordering::Relaxed) as f64 / 1e6 })
    }
}

async fn record(parts: &Parts, numbers: &[u64]) -> anyhow::Result<()> {
    let at = Timestamp::from_seconds(1_780_000_000);
    for numbers in numbers.chunks(NOTICES) {
        let notice = |number: &u64| {
            Ok(Notice {
                entity: Entity::new("listing"),
                key: Key::new(vec!["2".into(), format!("W{number:09}")])?,
                action: Action::Delete,
                evidence: Evidence { deleted_at: Some(at), ..Evidence::default() },
            })
        };
        let delivery = Delivery {
            source: "bench".into(),
            door: Door::Webhook,
            run: None,
            notices: numbers.iter().map(notice).collect::<anyhow::Result<_>>()?,
            unreadable: vec![],
            reason: None,
            body: None,
        };
        parts.intake.record(delivery).await?;
    }
    Ok(())
}

/// Whether everything is settled, and folded.
async fn idle(parts: &Parts, name: &str) -> anyhow::Result<bool> {
    let due = parts.store.due(name, None, parts.clock.now(), 1).await?;
    Ok(due.is_empty() && parts.store.open_batches(name).await?.is_empty())
}

/// A figure counts only if everything went.
async fn deleted(parts: &Parts, name: &str, wanted: usize) -> anyhow::Result<()> {
    let outcomes = parts.store.tally().await?.outcomes;
    let all = (name.to_owned(), "deleted".to_owned(), wanted as u64);
    anyhow::ensure!(outcomes.contains(&all), "not all went: {outcomes:?}");
    Ok(())
}

/// Seconds of the statements that one would write by hand, in one transaction.
async fn by_hand(file: &Path, numbers: &[u64], sorted: bool) -> anyhow::Result<f64> {
    let mut numbers = numbers.to_vec();
    if sorted {
        numbers.sort_unstable();
    }
    let mut replica = replica::connect(file, PRAGMAS).await?;
    sqlx::raw_sql("CREATE TEMP TABLE gone (id INTEGER PRIMARY KEY); CREATE TEMP TABLE wanted (board_id INTEGER, mls_number TEXT)")
        .execute(&mut replica)
        .await?;
    let keys: Vec<String> = numbers.iter().map(|number| format!("W{number:09}")).collect();
    let began = Instant::now();
    let mut transaction = replica.begin_with("BEGIN IMMEDIATE").await?;
    let statements = [
        "INSERT INTO wanted SELECT 2, value FROM json_each(?)",
        "INSERT INTO gone SELECT l.id FROM wanted AS w CROSS JOIN listings AS l
         ON l.board_id = w.board_id AND l.mls_number = w.mls_number",
        "DELETE FROM images WHERE listing_id IN (SELECT id FROM gone)",
        "DELETE FROM reviews WHERE listing_id IN (SELECT id FROM gone)",
        "DELETE FROM listings WHERE id IN (SELECT id FROM gone)",
    ];
    let mut gone = 0;
    for statement in statements {
        let mut query = sqlx::query(statement);
        if statement.contains('?') {
            query = query.bind(serde_json::to_string(&keys)?);
        }
        gone = query.execute(&mut *transaction).await?.rows_affected();
    }
    transaction.commit().await?;
    let seconds = began.elapsed().as_secs_f64();
    anyhow::ensure!(gone == numbers.len() as u64, "by hand, {gone} went");
    replica.close().await?;
    Ok(seconds)
}

pub async fn replica(report: &mut Report) -> anyhow::Result<()> {
    let numbers = random(LISTINGS, BACKLOG);
    let (mut theirs, mut mine, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut fastest = f64::INFINITY;
        for sorted in [true, false] {
            let folder = setting::folder()?;
            let file = replica::replica(folder.path(), LISTINGS).await?;
            fastest = fastest.min(by_hand(&file, &numbers, sorted).await?);
        }
        theirs.push(BACKLOG as f64 / fastest);
        let folder = setting::folder()?;
        replica::replica(folder.path(), LISTINGS).await?;
        let took = ours(setting::config(folder.path())?, "replica", &numbers).await?;
        mine.push(BACKLOG as f64 / took.whole);
        shares.push(took.target / took.whole);
    }
    report.say(&format!("{BACKLOG} random listings of {LISTINGS}, each with 7 children; parents a second:"));
    report.at_least("deleted", median(mine), ("by hand in one transaction", median(theirs)), 0.8);
    report.say(&format!("share of the time in which the target is at work: {:.2}", median(shares)));
    Ok(())
}

/// Seconds of deletions by term.
fn bare(folder: &Path, numbers: &[u64]) -> anyhow::Result<f64> {
    let index = tantivy::Index::open_in_dir(folder)?;
    let field = index.schema().get_field("id")?;
    let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, 15_000_000)?;
    let began = Instant::now();
    for numbers in numbers.chunks(COMMIT) {
        for number in numbers {
            writer.delete_term(tantivy::Term::from_field_text(field, &format!("2:W{number:09}")));
        }
        writer.commit()?;
    }
    Ok(began.elapsed().as_secs_f64())
}

pub async fn search(report: &mut Report) -> anyhow::Result<()> {
    let numbers = random(LISTINGS, BACKLOG);
    let (mut theirs, mut mine, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let folder = setting::folder()?;
        let index = replica::search(folder.path(), LISTINGS)?;
        let again = numbers.clone();
        theirs.push(BACKLOG as f64 / tokio::task::spawn_blocking(move || bare(&index, &again)).await??);
        let folder = setting::folder()?;
        replica::search(folder.path(), LISTINGS)?;
        let took = ours(setting::config(folder.path())?, "search", &numbers).await?;
        mine.push(BACKLOG as f64 / took.whole);
        shares.push(took.target / took.whole);
    }
    report.say(&format!("{BACKLOG} random documents of {LISTINGS}; documents a second:"));
    report.at_least("deleted", median(mine), ("by term, a commit for each 1,000", median(theirs)), 0.5);
    report.say(&format!("share of the time in which the target is at work: {:.2}", median(shares)));
    Ok(())
}
