//! Waiting, in a target's loop: for the journal to be folded, and for something to do.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::handover::Handed;
use super::hold::Hold;
use super::{Applier, SCAN_EVERY};
use crate::domain::Seq;
use crate::fold::Progress;
use crate::store::StoreError;

impl Applier {
    /// Waits until the journal is folded up to `seq`; `false` if cancelled, or if the folding ended, before
    /// that: the queue tells what was true once, and nothing may be taken from it.
    pub(super) async fn folded_to(&self, seq: Seq, cancel: &CancellationToken) -> bool {
        self.intake.ring();
        let mut folded = self.folded.clone();
        let reached = async { folded.wait_for(|progress| progress.reached >= seq).await.is_ok() };
        cancel.run_until_cancelled(reached).await.unwrap_or(false)
    }

    /// Waits until something may be due, or a batch is handed over.
    pub(super) async fn idle(
        &self,
        hold: &Hold,
        folded: &mut watch::Receiver<Progress>,
        seen: Seq,
        cancel: &CancellationToken,
    ) -> Result<Option<Handed>, StoreError> {
        let now = self.clock.now();
        let wait = match self.store.next_due_at(self.target.name()).await {
            Ok(next) => next.map_or(SCAN_EVERY, |at| at.since(now).min(SCAN_EVERY)),
            Err(error) if error.retry_can_help() => SCAN_EVERY,
            Err(error) => return Err(error),
        };
        let left = hold.left(now);
        let wait = left.map_or(wait, |left| left.min(SCAN_EVERY));
        let released = async { drop(folded.wait_for(|progress| progress.released != seen).await) };
        let mut woken = std::pin::pin!(async {
            tokio::select! {
                () = released => {}
                () = tokio::time::sleep(wait) => self.target.rest().await,
                () = cancel.cancelled() => {}
            }
        });
        if left.is_some() || hold.probes() {
            // The target takes nothing, or is asked for one record at a time.
            woken.await;
            return Ok(None);
        }
        let mut handed = self.handover.offer();
        tokio::select! {
            handed = &mut handed => Ok(handed.ok()),
            () = &mut woken => Ok(self.handover.withdraw(handed).await),
        }
    }
}
