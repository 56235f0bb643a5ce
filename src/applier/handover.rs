//! The short way to a target that waits for work: a batch is begun together with the decision that lets it go.
//!
//! Exists because a single deletion on an idle daemon would else wait for its decision to be on disk, to be folded, to
//! be found in the queue, and for its batch to be on disk: here it waits for one entry's way to the disk. The journal
//! tells the same, and a crash leaves what it leaves there, an open batch. Only records of which nothing was
//! known before go this way, since nothing but the queue knows what happened to the others at a target.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{BATCH_TASKS, started};
use crate::domain::{
    Seq, Timestamp,
    event::{Decided, Started},
};
use crate::fold::Fresh;
use crate::store::Task;
use crate::targets::Target;

/// Between whoever decides and one target's loop.
#[derive(Clone)]
pub struct Handover {
    target: Arc<dyn Target>,
    /// Names this process in the journal.
    holder: String,
    /// There while the loop waits for work.
    slot: Arc<Mutex<Option<oneshot::Sender<Handed>>>>,
}

/// A batch that is on disk.
#[derive(Debug)]
pub struct Handed {
    pub number: Seq,
    pub tasks: Vec<Task>,
}

/// A batch that is not on disk yet. Dropped, it never was, and its loop goes on.
#[derive(Debug)]
pub struct Ready {
    pub started: Started,
    tasks: Vec<Task>,
    slot: oneshot::Sender<Handed>,
}

impl Ready {
    /// Hands the batch over, once it is on disk as entry `number`.
    pub fn go(self, number: Seq) {
        // Nobody is there any more: it is an open batch, and will be resumed.
        self.slot.send(Handed { number, tasks: self.tasks }).ok();
    }
}

impl Handover {
    #[must_use]
    pub fn new(target: Arc<dyn Target>, holder: &str) -> Self {
        Self { target, holder: holder.to_owned(), slot: Arc::default() }
    }

    /// A batch of what was let go and concerns the target, if its loop waits for one.
    #[must_use]
    pub fn prepare(&self, fresh: &Fresh, decided: &Decided, now: Timestamp) -> Option<Ready> {
        let name = self.target.name();
        let concerned = fresh.awaiting.iter().filter(|task| {
            task.fact.0 >= fresh.unknown_from
                && fresh.topology.concerns(name, &task.entity, task.action)
                // In the order of decisions, which is that of facts.
                && decided.released.binary_search(&task.fact).is_ok()
        });
        let mut tasks: Vec<Task> = concerned.cloned().collect();
        let most = BATCH_TASKS.min(self.target.batch_max()) as usize;
        if tasks.is_empty() || tasks.len() > most {
            return None;
        }
        let slot = self.lock().take()?;
        // As the queue gives them.
        tasks.sort_by_cached_key(|task| (task.entity.clone(), task.key.canonical()));
        Some(Ready { started: started(name, &self.holder, &tasks, now), tasks, slot })
    }

    /// Whether the loop waits for work at this moment.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.lock().is_some()
    }

    /// Lets a batch be handed over from now on.
    pub(super) fn offer(&self) -> oneshot::Receiver<Handed> {
        let (slot, handed) = oneshot::channel();
        *self.lock() = Some(slot);
        handed
    }

    /// No more from now on: the batch that is on its way, if one is.
    pub(super) async fn withdraw(&self, handed: oneshot::Receiver<Handed>) -> Option<Handed> {
        if self.lock().take().is_some() {
            return None;
        }
        handed.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Sender<Handed>>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
