//! How figures are told: the machine, the figure, the limit, their ratio, and what is required.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use crate::setting;

/// How long the machine's syncs are measured.
const SYNCS: Duration = Duration::from_millis(500);

/// What one bench has to say.
pub struct Report {
    met: bool,
}

impl Report {
    pub fn begin(name: &str, what: &str) -> anyhow::Result<Self> {
        println!("{name}: {what}");
        let cores = std::thread::available_parallelism()?;
        println!(
            "  machine: {cores} cores, {:.0} fdatasync/s in {}",
            1.0 / sync_seconds()?,
            setting::base().display()
        );
        Ok(Self { met: true })
    }

    pub fn met(&self) -> bool {
        self.met
    }

    #[expect(clippy::unused_self, reason = "lines belong to a report")]
    pub fn say(&self, text: &str) {
        println!("  {text}");
    }

    /// `figure` is to be at least `required` times `limit`.
    pub fn at_least(&mut self, what: &str, figure: f64, limit: (&str, f64), required: f64) {
        self.tell(what, figure, limit, (">=", required), figure / limit.1 >= required);
    }

    /// `figure` is to be at most `required` times `limit`.
    pub fn at_most(&mut self, what: &str, figure: f64, limit: (&str, f64), required: f64) {
        self.tell(what, figure, limit, ("<=", required), figure / limit.1 <= required);
    }

    fn tell(
        &mut self,
        what: &str,
        figure: f64,
        (name, limit): (&str, f64),
        (sign, required): (&str, f64),
        met: bool,
    ) {
        self.met &= met;
        let verdict = if met { "met" } else { "MISSED" };
        let ratio = figure / limit;
        println!("  {what} {}; {name} {}", plain(figure), plain(limit));
        println!("    ratio {ratio:.3}, required {sign} {required}: {verdict}");
    }
}

/// A number as people write it: 12,345 or 1.23.
pub fn plain(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|it| std::str::from_utf8(it).ok()).collect();
    groups.join(",")
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds of one write of a page with its fdatasync.
pub fn sync_seconds() -> anyhow::Result<f64> {
    let path = setting::base().join("sync.probe");
    let mut file = File::create(&path)?;
    let mut syncs = Vec::new();
    let began = Instant::now();
    while began.elapsed() < SYNCS {
        let one = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        syncs.push(one.elapsed().as_secs_f64());
    }
    std::fs::remove_file(path)?;
    Ok(median(syncs))
}
