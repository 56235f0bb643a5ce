//! Acknowledgements: how many, and how slow the slowest hundredth is.

use std::time::Duration;

use expunged::app::Parts;

use crate::doors;
use crate::load::{self, CONNECTIONS, Numbers, quantile};
use crate::report::{Report, median, plain};
use crate::setting::{self, Loops};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq)]
enum Door {
    /// Stores nothing.
    Forgetful,
    /// Appends to a plain file.
    PlainFile,
    /// Ours, with nothing behind it.
    Ours,
    /// Ours, while what it took is folded and released.
    OursFolding,
}

/// Opens a door on an empty state, and hands its address to `measure`.
async fn through<T>(
    door: Door,
    measure: impl AsyncFnOnce(std::net::SocketAddr) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let folder = setting::folder()?;
    let parts = Parts::open(setting::config(folder.path())?, setting::clock(), true).await?;
    let router = match door {
        Door::Forgetful => doors::forgetful(&parts.config)?,
        Door::PlainFile => doors::plain_file(&parts.config, &folder.path().join("plain"))?,
        Door::Ours | Door::OursFolding => setting::hooks(&parts)?,
    };
    let mut loops = Loops::default();
    if door == Door::OursFolding {
        parts.note_topology().await?;
        loops.fold(&parts, &[]);
    }
    let address = loops.serve(router, &parts).await?;
    let measured = measure(address).await;
    loops.end().await;
    measured
}

async fn saturated(door: Door) -> anyhow::Result<f64> {
    through(door, async |address| load::saturate(address, Numbers::from(0), TIME).await).await
}

pub async fn rate(report: &mut Report) -> anyhow::Result<()> {
    let doors = [Door::Forgetful, Door::Ours, Door::PlainFile, Door::OursFolding];
    let mut rates: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (door, rates) in doors.into_iter().zip(&mut rates) {
            rates.push(saturated(door).await?);
        }
    }
    let [forgetful, ours, plain_file, folding] = rates.map(median);
    report.say(&format!("{CONNECTIONS} connections, signed bodies of 600 bytes, distinct keys; per second:"));
    report.at_least("acknowledged", ours, ("without storing", forgetful), 0.5);
    report.at_least("acknowledged", ours, ("over a plain file, group-committed", plain_file), 0.8);
    report.say(&format!("while folding and releasing: {}", plain(folding)));
    Ok(())
}

pub async fn p99(report: &mut Report) -> anyhow::Result<()> {
    let mut rates = Vec::new();
    for _ in 0..3 {
        rates.push(saturated(Door::Ours).await?);
    }
    let rate = median(rates) / 2.0;
    let mut p99: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (door, p99) in [Door::Forgetful, Door::Ours].into_iter().zip(&mut p99) {
            let paced = async |address| load::paced(address, Numbers::from(0), rate, TIME).await;
            p99.push(quantile(&through(door, paced).await?, 0.99) * 1e3);
        }
    }
    let [forgetful, ours] = p99.map(median);
    report.say(&format!("{} deliveries a second, whether or not answers come; p99 in ms:", plain(rate)));
    report.at_most("acknowledged", ours, ("without storing", forgetful), 3.0);
    Ok(())
}
