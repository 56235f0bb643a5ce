//! A backlog in a database server, against the fastest that can be written by hand on the same server.
//!
//! Servers of our own, with the settings that they come with but for memory and the size of their logs, seeded once
//! and copied for each measurement. `EXPUNGED_BENCH_LISTINGS` says how many listings there are, 1,000,000 by default;
//! a tenth of them goes.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;

use crate::backlog::{ours, random};
use crate::report::{Report, median};
use crate::setting;

const LISTINGS: u64 = 1_000_000;
const ROUNDS: usize = 3;
/// How long a server may take to start, or to end in good order.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a server is looked at: a hundredth of what is measured, and seldom enough to leave it the machine.
const LOOK: Duration = Duration::from_millis(50);

/// One product: how its server is made and started, and how it is spoken to by hand.
#[async_trait]
pub trait Product: Sync {
    fn name(&self) -> &'static str;

    /// `None` where its programs are missing.
    fn programs(&self) -> Option<PathBuf>;

    fn initialise(&self, data: &Path) -> anyhow::Result<()>;

    /// The server's own command; it stays in the foreground, and ends in good order by SIGINT or SIGTERM.
    fn server(&self, data: &Path, port: u16) -> Command;

    /// The signal for it to end by.
    fn end(&self) -> &'static str;

    fn url(&self, port: u16) -> String;

    async fn run(&self, port: u16, sql: &str) -> anyhow::Result<()>;

    /// Statements that seed it; with `{listings}`.
    fn seed(&self) -> &'static str;

    /// Ways to delete the listings of some numbers, the fastest that we know.
    fn by_hand(&self) -> Vec<ByHand>;

    /// Seconds that the statements take.
    async fn take(&self, port: u16, way: &ByHand, numbers: &[String]) -> anyhow::Result<f64>;

    /// Whether the server clears away by itself, and at once, what a deletion leaves behind.
    fn clears(&self) -> bool {
        false
    }

    /// Whether it has nothing left to clear away.
    async fn cleared(&self, _port: u16) -> anyhow::Result<bool> {
        Ok(true)
    }
}

/// How one would write it by hand: statements of one transaction, of which some take the list of numbers.
pub struct ByHand {
    /// One statement takes parents and children.
    pub at_once: bool,
    /// Rows of a listing that the last statement tells of.
    pub told: u64,
    pub statements: &'static [&'static str],
}

pub struct Server<'a> {
    product: &'a dyn Product,
    pub port: u16,
    process: Child,
}

