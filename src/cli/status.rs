//! `expunged status`: how everything stands, at a glance.

use std::process::ExitCode;

use super::{Context, print};
use crate::domain::Timestamp;
use crate::overview::{Overview, SourceView, TargetView};

pub async fn run(context: Context) -> anyhow::Result<ExitCode> {
    let json = context.json;
    let parts = context.state().await?;
    let overview = Overview::read(&parts.watched()).await?;
    if json {
        println!("{}", overview.to_json());
        return Ok(ExitCode::SUCCESS);
    }
    let (standing, tally) = (&overview.standing, &overview.tally);
    println!("journal   {} entries, {} folded", standing.journal_head, standing.folded);
    println!(
        "records   {} heard of, {} awaiting the brake, {} held",
        tally.tombstones, tally.awaiting, tally.held
    );
    for source in &standing.sources {
        print_source(source, standing.at);
    }
    for target in &standing.targets {
        print_target(target, &overview);
    }
    for hold in &standing.holds {
        println!(
            "hold {}   {} {} records, {} rows (allowed {}, {} had gone), since {}: see `expunged holds list`",
            hold.id,
            hold.facts,
            hold.entity,
            hold.rows,
            hold.allowed,
            hold.gone,
            print::ago(hold.opened_at, standing.at)
        );
    }
    for parked in &overview.parked {
        println!(
            "parked    {} {} {} ({}): {}",
            parked.target, parked.entity, parked.key, parked.code, parked.message
        );
    }
    if tally.unreadable > 0 {
        println!(
            "unread    {} authentic deliveries could not be understood: see `expunged journal export`",
            tally.unreadable
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn print_source(source: &SourceView, now: Timestamp) {
    let checkpoint = source.checkpoint.map(|at| format!("checkpoint {}", print::ago(at, now)));
    println!("source    {}: {}", source.name, checkpoint.as_deref().unwrap_or("no checkpoint"));
    let Some(run) = &source.last_run else { return };
    let end = match (&run.error, run.ended_at) {
        (Some(error), _) => format!("failed: {error}"),
        (None, None) => "under way".to_owned(),
        (None, Some(_)) => {
            let missed = run.counts.missed_by_webhooks();
            let missed = missed.map_or(String::new(), |share| {
                format!(", webhooks had missed {:.1} % of them", share * 100.0)
            });
            format!("{} found, {} new{missed}", run.found, run.counts.fresh)
        }
    };
    println!("          last run {}: {end}", print::ago(run.started_at, now));
}

fn print_target(target: &TargetView, overview: &Overview) {
    let oldest = target.queue.oldest.map_or(String::new(), |at| {
        format!(", the oldest since {}", print::span(overview.standing.at.since(at)))
    });
    let done: Vec<String> = overview
        .tally
        .outcomes
        .iter()
        .filter(|(name, what, _)| *name == target.name && what != "due")
        .map(|(_, what, count)| format!("{count} {what}"))
        .collect();
    let done = if done.is_empty() { "nothing done".to_owned() } else { done.join(", ") };
    println!(
        "target    {}: {} due{oldest}, {} parked; {done}",
        target.name, target.queue.due, target.queue.parked
    );
}
