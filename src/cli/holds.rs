//! `expunged holds`: what the brake held back, and a person's word on it.

use std::process::ExitCode;

use clap::{Args, Subcommand};

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
    Approve(Decision),
    /// Reject the held deletions: the records stay
    Reject(Decision),
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

impl Holds {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let json = context.json;
        let parts = context.state().await?;
        match self.command {
            Command::List { all } => list(&parts, !all, json).await?,
            Command::Approve(decision) => resolve(&parts, decision, true).await?,
            Command::Reject(decision) => resolve(&parts, decision, false).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(parts: &Parts, open_only: bool, json: bool) -> anyhow::Result<()> {
    let holds = parts.store.holds(open_only).await?;
    if json {
        return print::json(&holds);
    }
    if holds.is_empty() {
        println!("nothing is held");
    }
    for hold in &holds {
        show(parts, hold).await?;
    }
    Ok(())
}

async fn show(parts: &Parts, hold: &Hold) -> anyhow::Result<()> {
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
        println!("  let them go: expunged holds approve {}", hold.id);
        println!("  keep the records: expunged holds reject {}", hold.id);
    }
    Ok(())
}

async fn resolve(parts: &Parts, decision: Decision, approve: bool) -> anyhow::Result<()> {
    let Decision { hold: id, actor, reason } = decision;
    let holds = parts.store.holds(true).await?;
    let Some(hold) = holds.into_iter().find(|hold| hold.id == id) else {
        anyhow::bail!("there is no open hold {id}: see `expunged holds list`");
    };
    // What joins the hold from here on was not seen, and is not meant.
    let through = parts.store.position().await?.seq;
    let resolved = Resolved { hold: id, approve, through, actor, reason };
    parts.intake.note(Event::Resolved(resolved)).await?;
    fold::catch_up(&parts.store).await?;
    let what = if approve { "approved: the daemon carries them out" } else { "rejected: the records stay" };
    println!("{} {} records {what}", hold.facts, hold.entity);
    Ok(())
}
