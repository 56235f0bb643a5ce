//! `expunged delete`: an operator's deletion, through the same door and under the same brake.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Context, print};
use crate::app::Parts;
use crate::domain::{Action, Door, Entity, Evidence, Key, Notice, Outcome};
use crate::intake::Delivery;
use crate::targets::{Foreseen, Removal, Target};

/// Keys in one journal entry: as many as a page of a feed usually has, a hundred times over.
const KEYS_AT_ONCE: usize = 10_000;
/// Keys that a target is asked about at once: as many as a list of the API has.
const KEYS_FORESEEN: usize = 1_000;

/// What to delete.
#[derive(Debug, Args)]
pub struct Delete {
    /// The kind of record: `listing`
    #[arg(long)]
    entity: String,
    /// The parts of one key, in the configuration's order
    #[arg(long, num_args = 1.., required_unless_present = "file")]
    key: Vec<String>,
    /// A file with one key a line: its parts separated by tabs, or a JSON array of strings
    #[arg(long, conflicts_with = "key")]
    file: Option<PathBuf>,
    /// Why; goes into the journal
    #[arg(long)]
    reason: Option<String>,
    /// Only say what would go, and how many rows of which table with it
    #[arg(long)]
    dry_run: bool,
}

impl Delete {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let json = context.json;
        let parts = context.state().await?;
        let entity = Entity::new(&self.entity);
        let held_by = parts.config.targets.iter().filter(|target| target.entities().contains_key(&entity));
        anyhow::ensure!(
            held_by.count() > 0,
            "no target holds {entity}: name an entity of the configuration's targets"
        );
        let keys = self.keys()?;
        if self.dry_run {
            return dry_run(&parts, &entity, keys, json).await;
        }
        // Evidence of its own: whoever deletes by hand means it, also what a webhook told of an hour ago.
        let command = format!("operator:{}", parts.holder);
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let delivery = Delivery {
                source: "operator".into(),
                door: Door::Operator,
                run: None,
                notices: keys.iter().map(|key| notice(&entity, key, &command)).collect(),
                unreadable: vec![],
                reason: self.reason.clone(),
                body: None,
            };
            parts.intake.record(delivery).await?;
        }
        println!("{} deletions recorded; the daemon carries them out, the brake permitting", keys.len());
        Ok(ExitCode::SUCCESS)
    }

    fn keys(&self) -> anyhow::Result<Vec<Key>> {
        let Some(file) = &self.file else { return Ok(vec![Key::new(self.key.clone())?]) };
        let text =
            std::fs::read_to_string(file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
        // All of the file or nothing of it: a half-read list is a wrong one.
        lines
            .map(|(index, line)| {
                key(line).map_err(|fault| anyhow::anyhow!("{}:{}: {fault}", file.display(), index + 1))
            })
            .collect()
    }
}

fn key(line: &str) -> Result<Key, crate::domain::KeyFault> {
    if line.starts_with('[') {
        return Key::from_canonical(line);
    }
    Key::new(line.split('\t').map(ToOwned::to_owned).collect())
}

fn notice(entity: &Entity, key: &Key, command: &str) -> Notice {
    let evidence = Evidence { event_id: Some(command.to_owned()), ..Evidence::default() };
    Notice { entity: entity.clone(), key: key.clone(), action: Action::Delete, evidence }
}

/// What would happen at one target.
#[derive(Default, Serialize)]
struct Preview {
    target: String,
    /// Records by how they would end: an outcome, or a code that says what stands in the way.
    records: BTreeMap<&'static str, u64>,
    /// Rows that would go, by table.
    rows: BTreeMap<String, u64>,
    /// What the codes mean, by the first record that has it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    reasons: BTreeMap<&'static str, String>,
}

async fn dry_run(parts: &Parts, entity: &Entity, keys: Vec<Key>, json: bool) -> anyhow::Result<ExitCode> {
    let at = parts.clock.now();
    let removal = |key| Removal { entity: entity.clone(), key, action: Action::Delete, at };
    // A batch names no record twice.
    let removals: Vec<Removal> =
        keys.into_iter().collect::<BTreeSet<Key>>().into_iter().map(removal).collect();
    let mut previews = Vec::new();
    for (target, opened) in parts.config.targets.iter().zip(parts.targets().await?) {
        if target.entities().contains_key(entity) {
            previews.push(preview(&*opened, &removals).await?);
        }
    }
    if json {
        print::json(&previews)?;
    } else {
        previews.iter().for_each(Preview::print);
    }
    Ok(ExitCode::SUCCESS)
}

async fn preview(target: &dyn Target, removals: &[Removal]) -> anyhow::Result<Preview> {
    let mut preview = Preview { target: target.name().to_owned(), ..Preview::default() };
    for removals in removals.chunks(KEYS_FORESEEN) {
        let foreseen = target.foresee(removals).await?;
        for one in &foreseen {
            let (outcome, said) = one.told();
            let word = said.as_ref().map_or(outcome.as_str(), |(code, _)| code);
            *preview.records.entry(word).or_default() += 1;
            if let Some((code, reason)) = said {
                preview.reasons.entry(code).or_insert(reason);
            }
        }
        for (table, rows) in Foreseen::rows(&foreseen) {
            *preview.rows.entry(table.to_owned()).or_default() += rows;
        }
    }
    Ok(preview)
}

impl Preview {
    fn print(&self) {
        const GOES: &str = Outcome::Deleted.as_str();
        let go = self.records.get(GOES).copied().unwrap_or(0);
        let all: u64 = self.records.values().sum();
        let tables: Vec<String> = self.rows.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
        let rows = if tables.is_empty() { String::new() } else { format!(" (rows: {})", tables.join(", ")) };
        let others = self.records.iter().filter(|(word, _)| **word != GOES);
        let reason = |word| self.reasons.get(word).map_or(String::new(), |reason| format!(" ({reason})"));
        let others: Vec<String> =
            others.map(|(word, records)| format!(", {records} {word}{}", reason(word))).collect();
        println!("{}: {go} of {all} records would go{rows}{}", self.target, others.concat());
    }
}
