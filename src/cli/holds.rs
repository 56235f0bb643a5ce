//! `expunged holds`: what the brake held back, and a person's word on it.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Context, print};
use crate::app::Parts;
use crate::domain::{Event, Seq, event::Resolved};
use crate::fold;
use crate::store::Hold;

/// Look, or decide.
#[derive(Debug, Args)]
pub struct Holds {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the open holds with their first records
    List {
        /// Those that were decided too
        #[arg(long)]
        all: bool,
    },
    /// Let the held deletions go
    Approve {
        #[command(flatten)]
        decision: Decision,
        /// What you have seen, as `holds list` prints it: what joined the hold since stays in it
        #[arg(long, value_name = "SEQ")]
        through: Seq,
    },
    /// Reject the held deletions: the records stay
    Reject {
        #[command(flatten)]
        decision: Decision,
        /// What you have seen, as `holds list` prints it; without it, all that the hold has by now
        #[arg(long, value_name = "SEQ")]
        through: Option<Seq>,
    },
}

#[derive(Debug, Args)]
struct Decision {
    /// The hold's number
    hold: Seq,
    /// Who decides; goes into the journal
    #[arg(long, default_value = "operator")]
    actor: String,
    /// Why; goes into the journal
    #[arg(long)]
    reason: Option<String>,
}

/// Records that are shown of a hold.
const SHOWN: u32 = 10;

/// A hold, and what a decision on it may name as seen.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    hold: Hold,
    through: Seq,
}

impl Holds {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let (json, file) = (context.json, context.file.clone());
        let parts = context.state().await?;
        match self.command {
            Command::List { all } => list(&parts, &file, !all, json).await?,
            Command::Approve { decision, through } => resolve(&parts, decision, Some(through), true).await?,
            Command::Reject { decision, through } => resolve(&parts, decision, through, false).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(parts: &Parts, file: &Path, open_only: bool, json: bool) -> anyhow::Result<()> {
    // Before the holds: what joins one in between is shown, but not what `through` says.
    let through = parts.store.position().await?.seq;
    let holds = parts.store.holds(open_only).await?;
    let holds: Vec<Listed> = holds.into_iter().map(|hold| Listed { hold, through }).collect();
    if json {
        return print::json(&holds);
    }
    if holds.is_empty() {
        println!("nothing is held");
    }
    for listed in &holds {
        show(parts, file, listed).await?;
    }
    Ok(())
}

async fn show(parts: &Parts, file: &Path, Listed { hold, through }: &Listed) -> anyhow::Result<()> {
    let now = parts.clock.now();
    println!(
        "hold {} ({}): {} {} records, {} rows; {} rows were allowed, {} had gone; opened {}",
        hold.id,
        hold.state,
        hold.facts,
        hold.entity,
        hold.rows,
        hold.allowed,
        hold.gone,
        print::ago(hold.opened_at, now)
    );
    let facts = parts.store.held(hold.id, SHOWN).await?;
    for fact in &facts {
        println!("  {} {} (upstream time {})", fact.entity, fact.key, fact.at);
    }
    let more = hold.facts.saturating_sub(facts.len() as u64);
    if more > 0 {
        println!("  … and {more} more");
    }
    if hold.state == "open" {
        let (id, file) = (hold.id, file.display());
        println!("  let them go: expunged holds approve {id} --through {through} --config {file}");
        println!("  keep the records: expunged holds reject {id} --through {through} --config {file}");
    }
    Ok(())
}

async fn resolve(
    parts: &Parts,
    decision: Decision,
    through: Option<Seq>,
    approve: bool,
) -> anyhow::Result<()> {
    let Decision { hold: id, actor, reason } = decision;
    if !parts.store.holds(true).await?.iter().any(|hold| hold.id == id) {
        anyhow::bail!("there is no open hold {id}: see `expunged holds list`");
    }
    let position = parts.store.position().await?.seq;
    let through = through.unwrap_or(position);
    anyhow::ensure!(
        (id..=position).contains(&through),
        "--through {through}: write it as `expunged holds list` prints it beside hold {id}"
    );
    let resolved = Resolved { hold: id, approve, through, actor, reason };
    parts.intake.note(Event::Resolved(resolved)).await?;
    fold::catch_up(&parts.store).await?;
    let what = if approve { "approved: the daemon carries it out" } else { "rejected: the records stay" };
    println!("hold {id}, through entry {through}, {what}");
    if let Some(hold) = parts.store.holds(true).await?.into_iter().find(|hold| hold.id == id) {
        println!(
            "{} {} records joined it later and stay held: see `expunged holds list`",
            hold.facts, hold.entity
        );
    }
    Ok(())
}
