//! HookBridge pull endpoints: nothing is acknowledged before it is on disk, and nothing that cannot be proven is
//! acted upon.

mod trouble;

use std::collections::BTreeSet;
use std::sync::Arc;

use expunged::clock::SystemClock;
use expunged::collect::{CollectError, Collector, Round};
use expunged::config::{Config, Secret};
use expunged::domain::{Door, Entity, Key};
use expunged::sandbox::hookbridge::HookBridgeSettings;
use expunged::sandbox::leadlex::LeadLexSettings;
use expunged::sandbox::{Fault, HookBridge, LeadLex, Simulator as _};
use expunged::sources::http::plain_client;
use expunged::store::SharedStore;

use super::hookbridge::SENDER;
use super::leadlex::hmac_hex;
use super::{folder, heard};
use crate::support::crash::home::SECRET;
use crate::support::crash::{Home, Setup, ask, deletion, settled, until};
use crate::support::mirror::{self, API_KEY, LEADLEX_SECRET};
use crate::support::rig::Rig;
use crate::support::secrets::OTHER_API_KEY;

fn service(retry_scale: f64) -> Arc<HookBridge> {
    let settings = HookBridgeSettings { api_key: Secret::new(API_KEY), retry_scale };
    HookBridge::new(settings, mirror::clock()).unwrap()
}

/// Deals of LeadLex whose webhooks a pull endpoint keeps; the parts of a daemon, and its collector.
struct Scene {
    rig: Rig,
    collector: Collector,
    service: Arc<HookBridge>,
    endpoint: String,
    leadlex: Arc<LeadLex>,
    ingest: String,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new(pull: &str) -> Self {
        let service = service(0.0);
        let base = mirror::serve(vec![service.clone()]).await;
        let (endpoint, ingest) = service.endpoint("deals");
        let ingest = format!("{base}{ingest}");
        let settings =
            LeadLexSettings { retry_scale: 0.0, ..LeadLexSettings::documented(Secret::new(OTHER_API_KEY)) };
        let leadlex = LeadLex::new(settings, mirror::clock()).unwrap();
        leadlex.subscribe(&ingest, Secret::new(LEADLEX_SECRET));
        let folder = folder();
        let pull = format!(
            "pull = {{ preset = \"hookbridge\", base_url = \"{base}\", endpoints = [\"{endpoint}\"], \
             api_key = {{ env = \"REPLIERS_API_KEY\" }}, rate_per_second = 10000, {pull} }}"
        );
        let config = super::leadlex::config(folder.path(), &pull);
        mirror::seed(folder.path(), &[], &[]).await;
        let rig = Rig::open(without_children(config.clone()), mirror::clock()).await;
        let collector = collector(&rig, &config);
        Self { rig, collector, service, endpoint, leadlex, ingest, config, _folder: folder }
    }

    /// Deletes deals upstream, and waits until the endpoint has it.
    async fn delete(&self, deals: &[&str]) {
        for deal in deals {
            self.leadlex.add(deal, "a deal");
            assert!(self.leadlex.delete(deal));
        }
        self.leadlex.deliveries().settled().await;
    }

    /// Sends one delivery with a signature, as LeadLex would.
    async fn send(&self, body: &'static str) {
        let signature = format!("sha256={}", hmac_hex(LEADLEX_SECRET.as_bytes(), body.as_bytes()));
        let request = plain_client().unwrap().post(&self.ingest).header("x-leadlex-signature", signature);
        assert_eq!(request.body(body).send().await.unwrap().status(), 200);
    }

    async fn round(&mut self) -> Round {
        self.collector.round().await.unwrap()
    }

    fn counts(&self) -> [usize; 4] {
        self.service.counts(&self.endpoint)
    }

    fn store(&self) -> &SharedStore {
        &self.rig.parts.store
    }

