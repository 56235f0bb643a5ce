//! The daemon's loops inside the test's own process, so that they can be stopped at a chosen step.

#![allow(clippy::unwrap_used, reason = "support of tests")]

use std::sync::Arc;

use expunged::app::{Parts, pipeline::Pipeline};
use expunged::applier::{Applier, Handover};
use expunged::backoff::Dice;
use expunged::brake::Brake;
use expunged::clock::SystemClock;
use expunged::config::{Config, ProcessEnvironment};
use expunged::domain::{Action, Door, Entity, Evidence, Key, Notice, Seq};
use expunged::fold::{self, Progress};
use expunged::intake::Delivery;
use expunged::targets::Target;
use tokio::sync::watch;

use super::{Home, home::BOARD};

/// The state of this home, opened as by a process that has just started.
pub async fn open(home: &Home) -> Parts {
    let config = Config::load(&home.path("expunged.toml"), &ProcessEnvironment).unwrap();
    let parts = Parts::open(config, Arc::new(SystemClock), false).await.unwrap();
    parts.note_topology().await.unwrap();
    parts
}

pub async fn target(parts: &Parts, name: &str) -> Arc<dyn Target> {
    parts.targets().await.unwrap().into_iter().find(|target| target.name() == name).unwrap()
}

/// Hears of one listing.
pub async fn hear(parts: &Parts, number: u32) -> Seq {
    let key = Key::new(vec![BOARD.to_string(), format!("W{number}")]).unwrap();
    let entity = Entity::new("listing");
    let notice = Notice { entity, key, action: Action::Delete, evidence: Evidence::default() };
    let delivery = Delivery {
        source: "board".into(),
        door: Door::Webhook,
        run: None,
        notices: vec![notice],
        unreadable: vec![],
        reason: None,
        body: None,
    };
    parts.intake.record(delivery).await.unwrap()
}

/// Folds and decides on everything there is; how far that reached.
pub async fn release(parts: &Parts) -> Progress {
    let folded = fold::catch_up(&parts.store).await.unwrap();
    brake(parts).step(folded).await.unwrap();
    let folded = fold::catch_up(&parts.store).await.unwrap();
    Progress { reached: folded, released: folded, ..Progress::default() }
}

fn brake(parts: &Parts) -> Brake {
    let (store, intake) = (parts.store.clone(), parts.intake.clone());
    Brake::new(parts.config.brake.clone(), store, intake, parts.clock.clone(), vec![])
}

/// The loop that folds and decides, and hands batches over to those loops.
pub fn pipeline(parts: &Parts, progress: watch::Sender<Progress>, handovers: Vec<Handover>) -> Pipeline {
    Pipeline {
        store: parts.store.clone(),
        intake: parts.intake.clone(),
        bell: parts.bell.clone(),
        brake: brake(parts),
        clock: parts.clock.clone(),
        handovers,
        progress,
        metrics: parts.metrics.clone(),
    }
}

/// One target's loop. Its waits are as short as they can be.
pub fn applier(parts: &Parts, target: Arc<dyn Target>, folded: watch::Receiver<Progress>) -> Applier {
    let handover = Handover::new(target.clone(), &parts.holder);
    let dice: Dice = Arc::new(|| 0.0);
    Applier {
        target,
        store: parts.store.clone(),
        intake: parts.intake.clone(),
        clock: parts.clock.clone(),
        dice,
        metrics: parts.metrics.clone(),
        folded,
        handover,
        holder: parts.holder.clone(),
    }
}
