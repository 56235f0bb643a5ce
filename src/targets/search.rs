//! An embedded Tantivy index as a target: documents go by the term of their id, one commit a batch.
//!
//! Exists because an index that still finds a deleted record shows it to everybody. Three things make it
//! exact: the index's lock is held before anything is looked at, what lives is counted before and after the
//! commit, and the batch's number is part of the commit itself. It may not add or change documents, and it
//! knows nothing of the record's age: an index has no guard, so `Newer` never comes from here.

mod any_of;
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
use super::{Batch, Effect, Finding, RecordFailure, Removal, Target, TargetError};
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
type Named = Result<Term, RecordFailure>;

impl TantivyTarget {
    /// Opens the index, or creates one with the id fields if the folder is missing or empty.
    ///
    /// # Errors
    /// `Misconfigured` if the folder holds something else, or an id field is missing or not indexed raw;
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
            let named = terms(open, &removals);
            Ok(spread(&named, &open.live(&distinct(&named))?))
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
        let rested = self.with_index(|index| {
            index.rest();
            Ok(())
        });
        if let Err(error) = rested.await {
            tracing::warn!(target = self.setting.name, %error, "the index's writer was not given back");
        }
    }
}

fn apply(index: &mut SearchIndex, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
    // The lock comes first: while it is ours, no other writer holds an uncommitted document of these ids.
    let open = index.writable()?;
    let named = terms(open, &batch.removals);
    let wanted = distinct(&named);
    let before = open.live(&wanted)?;
    let committed_before = open.committed_batch()? == Some(batch.number);

    let found: Vec<Term> =
        wanted.iter().zip(&before).filter(|(_, rows)| **rows > 0).map(|(term, _)| term.clone()).collect();
    let after = if committed_before {
        open.settle()?;
        open.live(&found)?
    } else if found.is_empty() {
        Vec::new()
    } else {
        open.delete(&found, batch.number)?;
        open.live(&found)?
    };
    let left: HashSet<&Term> =
        found.iter().zip(&after).filter(|(_, rows)| **rows > 0).map(|(term, _)| term).collect();
    let removed = if committed_before { vec![0; named.len()] } else { spread(&named, &before) };
    Ok(named.iter().zip(removed).map(|(named, rows)| effect(named, rows, &left)).collect())
}

fn effect(named: &Named, rows: u64, left: &HashSet<&Term>) -> Effect {
    match named {
        Err(failure) => Effect::Failed(failure.clone()),
        Ok(term) if left.contains(term) => Effect::Failed(RecordFailure {
            code: "still_there",
            message: "the document is still found after the commit".into(),
            retry: true,
        }),
        Ok(_) if rows > 0 => Effect::Removed { rows },
        Ok(_) => Effect::Absent,
    }
}

/// For each removal the term that names its document.
fn terms(open: &OpenIndex, removals: &[Removal]) -> Vec<Named> {
    removals
        .iter()
        .map(|removal| {
            let Some((document, field)) = open.document(&removal.entity) else {
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
            Ok(Term::from_field_text(field, &id))
        })
        .collect()
}

fn refusal(code: &'static str, message: String) -> RecordFailure {
    RecordFailure { code, message, retry: false }
}

/// The terms, each once, in the order of their first removal. Two keys may give one id (`a:b` + `c`, `a` +
/// `b:c`): its documents count for the first, so that no document is told of twice (I8).
fn distinct(named: &[Named]) -> Vec<Term> {
    let mut seen = HashSet::new();
    named.iter().flatten().filter(|term| seen.insert(*term)).cloned().collect()
}

/// Counts per distinct term, given back to the removals.
fn spread(named: &[Named], counts: &[u64]) -> Vec<u64> {
    let mut counts = counts.iter();
    let mut seen = HashSet::new();
    let first = |named: &Named| named.as_ref().is_ok_and(|term| seen.insert(term.clone()));
    let firsts: Vec<bool> = named.iter().map(first).collect();
    firsts.into_iter().map(|first| if first { counts.next().copied().unwrap_or(0) } else { 0 }).collect()
}