    /// The deals that were heard of, in order.
    async fn heard(&self) -> Vec<String> {
        let heard = heard(&**self.store()).await;
        assert!(heard.iter().all(|heard| heard.door == Door::Pull));
        let notices = heard.into_iter().flat_map(|heard| heard.notices);
        notices.map(|notice| notice.key.to_string()).collect()
    }
}

/// The replica of these tests has deals and nothing that hangs on them.
fn without_children(mut config: Config) -> Config {
    for target in &mut config.targets {
        if let expunged::config::target::Kind::Sql(sql) = &mut target.kind {
            sql.entities.values_mut().for_each(|table| table.children.clear());
        }
    }
    config
}

fn collector(rig: &Rig, config: &Config) -> Collector {
    let parts = &rig.parts;
    let (intake, clock, metrics) = (parts.intake.clone(), parts.clock.clone(), parts.metrics.clone());
    Collector::new(&config.sources[0], intake, clock, metrics).unwrap().unwrap()
}

#[tokio::test]
async fn i1_what_is_taken_is_journaled_acknowledged_and_discarded() {
    let mut scene = Scene::new("").await;
    assert_eq!(scene.round().await, Round::default());
    scene.delete(&["d1", "d2", "d3"]).await;
    assert_eq!(scene.counts(), [3, 0, 0, 0]);
    let round = scene.round().await;
    assert_eq!(round, Round { taken: 3, discarded: 3, ..Round::default() });
    assert_eq!(scene.counts(), [0, 0, 0, 3]);
    assert_eq!(scene.heard().await.len(), 3);
    assert_eq!(scene.round().await, Round::default(), "there is nothing more");
    expunged::fold::catch_up(scene.store()).await.unwrap();
    let key = Key::new(vec!["d1".into()]).unwrap();
    let story = scene.store().story(&Entity::new("deal"), &key).await.unwrap().unwrap();
    assert!(story.tombstone.told_by.webhook, "what was pulled is a webhook that took another way");
    let text = scene.rig.parts.metrics.render();
    assert!(text.contains("door=\"pull\""), "{text}");
}

#[tokio::test]
async fn without_discarding_what_is_done_stays_with_the_keeper() {
    let mut scene = Scene::new("discard = false").await;
    scene.delete(&["d1"]).await;
    assert_eq!(scene.round().await, Round { taken: 1, ..Round::default() });
    assert_eq!(scene.counts(), [0, 0, 1, 0]);
    assert_eq!(scene.round().await, Round::default());
}

#[tokio::test]
async fn i1_an_acknowledgement_that_failed_is_made_by_the_next_process_and_nothing_counts_twice() {
    let mut scene = Scene::new("attempts_max = 1").await;
    scene.delete(&["d1", "d2"]).await;
    // Three listings, two events, and then the acknowledgement is cut off.
    scene.service.faults().script(vec![Fault::Pass; 5]);
    scene.service.faults().script([Fault::server_error()]);
    assert!(matches!(scene.collector.round().await, Err(CollectError::Pull(_))));
    assert_eq!(scene.counts(), [0, 2, 0, 0], "fetched, and gone from the default listing");
    assert_eq!(scene.heard().await.len(), 2);

    scene.collector = collector(&scene.rig, &scene.config);
    assert_eq!(scene.round().await, Round { taken: 2, discarded: 2, ..Round::default() });
    expunged::fold::catch_up(scene.store()).await.unwrap();
    assert_eq!(scene.store().tally().await.unwrap().tombstones, 2);
    assert_eq!(scene.heard().await.len(), 4, "told twice, and known");
}

#[tokio::test]
async fn a_deletion_that_ended_half_done_inside_a_200_is_finished_later() {
    let mut scene = Scene::new("").await;
    scene.delete(&["d1", "d2", "d3", "d4"]).await;
    scene.service.fail_deletes_next(1);
    assert_eq!(scene.round().await, Round { taken: 4, discarded: 2, ..Round::default() });
    assert_eq!(scene.counts(), [0, 0, 2, 2]);
    assert_eq!(scene.round().await, Round { discarded: 2, ..Round::default() });
    assert_eq!(scene.counts(), [0, 0, 0, 4]);
    // A process that was killed between acknowledging and discarding has a successor that does it.
    scene.delete(&["d5"]).await;
    scene.service.fail_deletes_next(1);
    assert_eq!(scene.round().await.discarded, 0);
    scene.collector = collector(&scene.rig, &scene.config);
    assert_eq!(scene.round().await.discarded, 1);
    assert_eq!(scene.counts(), [0, 0, 0, 5]);
}

