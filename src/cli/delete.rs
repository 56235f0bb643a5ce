//! `expunged delete`: an operator's deletion, through the same door and under the same brake.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Context;
use crate::app::Parts;
use crate::domain::{Action, Door, Entity, Evidence, Key, Notice};
use crate::intake::Delivery;
use crate::targets::Removal;

/// Keys in one journal entry: as many as a page of a feed usually has, a hundred times over.
const KEYS_AT_ONCE: usize = 10_000;

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
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

impl Delete {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let parts = context.state().await?;
        let entity = Entity::new(&self.entity);
        let held_by = parts.config.targets.iter().filter(|target| target.entities().contains_key(&entity));
        anyhow::ensure!(
            held_by.count() > 0,
            "no target holds {entity}: name an entity of the configuration's targets"
        );
        let keys = self.keys()?;
        if self.dry_run {
            return dry_run(&parts, &entity, &keys).await;
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

async fn dry_run(parts: &Parts, entity: &Entity, keys: &[Key]) -> anyhow::Result<ExitCode> {
    let at = parts.clock.now();
    for target in parts.targets().await? {
        let (mut records, mut rows) = (0_u64, 0_u64);
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let removal =
                |key: &Key| Removal { entity: entity.clone(), key: key.clone(), action: Action::Delete, at };
            let removals: Vec<Removal> = keys.iter().map(removal).collect();
            for weight in target.weigh(&removals).await? {
                records += u64::from(weight > 0);
                rows += weight;
            }
        }
        println!("{}: {records} of {} records would go, {rows} rows in all", target.name(), keys.len());
    }
    Ok(ExitCode::SUCCESS)
}
