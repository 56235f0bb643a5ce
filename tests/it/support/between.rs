//! Something that stands between the daemon and a target: it passes on all that it does not meddle with.

use async_trait::async_trait;
use expunged::domain::{Entity, Key};
use expunged::targets::{Batch, Effect, Finding, Foreseen, Identified, Removal, Target, TargetError};

/// What is meddled with; the rest passes.
#[async_trait]
pub trait Between: Send + Sync {
    fn behind(&self) -> &dyn Target;

    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        self.behind().weigh(removals).await
    }

    async fn ready(&self) -> Result<(), TargetError> {
        self.behind().ready().await
    }

    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        self.behind().apply(batch).await
    }
}

/// The target as the daemon sees it.
pub struct Seen<B>(pub B);

#[async_trait]
impl<B: Between> Target for Seen<B> {
    fn name(&self) -> &str {
        self.0.behind().name()
    }

    fn quota_left(&self) -> Option<u64> {
        self.0.behind().quota_left()
    }

    async fn check(&self) -> Result<Vec<Finding>, TargetError> {
        self.0.behind().check().await
    }

    async fn mirrored(&self, entity: &Entity) -> Result<u64, TargetError> {
        self.0.behind().mirrored(entity).await
    }

    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        self.0.weigh(removals).await
    }

    async fn foresee(&self, removals: &[Removal]) -> Result<Vec<Foreseen>, TargetError> {
        self.0.behind().foresee(removals).await
    }

    async fn look_up(
        &self,
        entity: &Entity,
        alternate: &str,
        identifiers: &[Key],
    ) -> Result<Vec<Identified>, TargetError> {
        self.0.behind().look_up(entity, alternate, identifiers).await
    }

    async fn ready(&self) -> Result<(), TargetError> {
        self.0.ready().await
    }

    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        self.0.apply(batch).await
    }

    fn batch_max(&self) -> u32 {
        self.0.behind().batch_max()
    }

    async fn rest(&self) {
        self.0.behind().rest().await;
    }
}
