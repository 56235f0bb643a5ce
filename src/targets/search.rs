//! An embedded Tantivy index as a target: documents go by the term of their id, one commit a batch.
//!
//! Exists because an index that still finds a deleted record shows it to everybody. Three things make it
//! exact: the index's lock is held before anything is looked at, what lives is counted before and after the
//! commit, and the batch's number is part of the commit itself. It may not add or change documents, and it
//! knows a record's age only by the guard field, if one is named.

mod any_of;
mod guard;
mod index;
mod probe;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tantivy::Term;

use self::index::{OpenIndex, SearchIndex};
use self::probe::{Found, Wanted};
use super::{Batch, Effect, Finding, Foreseen, RecordFailure, Removal, Target, TargetError};
use crate::config::target::{Document, Tantivy};
use crate::domain::{Action, Entity};

/// A Tantivy index in a folder.
///
/// The index's writer lock is taken with a batch, kept while batches follow, and given back when nothing has
/// been due for a while, so that the team's own importer gets its turn.
pub struct TantivyTarget {
    setting: Arc<Setting>,
    index: Arc<Mutex<SearchIndex>>,
}

/// What the configuration says.
struct Setting {
    /// The target's name.
    name: String,
    path: PathBuf,
    documents: BTreeMap<Entity, Document>,
}

/// What a removal asks of the index, or why it can't.
type Named = Result<Wanted, RecordFailure>;

impl TantivyTarget {
    /// Opens the index, or creates one with the id and guard fields if the folder is missing or empty.
    ///
    /// # Errors
    /// `Misconfigured` if the folder holds something else, an id field is missing or not indexed raw, or a
    /// guard field is no FAST field of times;
    /// `Unavailable` if the folder can't be read.
    pub async fn open(name: &str, config: &Tantivy) -> Result<Self, TargetError> {
        let setting = Arc::new(Setting {
            name: name.to_owned(),
            path: config.path.clone(),
            documents: config.entities.clone(),
        });
        let shared = Arc::clone(&setting);
        let index = blocking(move || SearchIndex::open_or_create(shared)).await?;
        Ok(Self { setting, index: Arc::new(Mutex::new(index)) })
    }

    /// Runs `work` on the index, off the async threads: it reads and syncs files.
    async fn with_index<T, W>(&self, work: W) -> Result<T, TargetError>
    where
        T: Send + 'static,
        W: FnOnce(&mut SearchIndex) -> Result<T, TargetError> + Send + 'static,
    {
        let index = Arc::clone(&self.index);
        blocking(move || {
            let mut guard = index.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
                // A panic left the writer in a state that nobody knows; what was not committed is void.
                let mut guard = poisoned.into_inner();
                guard.close();
                index.clear_poison();
                guard
            });
            work(&mut guard)
        })
        .await
    }
}

async fn blocking<T, W>(work: W) -> Result<T, TargetError>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, TargetError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(TargetError::Unavailable(
            "work on the index broke off; it is opened afresh for the next try".into(),
        ))
    })
}

#[async_trait]
impl Target for TantivyTarget {
    fn name(&self) -> &str {
        &self.setting.name
    }

    async fn check(&self) -> Result<Vec<Finding>, TargetError> {
        let setting = Arc::clone(&self.setting);
        self.with_index(move |index| {
            let mut findings = schema::findings(&setting, &index.schema_on_disk()?);
            if schema::faults(&findings).is_none() && index.current()?.live_documents() == 0 {
                findings.push(schema::empty(&setting));
            }
            Ok(findings)
        })
        .await
    }

    /// All live documents, whatever their entity: an index does not tell them apart.
    async fn mirrored(&self, entity: &Entity) -> Result<u64, TargetError> {
        if !self.setting.documents.contains_key(entity) {
            return Ok(0);
        }
        self.with_index(|index| Ok(index.current()?.live_documents())).await
    }

    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        let removals = removals.to_vec();
        self.with_index(move |index| {
            let open = index.current()?;
            let named = names(open, &removals);
            Ok(rows(&named, &look(open, &named)?))
        })
        .await
    }

    async fn foresee(&self, removals: &[Removal]) -> Result<Vec<Foreseen>, TargetError> {
        let removals = removals.to_vec();
        self.with_index(move |index| {
            let open = index.current()?;
            let named = names(open, &removals);
            let found = look(open, &named)?;
            let rows = rows(&named, &found);
            let told = named.iter().zip(&found).zip(rows);
            let foreseen = told.map(|((named, found), rows)| Foreseen {
                effect: effect(named, *found, rows, &HashSet::new()),
                tables: if rows > 0 { vec![("documents".to_owned(), rows)] } else { Vec::new() },
            });
            Ok(foreseen.collect())
        })
        .await
    }

    /// The batch's number goes into the commit. A batch whose number is the last commit's was committed
    /// before a crash: it is not carried out again, only looked at.
    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        let batch = batch.clone();
        self.with_index(move |index| {
            let result = apply(index, &batch);
            if result.is_err() {
                // Dropping the writer is the rollback: nothing of it outlives it but what was committed.
                index.close();
            }
            result
        })
        .await
    }

    async fn rest(&self) {
        if let Err(error) = self.with_index(SearchIndex::rest).await {
            tracing::warn!(target = self.setting.name, %error, "the index's writer was not given back");
        }
    }
}

