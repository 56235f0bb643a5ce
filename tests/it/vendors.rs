//! Vendors' batch-deletion APIs from end to end: the daemon's own loops, over HTTP, against simulators that are
//! written from the vendors' documents.

mod calmyx;
mod conformance;
mod crash;
mod fifth;
mod leadlex;
mod talkdesk;
mod volume;

use std::sync::Arc;
use std::time::Duration;

use expunged::clock::{Clock as _, ManualClock};
use expunged::config::{Config, Secret};
use expunged::domain::{Action, Door, Key};
use expunged::sandbox::calmyx::CalmyxSettings;
use expunged::sandbox::leadlex::LeadLexSettings;
use expunged::sandbox::talkdesk::{Record, TalkdeskSettings};
use expunged::sandbox::{Calmyx, LeadLex, Talkdesk};
use expunged::store::StoryTask;
use expunged::targets::Target;
use tempfile::TempDir;

use crate::support::mirror::{self, API_KEY};
use crate::support::rig::{Rig, listing, notice, until};
use crate::support::secrets::PHONE_START;

/// A state of its own, and a clock that stands.
struct World {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: mirror::clock() }
    }

    /// The daemon's parts over these targets.
    async fn rig(&self, targets: &str) -> Rig {
        Rig::open(self.config(targets), self.clock.clone()).await
    }

    fn config(&self, targets: &str) -> Config {
        let text = format!(
            "[server]\nhooks = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [state]\nurl = \"sqlite://{}/state.db\"\n[brake]\nmode = \"off\"\n\
             [sources.repliers]\npreset = \"repliers\"\nfeed = false\n\
             secret = {{ env = \"REPLIERS_SECRET\" }}\n{targets}",
            self.folder.path().display()
        );
        mirror::parsed(&text, "")
    }

    /// The target alone, without the daemon.
    async fn target(&self, targets: &str) -> Arc<dyn Target> {
        self.rig(targets).await.targets.remove(0)
    }

    fn later(&self, by: Duration) {
        self.clock.set(self.clock.now().plus(by));
    }
}

/// A target of a preset at a simulator, as short as a user writes it, but for the pace.
fn vendor(preset: &str, base: &str, more: &str) -> String {
    format!(
        "[targets.{preset}]\npreset = \"{preset}\"\napi_key = {{ env = \"REPLIERS_API_KEY\" }}\n\
         base_url = \"{base}\"\nrate_per_second = 10000\n{more}\n"
    )
}

const BY_NUMBER: &str = "entities.listing = { id = \"{1}\" }";

async fn calmyx_at(settings: CalmyxSettings, world: &World) -> (Arc<Calmyx>, String) {
    let vendor = Calmyx::new(settings, world.clock.clone());
    let base = mirror::serve(vec![vendor.clone()]).await;
    (vendor, base)
}

async fn leadlex_at(change: impl FnOnce(&mut LeadLexSettings), world: &World) -> (Arc<LeadLex>, String) {
    let mut settings = LeadLexSettings::documented(Secret::new(API_KEY));
    change(&mut settings);
    let vendor = LeadLex::new(settings, world.clock.clone()).unwrap();
    let base = mirror::serve(vec![vendor.clone()]).await;
    (vendor, base)
}

async fn talkdesk_at(change: impl FnOnce(&mut TalkdeskSettings), world: &World) -> (Arc<Talkdesk>, String) {
    let mut settings = TalkdeskSettings::documented("client", Secret::new(API_KEY), "7");
    change(&mut settings);
    let vendor = Talkdesk::new(settings, world.clock.clone());
    let base = mirror::serve(vec![vendor.clone()]).await;
    (vendor, base)
}

/// What Talkdesk's target needs beside the preset; `entity` says how a record is named.
fn record_list(entity: &str) -> String {
    format!(
        "auth.client_id = \"client\"\nauth.token_url = \"/oauth/token\"\n\
         entities.listing = {{ {entity}, params = {{ record_list_id = \"7\" }} }}"
    )
}

/// The record that stands for a listing.
fn record(number: &str) -> Record {
    Record { phone_number: phone(number), external_provider: "2".into(), external_id: number.to_owned() }
}

fn phone(number: &str) -> String {
    format!("+{PHONE_START}{number}")
}

/// Names of listings: the second part of their keys, and their ids at the vendors.
fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("{number:06}")).collect()
}

fn keys(numbers: &[String]) -> Vec<Key> {
    numbers.iter().map(listing).collect()
}

/// Hears of deletions.
async fn hear(rig: &Rig, keys: &[Key], action: Action) {
    for part in keys.chunks(2_000) {
        let notices = part.iter().map(|key| notice(key, action, rig.now())).collect();
        rig.record(Door::Feed, notices).await;
    }
}

/// Hears of deletions, and begins to carry them out.
async fn begin(rig: &mut Rig, numbers: &[String]) {
    hear(rig, &keys(numbers), Action::Delete).await;
    rig.decide().await;
    rig.run();
}

/// As `begin`, and waits until nothing is due.
async fn deleted(rig: &mut Rig, numbers: &[String]) {
    begin(rig, numbers).await;
    rig.quiet_or_waiting().await;
}

/// Waits until a vendor is called down, and nothing is sent to it.
async fn left_alone(rig: &Rig, vendor: &str) {
    let down = Some("0");
    until("it to be left alone", async || gauge(rig, "target_up", vendor).as_deref() == down).await;
}

/// What became of a target's tasks, and how many.
async fn outcomes(rig: &Rig, target: &str) -> Vec<(String, u64)> {
    let tally = rig.parts.store.tally().await.unwrap();
    let of_this = tally.outcomes.into_iter().filter(|(of, _, _)| of == target);
    of_this.map(|(_, what, count)| (what, count)).collect()
}

fn counts(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

async fn task(rig: &Rig, number: &str) -> StoryTask {
    rig.story(&listing(number)).await.unwrap().tasks.remove(0)
}

/// The code of a task's failure.
async fn code(rig: &Rig, number: &str) -> String {
    task(rig, number).await.failure.unwrap().code
}

/// A gauge of a target, as it is scraped; `None` if there is none yet.
fn gauge(rig: &Rig, name: &str, target: &str) -> Option<String> {
    let line = format!("expunged_{name}{{target=\"{target}\"}} ");
    rig.parts.metrics.render().lines().find_map(|text| text.strip_prefix(&line).map(str::to_owned))
}
