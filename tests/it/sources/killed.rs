//! Systems that tell by webhook alone, while the daemon is killed again and again: what it acknowledged it knows,
//! what it did not is sent again by their documented retries, and nothing is done twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use expunged::clock::SystemClock;
use expunged::config::Secret;
use expunged::sandbox::hookbridge::HookBridgeSettings;
use expunged::sandbox::leadlex::LeadLexSettings;
use expunged::sandbox::{HookBridge, LeadLex, Outbox};
use expunged::sources::http::plain_client;

use super::hookbridge::{SENDER, deletion};
use super::leadlex::{DEALS, count, deals, seed};
use crate::support::crash::{Home, Setup, settled, until};
use crate::support::mirror::{API_KEY, HOOK_SECRET, LEADLEX_SECRET, OLD_HOOK_SECRET, serve};
use crate::support::secrets;
use crate::support::servers::free_port;

const LIVES: usize = 5;
const SEED: u64 = 20_240_516;
/// The longest that a life lasts in which nothing new is told.
const LIFE_MAX: Duration = Duration::from_millis(300);
/// An hour of the documented retries in seconds: long enough for a daemon to be back at the second or third of them.
const HOUR: f64 = 72.0;

/// A folder with deals, and the one address of all daemons that live on it.
struct Scene {
    home: Home,
    hooks: String,
    deals: Vec<String>,
}

impl Scene {
    async fn new(source: &str, secrets: &[&str], deals: Vec<String>) -> Self {
        let hooks_port = free_port();
        let files = (0..secrets.len()).map(|number| format!("{{ file = \"{{folder}}/{number}.secret\" }}"));
        let files = files.collect::<Vec<_>>().join(", ");
        let more = format!("[sources.deals]\nsecret = [{files}]\n{source}{DEALS}");
        let home = Home::new(Setup { listings: 1, hooks_port, more, ..Setup::default() }).await;
        for (number, secret) in secrets.iter().enumerate() {
            std::fs::write(home.path(&format!("{number}.secret")), secret).unwrap();
        }
        seed(&home.path(""), &deals).await;
        Self { home, hooks: format!("http://127.0.0.1:{hooks_port}/hooks/deals"), deals }
    }

    /// Kills each daemon at a random moment: of the deliveries that `tell` begins in this life, or of what was
    /// begun before. Then one lives until all is told and done.
    async fn killed_while(&self, outbox: &Outbox, mut tell: impl AsyncFnMut(usize) -> usize) {
        let mut random = fastrand::Rng::with_seed(SEED);
        for life in 0..LIVES {
            let mut daemon = self.home.serve();
            daemon.listening().await;
            let before = outbox.counts().delivered;
            let told = tell(life).await as u64;
            if told > 0 {
                let enough = before + random.u64(1..=told / 4);
                until("some to be acknowledged", async || outbox.counts().delivered >= enough).await;
            } else {
                tokio::time::sleep(LIFE_MAX.mul_f64(random.f64())).await;
            }
            daemon.kill();
            let (acknowledged, known) = (outbox.counts().delivered, self.home.journal().heard().len());
            assert!(known as u64 >= acknowledged, "{acknowledged} acknowledged, {known} in the journal");
            println!("life {life}: {acknowledged} acknowledged, {known} in the journal");
        }
        let mut daemon = self.home.serve();
        let to = daemon.listening().await;
        outbox.settled().await;
        settled(&plain_client().unwrap(), &daemon, &to).await;
        assert_eq!(secrets::named_in(&daemon.log().join("\n")), None, "it is in the log");
        daemon.kill();
        self.assert_told_and_done(outbox).await;
    }

    async fn assert_told_and_done(&self, outbox: &Outbox) {
        let counts = outbox.counts();
        assert_eq!((counts.delivered, counts.lost), (self.deals.len() as u64, 0));
        assert!(counts.refused > 0, "no delivery was cut off");
        let journal = self.home.journal();
        assert_eq!(journal.heard(), (1..).take(self.deals.len()).collect::<BTreeSet<u32>>());
        journal.assert_every_step_has_its_cause();
        self.home.succeed(&["journal", "verify"]);
        journal.assert_settled("replica");
        let folder = self.home.path("");
        assert_eq!(count(&folder, "SELECT count(*) FROM deals").await, 0);
        let orphans = "SELECT count(*) FROM activities WHERE deal_id IS NULL";
        assert_eq!(count(&folder, orphans).await, i64::try_from(self.deals.len()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i2_i8_a_bulk_deletion_at_leadlex_outlives_every_kill_of_the_daemon() {
    let scene = Scene::new("preset = \"leadlex\"\n", &[LEADLEX_SECRET], deals(500)).await;
    let settings =
        LeadLexSettings { retry_scale: HOUR / 3_600.0, ..LeadLexSettings::documented(Secret::new(API_KEY)) };
    let leadlex = LeadLex::new(settings, Arc::new(SystemClock)).unwrap();
    leadlex.subscribe(&scene.hooks, Secret::new(LEADLEX_SECRET));
    for deal in &scene.deals {
        leadlex.add(deal, "a deal");
    }
    let url = format!("{}/v1/deals/bulk-delete", serve(vec![leadlex.clone()]).await);
    let body = serde_json::json!({ "deal_ids": scene.deals }).to_string();
    let tell = async |life| {
        if life > 0 {
            return 0;
        }
        let request = plain_client().unwrap().post(&url).bearer_auth(API_KEY).body(body.clone());
        assert_eq!(request.send().await.unwrap().status(), 200);
        assert!(leadlex.deals().is_empty());
        scene.deals.len()
    };
    scene.killed_while(leadlex.deliveries(), tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i2_i8_pushes_of_hookbridge_outlive_every_kill_of_the_daemon_while_their_keys_rotate() {
    let (old, new) = (OLD_HOOK_SECRET, HOOK_SECRET);
    // The old key alone, both in either order, the new one alone.
    let keys: [&[&str]; LIVES] = [&[old], &[old, new], &[new, old], &[new], &[new]];
    let scene = Scene::new(SENDER, &[new, old], deals(60 * LIVES)).await;
    let settings = HookBridgeSettings { api_key: Secret::new(API_KEY), retry_scale: HOUR / 3_600.0 };
    let service = HookBridge::new(settings, Arc::new(SystemClock)).unwrap();
    let tell = async |life: usize| {
        service.push_to(&scene.hooks, keys[life].iter().map(|key| Secret::new(*key)).collect());
        let deals = scene.deals.chunks(60).nth(life).unwrap();
        for deal in deals {
            service.push(&deletion(deal));
        }
        deals.len()
    };
    scene.killed_while(service.deliveries(), tell).await;
}
