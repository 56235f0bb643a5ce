//! The figures that are promised, each measured against a limit of the same machine in the same run.
//!
//! `cargo bench -- ack` measures one, `cargo bench` all. Machines differ, and a busy one differs from itself:
//! only ratios are required, the two sides are measured in turn, and medians count. Exit code 1: a ratio was
//! missed. Files lie in cargo's folder for such things, or in `EXPUNGED_BENCH_DIR`: on a memory file system
//! syncs cost nothing, which shows what the program alone takes.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod ack;
mod backlog;
mod doors;
mod latency;
mod load;
mod replica;
mod report;
mod setting;

use std::process::ExitCode;

use report::Report;

/// Name, and what it measures.
const BENCHES: [(&str, &str); 5] = [
    ("ack", "durable acknowledgements, against the same handler without storing and over a plain file"),
    ("ack_p99", "the slowest hundredth of acknowledgements at half of that rate"),
    ("delete", "a backlog deleted from a replica, against statements written by hand"),
    ("index", "a backlog deleted from a search index, against bare deletions by term"),
    ("latency", "one delivery to gone everywhere on an idle daemon, against the sum of its parts"),
];

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let named: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == name)) {
        eprintln!("unknown: {unknown}; there are:");
        for (name, what) in BENCHES {
            eprintln!("  {name:<10} {what}");
        }
        return ExitCode::from(2);
    }
    let mut missed = false;
    for (name, what) in BENCHES {
        if !named.is_empty() && !named.iter().any(|it| it == name) {
            continue;
        }
        match measure(name, what) {
            Ok(met) => missed |= !met,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                missed = true;
            }
        }
    }
    ExitCode::from(u8::from(missed))
}

/// Runs one on a runtime like the daemon's; whether all of its ratios were met.
fn measure(name: &str, what: &str) -> anyhow::Result<bool> {
    let mut report = Report::begin(name, what)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match name {
            "ack" => ack::rate(&mut report).await,
            "ack_p99" => ack::p99(&mut report).await,
            "delete" => backlog::replica(&mut report).await,
            "index" => backlog::search(&mut report).await,
            _ => latency::gone(&mut report).await,
        }
    })?;
    Ok(report.met())
}
