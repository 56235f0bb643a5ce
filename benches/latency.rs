//! One delivery to gone everywhere, on a daemon that does nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use expunged::app::Parts;
use sqlx::{Connection, SqliteConnection};

use crate::load::{Connection as Sender, quantile};
use crate::replica;
use crate::report::{Report, sync_seconds};
use crate::setting::{self, Loops};

const LISTINGS: u64 = 10_000;
const SAMPLES: u64 = 200;
/// How often the copies are looked at.
const LOOK: Duration = Duration::from_micros(200);

/// Milliseconds from sending a delivery until neither copy has the record, sorted.
async fn ours(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let parts = Parts::open(setting::config(folder)?, setting::clock(), true).await?;
    parts.note_topology().await?;
    let targets = parts.targets().await?;
    let mut loops = Loops::default();
    loops.run(&parts, targets);
    let address = loops.serve(setting::hooks(&parts)?, &parts).await?;
    let (replica, index) = (folder.join("replica.db"), folder.join("search"));
    let samples = tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let mut sender = Sender::open(address).await?;
            let mut replica = replica::connect(&replica, "").await?;
            let index = tantivy::Index::open_in_dir(&index)?;
            let mut samples = Vec::new();
            for number in 0..SAMPLES {
                let began = Instant::now();
                sender.deliver(number).await?;
                until_gone(&mut replica, &index, number).await?;
                samples.push(began.elapsed().as_secs_f64() * 1e3);
                // Until the settlement is on disk too: the daemon is to be idle again.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(samples)
        })
    })
    .await??;
    loops.end().await;
    Ok(sorted(samples))
}

async fn until_gone(
    replica: &mut SqliteConnection,
    index: &tantivy::Index,
    number: u64,
) -> anyhow::Result<()> {
    let left = "SELECT count(*) FROM listings WHERE board_id = 2 AND mls_number = ?";
    let key = format!("W{number:09}");
    while sqlx::query_scalar::<_, i64>(left).bind(&key).fetch_one(&mut *replica).await? > 0 {
        std::thread::sleep(LOOK);
    }
    // The number of deleted documents is in the index's list of files, which is small.
    let live = LISTINGS - number - 1;
    loop {
        let segments = index.searchable_segment_metas()?;
        if segments.iter().map(|segment| u64::from(segment.num_docs())).sum::<u64>() == live {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

fn sorted(mut samples: Vec<f64>) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    samples
}

/// A deleting transaction as one would write it, by listing: milliseconds.
async fn transactions(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let mut replica = replica::connect(&folder.join("replica.db"), "PRAGMA synchronous = FULL").await?;
    let mut samples = Vec::new();
    for number in 0..SAMPLES {
        let began = Instant::now();
        let mut transaction = replica.begin_with("BEGIN IMMEDIATE").await?;
        let find = "SELECT id FROM listings WHERE board_id = 2 AND mls_number = ?";
        let id: i64 =
            sqlx::query_scalar(find).bind(format!("W{number:09}")).fetch_one(&mut *transaction).await?;
        for delete in [
            "DELETE FROM images WHERE listing_id = ?",
            "DELETE FROM reviews WHERE listing_id = ?",
            "DELETE FROM listings WHERE id = ?",
        ] {
            sqlx::query(delete).bind(id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        samples.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(sorted(samples))
}

/// A commit of the index with one deletion: milliseconds.
fn commits(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let index = tantivy::Index::open_in_dir(folder.join("search"))?;
    let field = index.schema().get_field("id")?;
    let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, 15_000_000)?;
    let mut samples = Vec::new();
    for number in 0..SAMPLES {
        let began = Instant::now();
        writer.delete_term(tantivy::Term::from_field_text(field, &format!("2:W{number:09}")));
        writer.commit()?;
        samples.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(sorted(samples))
}

pub async fn gone(report: &mut Report) -> anyhow::Result<()> {
    let folder = setting::folder()?;
    replica::replica(folder.path(), LISTINGS).await?;
    replica::search(folder.path(), LISTINGS)?;
    let ours = ours(folder.path()).await?;
    let folder = setting::folder()?;
    replica::replica(folder.path(), LISTINGS).await?;
    replica::search(folder.path(), LISTINGS)?;
    let sync = sync_seconds()? * 1e3;
    let transaction = quantile(&transactions(folder.path()).await?, 0.5);
    let path = folder.path().to_owned();
    let commit = quantile(&tokio::task::spawn_blocking(move || commits(&path)).await??, 0.5);
    report
        .say(&format!("{SAMPLES} deliveries, one at a time; median ms (p99 {:.1}):", quantile(&ours, 0.99)));
    let parts = format!("fdatasync {sync:.2} + transaction {transaction:.2} + index commit {commit:.2} =");
    report.at_most("gone everywhere after", quantile(&ours, 0.5), (&parts, sync + transaction + commit), 2.0);
    Ok(())
}
