//! `expunged explain`: one record's whole story, from the first notice to the proof of its absence.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Context, print};
use crate::domain::{Entity, Event, Key};
use crate::store::{Entry, SharedStore, Story};

/// Which record.
#[derive(Debug, Args)]
pub struct Explain {
    /// The kind of record: `listing`
    #[arg(long)]
    entity: String,
    /// The parts of its key, in the configuration's order
    #[arg(long, num_args = 1.., required = true)]
    key: Vec<String>,
}

impl Explain {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let json = context.json;
        let parts = context.state().await?;
        let (entity, key) = (Entity::new(self.entity), Key::new(self.key)?);
        let Some(story) = parts.store.story(&entity, &key).await? else {
            anyhow::bail!("nothing was ever heard of {entity} {key}");
        };
        let entries = entries(&parts.store, &entity, &key).await?;
        if json {
            print::json(&as_json(&story, &entries))?;
        } else {
            tell(&story, &entries);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One entry of the journal that concerns the record, in words.
struct Line {
    entry: Entry,
    words: String,
}

/// Everything that the journal says of the record, oldest first.
async fn entries(store: &SharedStore, entity: &Entity, key: &Key) -> anyhow::Result<Vec<Line>> {
    const CHUNK: u32 = 512;
    const CHUNK_BYTES: usize = 8 * 1024 * 1024;
    let id = store.story(entity, key).await?.map(|story| story.tombstone.id);
    let (mut lines, mut after) = (Vec::new(), 0);
    loop {
        let chunk = store.entries(after, CHUNK, CHUNK_BYTES).await?;
        let Some(last) = chunk.last() else { return Ok(lines) };
        after = last.seq;
        for entry in chunk {
            lines.extend(words(&entry.event()?, entity, key, id).map(|words| Line { entry, words }));
        }
    }
}

/// What an event says of the record; `None` if it says nothing of it.
fn words(event: &Event, entity: &Entity, key: &Key, id: Option<i64>) -> Option<String> {
    match event {
        Event::Heard(heard) => {
            let notice = heard.notices.iter().find(|it| it.entity == *entity && it.key == *key)?;
            let action = serde_json::to_value(notice.action).ok()?;
            let at = notice.evidence.time().map_or(String::new(), |at| format!(", upstream time {at}"));
            let by = heard.asked.as_ref().map(|asked| format!("asked by {}", asked.by));
            let reason = by.into_iter().chain(heard.reason.clone()).collect::<Vec<_>>().join(": ");
            let reason = if reason.is_empty() { reason } else { format!(" ({reason})") };
            let action = action.as_str().unwrap_or_default().to_owned();
            Some(format!("heard by {} from {}: {action}{at}{reason}", heard.door.as_str(), heard.source))
        }
        Event::Decided(decided) => {
            if decided.released.iter().any(|fact| Some(fact.0) == id) {
                return Some("released by the brake".into());
            }
            let set = decided.held.iter().find(|set| set.facts.iter().any(|fact| Some(fact.0) == id))?;
            Some(format!("held by the brake: {} rows allowed, {} had gone", set.allowed, set.gone))
        }
        Event::Started(started) => {
            let member = started.members.iter().find(|fact| Some(fact.0) == id)?;
            Some(format!("handed to {} (caused by entry {})", started.target, member.1))
        }
        Event::Settled(settled) => {
            let result = settled.results.iter().find(|result| Some(result.fact.0) == id)?;
            let rows = if result.rows > 0 { format!(", {} rows gone", result.rows) } else { String::new() };
            let failure = result.failure.as_ref();
            let failure = failure.map_or(String::new(), |it| format!(" ({}: {})", it.code, it.message));
            let (target, outcome, cause) = (&settled.target, result.outcome, result.fact.1);
            Some(format!("{target}: {outcome}{rows}{failure} (caused by entry {cause})"))
        }
        Event::Resolved(_) | Event::Configured(_) | Event::RunStarted(_) | Event::RunEnded(_) => None,
    }
}

fn tell(story: &Story, lines: &[Line]) {
    let stone = &story.tombstone;
    println!("{} {}", stone.entity, stone.key);
    println!(
        "  stands: {:?} at {} ({}), {} notices, decision: {}",
        stone.action,
        stone.at,
        if stone.upstream_time { "upstream's time" } else { "time of receipt" },
        stone.notices,
        story.decision
    );
    for line in lines {
        println!("  {}  entry {}: {}", line.entry.at, line.entry.seq, line.words);
    }
    for task in &story.tasks {
        let outcome = task.outcome.map_or("not carried out yet", crate::domain::Outcome::as_str);
        println!("  {}: {outcome}", task.target);
    }
}

fn as_json(story: &Story, lines: &[Line]) -> serde_json::Value {
    let stone = &story.tombstone;
    let entries: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "seq": line.entry.seq,
                "at": line.entry.at.to_string(),
                "kind": line.entry.kind,
                "what": line.words,
                "hash": hex::encode(line.entry.hash),
            })
        })
        .collect();
    json!({
        "entity": stone.entity,
        "key": stone.key,
        "action": stone.action,
        "at": stone.at.to_string(),
        "upstream_time": stone.upstream_time,
        "notices": stone.notices,
        "decision": story.decision,
        "hold": story.hold,
        "targets": story.tasks,
        "journal": entries,
    })
}
