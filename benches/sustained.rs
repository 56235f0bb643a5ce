//! Taking and carrying out together, against a receiver written by hand in another language.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use expunged::app::Parts;

use crate::load::{self, Numbers, WARM_UP};
use crate::replica;
use crate::report::{Report, median, plain};
use crate::setting::{self, Loops, SECRET};

const LISTINGS: u64 = 1_000_000;
const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(10);

struct Rates {
    acknowledged: f64,
    carried_out: f64,
}

/// Replica and index, both behind one daemon's loops.
async fn ours() -> anyhow::Result<Rates> {
    let folder = setting::folder()?;
    replica::replica(folder.path(), LISTINGS).await?;
    replica::search(folder.path(), LISTINGS)?;
    let parts = Parts::open(setting::config(folder.path())?, setting::clock(), true).await?;
    parts.note_topology().await?;
    let targets = parts.targets().await?;
    let mut loops = Loops::default();
    loops.run(&parts, targets);
    let address = loops.serve(setting::hooks(&parts)?, &parts).await?;
    let acknowledged = load::saturate(address, Numbers::from(0), TIME).await?;
    let tally = parts.store.tally().await?;
    loops.end().await;
    let gone = |name: &str| {
        let mut outcomes = tally.outcomes.iter();
        outcomes
            .find(|(target, outcome, _)| target == name && outcome == "deleted")
            .map_or(0, |(_, _, count)| *count)
    };
    // Carried out is what is gone from both.
    let carried_out = gone("replica").min(gone("search")) as f64 / (WARM_UP + TIME).as_secs_f64();
    Ok(Rates { acknowledged, carried_out })
}

/// A process that ends with its input.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

fn peers() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers"))
}

fn start_peer(replica: &Path) -> anyhow::Result<(Peer, SocketAddr)> {
    let missing = "node and npm are needed for the comparison, and were not found";
    if !peers().join("node_modules").exists() {
        let installed = Command::new("npm").arg("ci").current_dir(peers()).output().context(missing)?;
        anyhow::ensure!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
    }
    let mut node = Command::new("node");
    node.arg(peers().join("server.js")).arg(replica).arg(SECRET).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut peer = Peer(node.spawn().context(missing)?);
    let mut port = String::new();
    BufReader::new(peer.0.stdout.take().context("no output")?).read_line(&mut port)?;
    let port: u16 = port.trim().parse().context("the peer did not start")?;
    Ok((peer, SocketAddr::from(([127, 0, 0, 1], port))))
}

async fn theirs() -> anyhow::Result<f64> {
    let folder = setting::folder()?;
    let replica = replica::replica(folder.path(), LISTINGS).await?;
    let (_peer, address) = start_peer(&replica)?;
    load::saturate(address, Numbers::from(0), TIME).await
}

pub async fn throughput(report: &mut Report) -> anyhow::Result<()> {
    report.say(&format!("{} s at saturation, replica and index; per second:", TIME.as_secs()));
    let (mut acknowledged, mut carried_out, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let rates = ours().await?;
        // Without its peer the figure still tells something.
        let (taken, gone) = (plain(rates.acknowledged), plain(rates.carried_out));
        report.say(&format!("a round: acknowledged {taken}, carried out {gone}"));
        acknowledged.push(rates.acknowledged);
        carried_out.push(rates.carried_out);
        peer.push(theirs().await?);
    }
    let (acknowledged, carried_out, peer) = (median(acknowledged), median(carried_out), median(peer));
    report.at_least("carried out", carried_out, ("by fastify and better-sqlite3", peer), 4.0);
    report.at_least("acknowledged", acknowledged, ("by fastify and better-sqlite3", peer), 10.0);
    Ok(())
}