impl<'a> Server<'a> {
    pub async fn start(product: &'a dyn Product, data: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = std::fs::File::create(data.with_extension("log"))?;
        let mut command = product.server(data, port);
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let server = Self { product, port, process };
        let ready = async {
            while product.run(port, "SELECT 1").await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.context("the server does not start")?;
        Ok(server)
    }

    /// Seconds until nothing is left to clear away.
    async fn clear(&self) -> anyhow::Result<f64> {
        let began = Instant::now();
        let cleared = async {
            while !self.product.cleared(self.port).await? {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(began.elapsed().as_secs_f64())
        };
        tokio::time::timeout(PATIENCE, cleared).await.context("the server does not clear away")?
    }

    pub async fn end(mut self) -> anyhow::Result<()> {
        run(Command::new("kill").args(["-s", self.product.end(), &self.process.id().to_string()]))?;
        let ended = async {
            while self.process.try_wait()?.is_none() {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, ended).await.context("the server does not end")?
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    anyhow::ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A copy of a seeded server's data in `folder`, as its owner has them.
pub async fn seeded(product: &dyn Product, folder: &Path, listings: u64) -> anyhow::Result<PathBuf> {
    let kept = setting::base().join(format!("{}-{listings}", product.name()));
    if !kept.exists() {
        let growing = kept.with_extension("growing");
        std::fs::remove_dir_all(&growing).ok();
        std::fs::create_dir_all(&growing)?;
        product.initialise(&growing)?;
        let server = Server::start(product, &growing).await?;
        product.run(server.port, &product.seed().replace("{listings}", &listings.to_string())).await?;
        server.end().await?;
        std::fs::rename(growing, &kept)?;
    }
    let copy = folder.join("data");
    run(Command::new("cp").arg("-a").arg(kept).arg(&copy))?;
    run(&mut Command::new("sync"))?;
    Ok(copy)
}

/// Listings that there are.
pub fn listings() -> anyhow::Result<u64> {
    let told = std::env::var("EXPUNGED_BENCH_LISTINGS").ok();
    told.map_or(Ok(LISTINGS), |told| told.parse().context("EXPUNGED_BENCH_LISTINGS"))
}

pub async fn backlog(report: &mut Report, product: &dyn Product) -> anyhow::Result<()> {
    if product.programs().is_none() {
        report.say(&format!("{} is not installed: not measured", product.name()));
        return Ok(());
    }
    let listings = listings()?;
    let numbers = random(listings, usize::try_from(listings / 10)?);
    let (mut theirs, mut at_once, mut mine, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut fastest, mut fastest_at_once) = (Seconds::NEVER, Seconds::NEVER);
        for way in product.by_hand() {
            let took = by_hand(product, &way, listings, &numbers).await?;
            fastest = fastest.or(took);
            if way.at_once {
                fastest_at_once = fastest_at_once.or(took);
            }
        }
        theirs.push(fastest);
        at_once.push(fastest_at_once);
        let folder = setting::folder()?;
        let data = seeded(product, folder.path(), listings).await?;
        let server = Server::start(product, &data).await?;
        let config = setting::config_over(folder.path(), &product.url(server.port))?;
        let took = ours(config, "replica", &numbers).await?;
        mine.push(Seconds { until_gone: took.whole, until_cleared: took.whole + server.clear().await? });
        server.end().await?;
        shares.push(took.target / took.whole);
    }
    report.say(&format!(
        "{} random listings of {listings}, each with 7 children; parents a second:",
        numbers.len()
    ));
    let rate = |all: &[Seconds], seconds: fn(&Seconds) -> f64| {
        median(all.iter().map(|it| numbers.len() as f64 / seconds(it)).collect())
    };
    let gone: fn(&Seconds) -> f64 = |it| it.until_gone;
    report.at_least("deleted", rate(&mine, gone), ("by hand in one statement", rate(&at_once, gone)), 0.8);
    report.at_least("deleted", rate(&mine, gone), ("by hand in one transaction", rate(&theirs, gone)), 0.8);
    if product.clears() {
        let cleared: fn(&Seconds) -> f64 = |it| it.until_cleared;
        let theirs = ("by hand", rate(&theirs, cleared));
        report.at_least("deleted, and cleared away by the server", rate(&mine, cleared), theirs, 0.8);
    }
    report.say(&format!("share of the time in which the target is at work: {:.2}", median(shares)));
    Ok(())
}

/// What a deletion takes. A server may clear away behind batches that went while later ones are at work, and behind one
/// large transaction only after it: what counts for whoever waits is the first, and for the machine the second.
#[derive(Clone, Copy)]
struct Seconds {
    until_gone: f64,
    until_cleared: f64,
}

impl Seconds {
    const NEVER: Self = Self { until_gone: f64::INFINITY, until_cleared: f64::INFINITY };

    /// Whichever is faster, in each.
    fn or(self, other: Self) -> Self {
        Self {
            until_gone: self.until_gone.min(other.until_gone),
            until_cleared: self.until_cleared.min(other.until_cleared),
        }
    }
}

/// One way to write it by hand, in one transaction and in key order.
async fn by_hand(
    product: &dyn Product,
    way: &ByHand,
    listings: u64,
    numbers: &[u64],
) -> anyhow::Result<Seconds> {
    let folder = setting::folder()?;
    let data = seeded(product, folder.path(), listings).await?;
    let server = Server::start(product, &data).await?;
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    let numbers: Vec<String> = numbers.iter().map(|number| format!("W{number:09}")).collect();
    let until_gone = product.take(server.port, way, &numbers).await?;
    let until_cleared = until_gone + server.clear().await?;
    server.end().await?;
    Ok(Seconds { until_gone, until_cleared })
}