#[tokio::test]
async fn what_is_not_authentic_is_left_with_the_keeper_and_never_acted_upon() {
    let mut scene = Scene::new("").await;
    let forged = r#"{"event":"deal.deleted","timestamp":"2024-05-16T10:00:00Z","data":{"id":"d9"}}"#;
    let client = plain_client().unwrap();
    let post = client.post(&scene.ingest).header("x-leadlex-signature", "sha256=00").body(forged);
    assert_eq!(post.send().await.unwrap().status(), 200);
    scene.delete(&["d1"]).await;
    assert_eq!(scene.round().await, Round { taken: 1, refused: 1, discarded: 1, ..Round::default() });
    assert_eq!(scene.counts(), [0, 1, 0, 1]);
    assert_eq!(scene.round().await, Round::default(), "it is not read again before the next start");
    assert_eq!(scene.heard().await, ["d1"].map(|deal| Key::new(vec![deal.into()]).unwrap().to_string()));

    scene.collector = collector(&scene.rig, &scene.config);
    assert_eq!(scene.round().await, Round { refused: 1, ..Round::default() });
}

#[tokio::test]
async fn a_payload_that_the_keeper_wrote_anew_proves_nothing_unless_the_keeper_is_trusted() {
    for (pull, round) in [
        ("verify = true", Round { refused: 1, ..Round::default() }),
        ("verify = false", Round { taken: 1, discarded: 1, ..Round::default() }),
    ] {
        let mut scene = Scene::new(pull).await;
        scene.service.rewrite_payloads();
        scene.send(r#"{"event": "deal.deleted", "data": {"id": "d1"}}"#).await;
        assert_eq!(scene.round().await, round, "{pull}");
    }
}

#[tokio::test]
async fn what_means_nothing_is_acknowledged_without_an_entry_and_what_is_not_understood_is_kept() {
    let mut scene = Scene::new("").await;
    scene.send(r#"{"event":"deal.created","data":{}}"#).await;
    scene.send(r#"{"event":"deal.deleted","data":{}}"#).await;
    assert_eq!(scene.round().await, Round { taken: 2, discarded: 2, ..Round::default() });
    let heard = heard(&**scene.store()).await;
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].notices.len(), heard[0].unreadable.len()), (0, 1));
    assert!(heard[0].sha256.is_some(), "its body is kept");
}

