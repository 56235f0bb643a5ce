//! What the daemon takes as a process: memory while it reads a long feed, processor and memory while idle.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use expunged::config::Secret;
use expunged::domain::Timestamp;
use expunged::sandbox::repliers::{RepliersSettings, Synthetic};
use expunged::sandbox::{Repliers, Sandbox};
use expunged::store::Store;
use expunged::store::sqlite::{OpenOptions, SqliteStore};
use tokio_util::sync::CancellationToken;

use crate::replica;
use crate::report::Report;
use crate::setting;

/// The argument that makes this program the upstream, in a process of its own.
pub const UPSTREAM: &str = "upstream";
const DELETIONS: u64 = 1_000_000;
const API_KEY: &str = "an api key";
const LISTINGS: u64 = 10_000;
const MIB: f64 = 1024.0 * 1024.0;
/// Of the kernel's processor times, in a second (USER_HZ, which is 100 everywhere on Linux).
const TICKS: f64 = 100.0;
const IDLE: Duration = Duration::from_secs(30);
/// From the start of a daemon until it is taken to be idle.
const SETTLE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);
/// Longer than any machine should need for the whole feed.
const PATIENCE: Duration = Duration::from_mins(30);

/// A process that is ended with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Process {
    /// The daemon, on a replica and an index.
    async fn daemon(folder: &Path, upstream: Option<SocketAddr>) -> anyhow::Result<Self> {
        replica::replica(folder, LISTINGS).await?;
        replica::search(folder, LISTINGS)?;
        let text = setting::text(folder)? + &upstream.map_or(String::new(), |it| feed(folder, it));
        std::fs::write(folder.join("api-key"), API_KEY)?;
        let file = folder.join("expunged.toml");
        std::fs::write(&file, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_expunged"));
        Ok(Self(command.arg("serve").arg("--config").arg(file).spawn()?))
    }

    fn file(&self, name: &str) -> anyhow::Result<String> {
        let path = PathBuf::from(format!("/proc/{}/{name}", self.0.id()));
        std::fs::read_to_string(&path).context("the process ended, or this system has no /proc")
    }

    /// MiB of a line of its status: `VmRSS` now, `VmHWM` at most so far.
    fn memory(&self, name: &str) -> anyhow::Result<f64> {
        let status = self.file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: f64 = line.and_then(|it| it.split_whitespace().next()).context("no such line")?.parse()?;
        Ok(kib * 1024.0 / MIB)
    }

    /// Seconds of processor time so far.
    fn processor(&self) -> anyhow::Result<f64> {
        let stat = self.file("stat")?;
        let (_, fields) = stat.rsplit_once(") ").context("an unknown format")?;
        let times = fields.split(' ').skip(11).take(2);
        Ok(times.map(str::parse::<f64>).sum::<Result<f64, _>>()? / TICKS)
    }
}

fn feed(folder: &Path, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        r#"
[sources.repliers]
preset = "repliers"
base_url = "http://{upstream}"
secret = {{ file = "{folder}/secret" }}
api_key = {{ file = "{folder}/api-key" }}
feed = {{ rate_per_second = 10000 }}
"#
    )
}

/// Serves a feed that is computed; ended by its parent.
pub async fn upstream() -> anyhow::Result<()> {
    let clock = setting::clock();
    // All within the day before yesterday: a first run reads further back, and the feed's days are whole.
    let synthetic = Synthetic {
        count: DELETIONS,
        board_id: 2,
        prefix: "F",
        first: clock.now().minus(Duration::from_hours(72)),
        spacing: Duration::from_millis(80),
    };
    let settings = RepliersSettings {
        requests_per_second: None,
        synthetic: Some(synthetic),
        ..RepliersSettings::documented(Secret::new(API_KEY), Secret::new(setting::SECRET))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let repliers = Repliers::new(settings, clock)?;
    Sandbox::new(vec![repliers]).serve(listener, CancellationToken::new()).await;
    Ok(())
}

fn start_upstream() -> anyhow::Result<(Process, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut process = Process(command.arg(UPSTREAM).stdout(Stdio::piped()).spawn()?);
    let mut address = String::new();
    BufReader::new(process.0.stdout.take().context("no output")?).read_line(&mut address)?;
    Ok((process, address.trim().parse()?))
}

pub async fn idle(report: &mut Report) -> anyhow::Result<()> {
    let folder = setting::folder()?;
    let daemon = Process::daemon(folder.path(), None).await?;
    tokio::time::sleep(SETTLE).await;
    let (began, before) = (Instant::now(), daemon.processor()?);
    tokio::time::sleep(IDLE).await;
    let share = (daemon.processor()? - before) / began.elapsed().as_secs_f64() * 100.0;
    report.say(&format!("a daemon with a replica and an index, for {} s:", IDLE.as_secs()));
    report.at_most("processor, percent of a core", share, ("allowed", 0.5), 1.0);
    report.at_most("resident, MiB", daemon.memory("VmRSS")?, ("allowed", 40.0), 1.0);
    Ok(())
}

pub async fn memory(report: &mut Report) -> anyhow::Result<()> {
    let folder = setting::folder()?;
    let daemon = Process::daemon(folder.path(), None).await?;
    tokio::time::sleep(SETTLE).await;
    let idle = daemon.memory("VmRSS")?;
    drop(daemon);
    let folder = setting::folder()?;
    let (_upstream, address) = start_upstream()?;
    let daemon = Process::daemon(folder.path(), Some(address)).await?;
    let began = Instant::now();
    let walked = done(folder.path(), began).await?;
    let peak = daemon.memory("VmHWM")?;
    report.say(&format!(
        "{DELETIONS} deletions, 100 a page: read in {:.0} s, carried out everywhere in {:.0} s; idle {idle:.1} MiB",
        walked.as_secs_f64(),
        began.elapsed().as_secs_f64()
    ));
    report.at_most("resident above idle, MiB", peak - idle, ("allowed", 128.0), 1.0);
    Ok(())
}

/// Waits until the feed is read and everything it told is carried out; when the feed was read.
async fn done(folder: &Path, began: Instant) -> anyhow::Result<Duration> {
    tokio::time::sleep(SETTLE).await;
    let options = OpenOptions { daemon: false, queue_max: 1 };
    let (store, _writer) = SqliteStore::open(&folder.join("expunged.db"), options).await?;
    let mut walked = None;
    while began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let Some(run) = store.runs(Some("repliers"), 1).await?.into_iter().find(|run| run.ended_at.is_some())
        else {
            continue;
        };
        anyhow::ensure!(run.error.is_none() && run.found == DELETIONS, "{run:?}");
        let walked = *walked.get_or_insert_with(|| began.elapsed());
        let mut left = !store.awaiting(1).await?.is_empty();
        for target in ["replica", "search"] {
            left |= !store.due(target, None, Timestamp::from_micros(i64::MAX), 1).await?.is_empty();
        }
        if !left {
            return Ok(walked);
        }
    }
    anyhow::bail!("not done within {} s", PATIENCE.as_secs())
}