fn apply(index: &mut SearchIndex, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
    // The lock comes first, and is held until after the commit: no other writer holds an uncommitted document
    // of these ids or can add one, so what is found to be old enough here is what the commit takes.
    let open = index.writable()?;
    let named = names(open, &batch.removals);
    let before = look(open, &named)?;
    let committed_before = open.committed_batch()? == Some(batch.number);

    let doomed = doomed(&named, &before);
    let after = if committed_before {
        open.settle()?;
        open.live(&doomed)?
    } else if doomed.is_empty() {
        Vec::new()
    } else {
        let terms: Vec<Term> = doomed.iter().map(|wanted| wanted.term.clone()).collect();
        open.delete(&terms, batch.number)?;
        open.live(&doomed)?
    };
    let left: HashSet<&Term> = doomed
        .iter()
        .zip(&after)
        .filter(|(_, found)| found.rows > 0)
        .map(|(wanted, _)| &wanted.term)
        .collect();
    let removed = if committed_before { vec![0; named.len()] } else { rows(&named, &before) };
    let told = named.iter().zip(&before).zip(removed);
    Ok(told.map(|((named, found), rows)| effect(named, *found, rows, &left)).collect())
}

fn effect(named: &Named, found: Found, rows: u64, left: &HashSet<&Term>) -> Effect {
    match named {
        Err(failure) => Effect::Failed(failure.clone()),
        Ok(_) if found.newer => Effect::Newer,
        Ok(wanted) if left.contains(&wanted.term) => Effect::Failed(RecordFailure {
            code: "still_there",
            message: "the document is still found after the commit".into(),
            retry: true,
        }),
        Ok(_) if rows > 0 => Effect::Removed { rows },
        Ok(_) => Effect::Absent,
    }
}

/// For each removal the term that names its document, and how old that may be.
fn names(open: &OpenIndex, removals: &[Removal]) -> Vec<Named> {
    removals
        .iter()
        .map(|removal| {
            let Some((document, names)) = open.document(&removal.entity) else {
                return Err(refusal("entity", format!("entity {} has no documents here", removal.entity)));
            };
            if removal.action != Action::Delete && !document.delete_on_deactivate {
                let what = format!("entity {} says nothing about deactivation here", removal.entity);
                return Err(refusal("deactivation", what));
            }
            let id = document.id.render(removal.key.parts()).ok_or_else(|| {
                refusal(
                    "key_parts",
                    format!("the key has {} parts, the id template names more", removal.key.parts().len()),
                )
            })?;
            let limit = names.guard.as_ref().map(|guard| (Arc::clone(guard), guard.limit(removal.at)));
            Ok(Wanted { term: Term::from_field_text(names.field, &id), limit })
        })
        .collect()
}

fn refusal(code: &'static str, message: String) -> RecordFailure {
    RecordFailure { code, message, retry: false }
}

/// What is found for each removal; nothing for one that can't be named.
fn look(open: &OpenIndex, named: &[Named]) -> Result<Vec<Found>, TargetError> {
    let wanted: Vec<&Wanted> = named.iter().flatten().collect();
    let mut found = open.live(&wanted)?.into_iter();
    Ok(named.iter().map(|named| named.as_ref().ok().and_then(|_| found.next()).unwrap_or_default()).collect())
}

/// What goes, each id once. If two removals have one id, each is judged by its own time, as if it came alone:
/// the documents go if they are not newer than one of them.
fn doomed<'n>(named: &'n [Named], found: &[Found]) -> Vec<&'n Wanted> {
    let rows = rows(named, found);
    named
        .iter()
        .zip(rows)
        .filter(|(_, rows)| *rows > 0)
        .filter_map(|(named, _)| named.as_ref().ok())
        .collect()
}

/// Documents that go with each removal. Two keys may give one id (`a:b` + `c`, `a` + `b:c`): its documents
/// count for the first that takes them, so that no document is told of twice (I8).
fn rows(named: &[Named], found: &[Found]) -> Vec<u64> {
    let mut taken = HashSet::new();
    let rows = named.iter().zip(found).map(|(named, found)| match named {
        Ok(wanted) if found.rows > 0 && !found.newer && taken.insert(&wanted.term) => found.rows,
        _ => 0,
    });
    rows.collect()
}