/// A signed time is compared with that of receipt: an event that waited for years is no replay.
#[tokio::test]
async fn an_event_is_as_old_as_it_was_when_the_keeper_got_it() {
    let service = service(0.0);
    let base = mirror::serve(vec![service.clone()]).await;
    let (endpoint, ingest) = service.endpoint("pushes");
    service.push_to(&format!("{base}{ingest}"), vec![Secret::new(LEADLEX_SECRET)]);
    service.push(r#"{"type":"deal.deleted","timestamp":"2024-05-16T10:00:00Z","data":{"id":"d1"}}"#);
    service.deliveries().settled().await;
    let folder = folder();
    mirror::seed(folder.path(), &[], &[]).await;
    let text = format!(
        r#"
state = {{ url = "sqlite://{folder}/state.db" }}
[sources.kept]
secret = {{ env = "LEADLEX_SECRET" }}
{SENDER}
pull = {{ preset = "hookbridge", base_url = "{base}", endpoints = ["{endpoint}"], api_key = {{ env = "REPLIERS_API_KEY" }} }}
[targets.replica]
kind = "sql"
url = {{ env = "REPLICA_URL" }}
entities.deal = {{ table = "deals", key = ["id"] }}
"#,
        folder = folder.path().display()
    );
    let config = mirror::parsed(&text, &format!("sqlite://{}/replica.db", folder.path().display()));
    let rig = Rig::open(config.clone(), Arc::new(SystemClock)).await;
    assert_eq!(collector(&rig, &config).round().await.unwrap().taken, 1);
}

/// One delivery of the home's own upstream, at the ingest URL.
async fn post(client: &reqwest::Client, ingest: &str, number: u32) {
    let request = client.post(ingest).header("x-hook-secret", SECRET).body(deletion(&[number]));
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i2_a_team_without_a_public_address_loses_nothing_however_often_the_daemon_is_killed() {
    const EVENTS: u32 = 240;
    const LIVES: usize = 6;
    let service = service(0.0);
    let base = mirror::serve(vec![service.clone()]).await;
    let (endpoint, ingest) = service.endpoint("listings");
    let ingest = format!("{base}{ingest}");
    let more = format!(
        r#"
[sources.kept]
entity = "listing"
secret = {{ file = "{{folder}}/board.secret" }}
auth = {{ scheme = "static_secret", headers = ["x-hook-secret"] }}
payload = {{ event = "path", items = ["/data"], key = ["/board", "/number"], deleted_at = "/deleted_at" }}
events = {{ "listing.deleted" = "delete" }}
[sources.kept.pull]
preset = "hookbridge"
base_url = "{base}"
endpoints = {{ "listing.deleted" = "{endpoint}" }}
api_key = {{ file = "{{folder}}/api.key" }}
every = "20ms"
rate_per_second = 2000
"#
    );
    let home = Home::new(Setup { listings: EVENTS, more, ..Setup::default() }).await;
    std::fs::write(home.path("api.key"), API_KEY).unwrap();
    let client = plain_client().unwrap();
    let mut sent = 0;
    for life in 1..=LIVES {
        let until_now = EVENTS / 6 * u32::try_from(life).unwrap();
        while sent < until_now {
            sent += 1;
            post(&client, &ingest, sent).await;
        }
        let daemon = home.serve();
        // Somewhere between reading and acknowledging, another place in each life.
        let threshold = life * 5;
        let before: usize = service.counts(&endpoint)[1..].iter().sum();
        until("some to be read", async || {
            service.counts(&endpoint)[1..].iter().sum::<usize>() >= before + threshold
        })
        .await;
        daemon.kill();
        let [_, _, delivered, deleted] = service.counts(&endpoint);
        let journaled = home.journal().heard().len();
        assert!(journaled >= delivered + deleted, "acknowledged {} of {journaled}", delivered + deleted);
    }
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    until("all to be taken", async || service.counts(&endpoint)[..3].iter().sum::<usize>() == 0).await;
    settled(&client, &daemon, &to).await;
    assert_eq!(service.counts(&endpoint)[3], EVENTS as usize);
    let all: BTreeSet<u32> = (1..=EVENTS).collect();
    let journal = home.journal();
    assert_eq!(journal.heard(), all);
    journal.assert_every_step_has_its_cause();
    assert_eq!(journal.ends("replica").into_keys().collect::<BTreeSet<_>>(), all);
    home.assert_gone_exactly(&all).await;
    home.succeed(&["journal", "verify"]);
    assert_eq!(ask(&client, &to, "/livez").await.0, 200);
    assert!(daemon.log().iter().all(|line| !line.contains(API_KEY) && !line.contains(SECRET)));
    daemon.kill();
}

#[tokio::test]
async fn i6_a_batch_is_bounded_and_the_next_one_follows_at_once() {
    let mut scene = Scene::new("").await;
    let names: Vec<String> = (0..250).map(|number| format!("d{number}")).collect();
    scene.delete(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(scene.round().await, Round { taken: 250, discarded: 250, ..Round::default() });
    assert_eq!(scene.heard().await.len(), 250);
}
