//! The figures that are promised, each measured against a limit of the same machine in the same run.
//!
//! `cargo bench -- ack` measures one, `cargo bench` all. Machines differ, and a busy one differs from itself:
//! only ratios are required, the two sides are measured in turn, and medians count. Exit code 1: a ratio was
//! missed. Files lie in cargo's folder for such things, or in `EXPUNGED_BENCH_DIR`: on a memory file system
//! syncs cost nothing, which shows what the program alone takes.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod ack;
mod backlog;
mod databases;
mod doors;
mod guest;
mod latency;
mod load;
mod products;
mod replica;
mod report;
mod resident;
mod setting;
mod sustained;

use std::process::ExitCode;

use mimalloc::MiMalloc;
use report::Report;

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Name, and what it measures.
const BENCHES: [(&str, &str); 11] = [
    ("ack", "durable acknowledgements, against the same handler without storing and over a plain file"),
    ("ack_p99", "the slowest hundredth of acknowledgements at half of that rate"),
    ("delete", "a backlog deleted from a replica, against statements written by hand"),
    ("delete_postgres", "a backlog deleted from PostgreSQL, against statements written by hand"),
    ("delete_mariadb", "a backlog deleted from MariaDB, against statements written by hand"),
    ("guest_postgres", "pgbench on a server from which a backlog is deleted, against pgbench alone"),
    ("index", "a backlog deleted from a search index, against bare deletions by term"),
    ("latency", "one delivery to gone everywhere on an idle daemon, against the sum of its parts"),
    ("sustained", "taking and carrying out together, against a receiver written by hand"),
    ("memory", "the daemon's memory while it reads a feed of a million deletions"),
    ("idle", "what an idle daemon takes"),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == resident::UPSTREAM) {
        return serve_upstream();
    }
    // Cargo adds `--bench`.
    let named: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == name)) {
        eprintln!("unknown: {unknown}; there are:");
        for (name, what) in BENCHES {
            eprintln!("  {name:<15} {what}");
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

fn serve_upstream() -> ExitCode {
    let served = runtime().map_err(Into::into).and_then(|runtime| runtime.block_on(resident::upstream()));
    served.map_or_else(
        |error: anyhow::Error| {
            eprintln!("upstream: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// A runtime like the daemon's.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Runs one; whether all of its ratios were met.
fn measure(name: &str, what: &str) -> anyhow::Result<bool> {
    let mut report = Report::begin(name, what)?;
    runtime()?.block_on(async {
        match name {
            "ack" => ack::rate(&mut report).await,
            "ack_p99" => ack::p99(&mut report).await,
            "delete" => backlog::replica(&mut report).await,
            "delete_postgres" => databases::backlog(&mut report, &products::Postgres).await,
            "delete_mariadb" => databases::backlog(&mut report, &products::MariaDb).await,
            "guest_postgres" => guest::pgbench(&mut report).await,
            "index" => backlog::search(&mut report).await,
            "latency" => latency::gone(&mut report).await,
            "sustained" => sustained::throughput(&mut report).await,
            "memory" => resident::memory(&mut report).await,
            _ => resident::idle(&mut report).await,
        }
    })?;
    Ok(report.met())
}
