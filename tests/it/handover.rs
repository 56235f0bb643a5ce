//! The short way from a decision to a target that waits for work, with all loops running.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use expunged::domain::{Action, Door, Event, Outcome};
use expunged::intake::Intake;
use expunged::targets::{Removal, Target, TargetError};

use crate::support::between::{Between, Seen};
use crate::support::memory::Memory;
use crate::support::mirror;
use crate::support::rig::{Rig, delivery, listing, notice, until};

/// A target at which records are listed again just when the brake asks what they weigh: after they were folded, and
/// before the decision is written.
struct Meddled {
    inner: Arc<Memory>,
    intake: OnceLock<Intake>,
    listed_again: AtomicBool,
}

#[async_trait]
impl Between for Meddled {
    fn behind(&self) -> &dyn Target {
        &*self.inner
    }

    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        if let Some(intake) = self.intake.get()
            && !self.listed_again.swap(true, Ordering::SeqCst)
        {
            let later = |removal: &Removal| removal.at.plus(Duration::from_secs(1));
            let again = removals.iter().map(|it| notice(&it.key, Action::Relisted, later(it))).collect();
            intake.record(delivery(Door::Webhook, again)).await.unwrap();
        }
        self.inner.weigh(removals).await
    }
}

/// Kinds of the journal's entries from the decision on, a batch that ended without results apart.
async fn from_the_decision(rig: &Rig) -> Vec<&'static str> {
    let entries = rig.parts.store.entries(0, u32::MAX, usize::MAX).await.unwrap();
    let events = entries.iter().map(|entry| entry.event().unwrap());
    let told = events.skip_while(|event| !matches!(event, Event::Decided(_)));
    told.map(|event| match event {
        Event::Settled(settled) if settled.results.is_empty() => "given up",
        other => other.kind(),
    })
    .collect()
}

#[tokio::test]
async fn a_target_that_waits_begins_with_the_decision() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), mirror::clock());
    let replica = Memory::new("replica", clock.clone());
    let key = listing("1");
    let config = mirror::config(folder.path(), "http://127.0.0.1:9", "", "");
    let mut rig = Rig::over(config, clock, vec![replica.clone()]).await;
    replica.put(&key, 1, rig.now());
    rig.run();
    until("the target to wait", async || rig.handovers[0].is_awaited()).await;
    rig.record(Door::Webhook, vec![notice(&key, Action::Delete, rig.now())]).await;
    rig.quiet().await;
    assert_eq!(from_the_decision(&rig).await, ["decided", "started", "settled"]);
    assert_eq!(rig.story(&key).await.unwrap().tasks[0].outcome, Some(Outcome::Deleted));
    until("the target to wait again", async || rig.handovers[0].is_awaited()).await;
    rig.stop().await;
    assert!(!replica.has(&key));
}

#[tokio::test]
async fn i3_a_re_listing_that_comes_before_the_decision_keeps_a_record_that_a_waiting_target_would_take() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), mirror::clock());
    let replica = Memory::new("replica", clock.clone());
    let (intake, listed_again) = (OnceLock::new(), AtomicBool::new(false));
    let meddled = Arc::new(Seen(Meddled { inner: replica.clone(), intake, listed_again }));
    let key = listing("1");
    let config = mirror::config(folder.path(), "http://127.0.0.1:9", "", "");
    let mut rig = Rig::over(config, clock, vec![meddled.clone()]).await;
    assert!(meddled.0.intake.set(rig.parts.intake.clone()).is_ok());
    // A guard that would let it go: only the queue knows better.
    replica.put(&key, 1, rig.now());
    rig.run();
    until("the target to wait", async || rig.handovers[0].is_awaited()).await;
    rig.record(Door::Webhook, vec![notice(&key, Action::Delete, rig.now())]).await;
    rig.quiet().await;
    until("the target to wait again", async || rig.handovers[0].is_awaited()).await;
    assert_eq!(from_the_decision(&rig).await, ["decided", "started", "given up"]);
    rig.stop().await;
    assert!(replica.has(&key) && replica.state().batches.is_empty());
}
