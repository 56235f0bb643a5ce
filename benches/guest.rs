//! What the other users of a database server lose while a backlog is deleted there: pgbench with its own tables on
//! the same server, alone and during, as one process that is watched from outside.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

use crate::backlog::{self, random};
use crate::databases::{Product as _, Server, listings, run, seeded};
use crate::products::Postgres;
use crate::report::{Report, median};
use crate::setting;

const ROUNDS: usize = 3;
/// Pgbench's branches: more than its clients, so that they wait for the disk more than for each other.
const SCALE: &str = "10";
const CLIENTS: &str = "4";
/// How long it runs before it is measured, and how long it is measured alone, before and after.
const WARM_UP: Duration = Duration::from_secs(3);
const ALONE: Duration = Duration::from_secs(8);
/// How often it is looked whether the backlog is done: looking is not what the others are to suffer from.
const LOOK: Duration = Duration::from_millis(100);
/// Each of its transactions writes one row.
const DONE: &str = "SELECT count(*) FROM pgbench_history";

fn program() -> Option<PathBuf> {
    Postgres.programs().map(|folder| folder.join("pgbench")).filter(|file| file.exists())
}

/// Ends with its measurement: pgbench itself knows a time alone.
struct Pgbench(Child);

impl Drop for Pgbench {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Pgbench {
    fn command(program: &Path, port: u16) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-U", "owner", "-p"]).arg(port.to_string());
        command
    }

    fn start(program: &Path, port: u16) -> anyhow::Result<Self> {
        run(Self::command(program, port).args(["-i", "-q", "-s", SCALE, "postgres"]))?;
        let mut command = Self::command(program, port);
        command.args(["-n", "-c", CLIENTS, "-T", "86400", "postgres"]);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

/// Transactions so far, and when they were counted.
struct Mark(i64, Instant);

impl Mark {
    async fn set(connection: &mut PgConnection) -> anyhow::Result<Self> {
        Ok(Self(sqlx::query_scalar(DONE).fetch_one(connection).await?, Instant::now()))
    }

    /// Transactions a second from this one to another.
    fn rate(&self, to: &Self) -> f64 {
        (to.0 - self.0) as f64 / (to.1 - self.1).as_secs_f64()
    }
}

/// Transactions a second of the others, alone and during, and the parents that we delete in a second meanwhile.
struct Round {
    alone: f64,
    during: f64,
    mine: f64,
}

async fn round(program: &Path, listings: u64, numbers: &[u64]) -> anyhow::Result<Round> {
    let folder = setting::folder()?;
    let data = seeded(&Postgres, folder.path(), listings).await?;
    let server = Server::start(&Postgres, &data).await?;
    let config = setting::config_over(folder.path(), &Postgres.url(server.port))?;
    let released = backlog::released(config, "replica", numbers).await?;
    let mut owner = PgConnection::connect(&Postgres.url(server.port)).await?;
    let guest = Pgbench::start(program, server.port)?;
    tokio::time::sleep(WARM_UP).await;
    let start = Mark::set(&mut owner).await?;
    tokio::time::sleep(ALONE).await;
    let busy = Mark::set(&mut owner).await?;
    let took = released.carry_out(LOOK).await?;
    let done = Mark::set(&mut owner).await?;
    tokio::time::sleep(ALONE).await;
    let end = Mark::set(&mut owner).await?;
    drop(guest);
    owner.close().await?;
    server.end().await.context("after the guest")?;
    let alone = f64::midpoint(start.rate(&busy), done.rate(&end));
    Ok(Round { alone, during: busy.rate(&done), mine: numbers.len() as f64 / took.whole })
}

pub async fn pgbench(report: &mut Report) -> anyhow::Result<()> {
    let Some(program) = program() else {
        report.say("pgbench is not installed: not measured");
        return Ok(());
    };
    let listings = listings()?;
    let numbers = random(listings, usize::try_from(listings / 10)?);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(round(&program, listings, &numbers).await?);
    }
    let all = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    report.say(&format!(
        "{} random listings of {listings} go with the default limits, {:.0} a second; transactions a second of pgbench:",
        numbers.len(),
        all(|round| round.mine)
    ));
    report.at_least("during", all(|round| round.during), ("alone", all(|round| round.alone)), 0.9);
    Ok(())
}
