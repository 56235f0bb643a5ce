//! `expunged sandbox`: the simulated systems on a port, to rehearse on before anything points at production.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::config::{Environment as _, ProcessEnvironment, Secret};
use crate::sandbox::calmyx::CalmyxSettings;
use crate::sandbox::hookbridge::HookBridgeSettings;
use crate::sandbox::leadlex::LeadLexSettings;
use crate::sandbox::plan::System;
use crate::sandbox::repliers::{ListingKey, RepliersSettings};
use crate::sandbox::talkdesk::{Record, TalkdeskSettings};
use crate::sandbox::{
    Calmyx, HookBridge, LeadLex, Outbox, Plan, Repliers, Sandbox as Simulators, Simulator, Talkdesk,
};

const API_KEY: &str = "sandbox-api-key";
const HOOK_SECRET: &str = "sandbox-hook-secret";
const LEADLEX_SECRET: &str = "sandbox-leadlex-secret";
const HOOKBRIDGE_SECRET: &str = "sandbox-hookbridge-secret";
const CLIENT_ID: &str = "sandbox-client";
const RECORD_LIST: &str = "sandbox-list";
/// Listings of Calmyx's plan "Insight", a fifth of which may be deleted.
const CALMYX_PLAN: u32 = 10_000;
/// Bytes of a fault plan: thousands of rules.
const PLAN_BYTES_MAX: u64 = 1 << 20;

/// What the simulators hold, whom they tell, and what goes wrong.
#[derive(Debug, Args)]
pub struct Sandbox {
    /// Where they are served
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The daemon's public listener, told of every deletion
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    hooks: String,
    /// Listings (board 2, W1 to Wn) and deals (deal-1 to deal-n) that are there at first
    #[arg(long, default_value_t = 1_000)]
    listings: u32,
    /// Decides in which order they are deleted, and about all ids and secrets that are made up
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Seconds between deletions; 0 deletes nothing
    #[arg(long, default_value_t = 5.0)]
    every: f64,
    /// Of ten webhooks, how many are lost on the way, for the feed to find
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10))]
    lose: u32,
    /// What goes wrong, and how often: a TOML file, described in the README
    #[arg(long, value_name = "PLAN")]
    faults: Option<PathBuf>,
}

/// The simulated systems.
struct Systems {
    repliers: Arc<Repliers>,
    leadlex: Arc<LeadLex>,
    hookbridge: Arc<HookBridge>,
    calmyx: Arc<Calmyx>,
    talkdesk: Arc<Talkdesk>,
}

impl Sandbox {
    pub async fn run(self, clock: SharedClock) -> anyhow::Result<ExitCode> {
        let plan = self.plan()?;
        let systems = self.systems(&clock)?;
        let mounted = systems.mounted();
        plan.apply(&mounted.iter().map(planned).collect::<Vec<_>>()).context("the fault plan")?;
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        self.subscribe(&systems, address);
        for number in 1..=self.listings {
            systems.repliers.list_silently(&listing(number), clock.now());
            systems.leadlex.add(&deal(number), "a deal");
            systems.calmyx.add(&listing(number).mls_number);
            systems.talkdesk.add(&deal(number), record(number));
        }
        let simulators = mounted.into_iter().map(|(_, simulator)| simulator).collect();
        let serving = Simulators::new(simulators).serve(listener, CancellationToken::new());
        tokio::select! {
            () = serving => {}
            () = self.delete(&systems, &clock) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let Some(path) = &self.faults else { return Ok(Plan::default()) };
        let read = || -> anyhow::Result<Plan> {
            Ok(Plan::parse(&String::from_utf8(ProcessEnvironment.read(path, PLAN_BYTES_MAX)?)?)?)
        };
        read().with_context(|| format!("the fault plan {}", path.display()))
    }

    fn systems(&self, clock: &SharedClock) -> anyhow::Result<Systems> {
        let key = || Secret::new(API_KEY);
        let repliers = RepliersSettings::documented(key(), Secret::new(HOOK_SECRET));
        let leadlex = LeadLexSettings { seed: self.seed, ..LeadLexSettings::documented(key()) };
        Ok(Systems {
            repliers: Repliers::new(repliers, clock.clone())?,
            leadlex: LeadLex::new(leadlex, clock.clone())?,
            hookbridge: HookBridge::new(HookBridgeSettings::documented(key()), clock.clone())?,
            calmyx: Calmyx::new(CalmyxSettings::documented(key(), CALMYX_PLAN), clock.clone()),
            talkdesk: Talkdesk::new(
                TalkdeskSettings::documented(CLIENT_ID, key(), RECORD_LIST),
                clock.clone(),
            ),
        })
    }

    /// Has everybody told, and says how to configure it.
    fn subscribe(&self, systems: &Systems, address: SocketAddr) {
        let hooks = self.hooks.trim_end_matches('/');
        for event in ["listing.deleted", "listing.updated", "listing.created"] {
            systems.repliers.subscribe_known(event, &format!("{hooks}/hooks/repliers/{event}"));
        }
        let (endpoint, ingest) = systems.hookbridge.endpoint("deals of LeadLex");
        for url in [format!("{hooks}/hooks/leadlex"), format!("http://{address}{ingest}")] {
            systems.leadlex.subscribe(&url, Secret::new(LEADLEX_SECRET));
        }
        let keys = vec![Secret::new(HOOKBRIDGE_SECRET)];
        systems.hookbridge.push_to(&format!("{hooks}/hooks/hookbridge"), keys);
        println!("simulated systems: base_url = \"http://{address}\", api_key \"{API_KEY}\" for all of them");
        println!("  repliers    secret \"{HOOK_SECRET}\"; webhooks to {hooks}/hooks/repliers/EVENT");
        println!("              (unsubscribe from one first, to rehearse subscribing)");
        println!("  leadlex     secret \"{LEADLEX_SECRET}\"; webhooks to {hooks}/hooks/leadlex");
        println!("  hookbridge  pull endpoint \"{endpoint}\", which keeps leadlex's webhooks;");
        println!("              pushes to {hooks}/hooks/hookbridge, secret \"{HOOKBRIDGE_SECRET}\"");
        println!("  calmyx      takes W1 to Wn; its plan lets {} of them go", CALMYX_PLAN / 5);
        println!("  talkdesk    takes deal-1 to deal-n of record_list_id \"{RECORD_LIST}\";");
        println!("              auth.client_id \"{CLIENT_ID}\", auth.token_url \"/oauth/token\"");
    }

    /// Deletes one listing and one deal now and then.
    async fn delete(&self, systems: &Systems, clock: &SharedClock) {
        let mut order: Vec<u32> = (1..=self.listings).collect();
        shuffle(&mut order, self.seed);
        if let Some(every) = Duration::try_from_secs_f64(self.every).ok().filter(|every| !every.is_zero()) {
            for (count, number) in (1..).zip(order) {
                tokio::time::sleep(every).await;
                let lost = count % 10 < self.lose;
                if lost {
                    systems.repliers.deliveries().lose_next(1);
                }
                systems.repliers.delete(&listing(number), clock.now());
                systems.leadlex.delete(&deal(number));
                systems.hookbridge.push(&pushed(number, clock));
                let lost = if lost { " (webhook lost)" } else { "" };
                println!("deleted listing 2:W{number}{lost} and {}", deal(number));
            }
            let told = systems.mounted();
            told.iter().filter_map(|(_, system)| system.webhooks()).for_each(Outbox::let_go);
        }
        std::future::pending::<()>().await;
    }
}

impl Systems {
    /// All of them behind one address, by the names of a fault plan; those that take a part of what another owns
    /// stand first.
    fn mounted(&self) -> Vec<(&'static str, Arc<dyn Simulator>)> {
        vec![
            ("hookbridge", self.hookbridge.clone()),
            ("repliers", self.repliers.clone()),
            ("leadlex", self.leadlex.clone()),
            ("calmyx", self.calmyx.clone()),
            ("talkdesk", self.talkdesk.clone()),
        ]
    }
}

/// As a fault plan reaches it.
fn planned<'m>((name, simulator): &'m (&'static str, Arc<dyn Simulator>)) -> System<'m> {
    System { name, faults: simulator.faults(), webhooks: simulator.webhooks() }
}

fn listing(number: u32) -> ListingKey {
    ListingKey::new(2, format!("W{number}"))
}

fn deal(number: u32) -> String {
    format!("deal-{number}")
}

/// What Talkdesk keeps beside a deal's id.
fn record(number: u32) -> Record {
    Record {
        phone_number: format!("+1555{number:07}"),
        external_provider: "leadlex".into(),
        external_id: deal(number),
    }
}

/// A push as some sender through HookBridge might make it.
fn pushed(number: u32, clock: &SharedClock) -> String {
    let data = serde_json::json!({"id": deal(number)});
    serde_json::json!({"type": "deal.deleted", "timestamp": clock.now().to_string(), "data": data})
        .to_string()
}

/// Fisher and Yates by a generator of its own (SplitMix64): the same seed gives the same order on every machine.
/// Seed 0 leaves the order as it is.
fn shuffle(order: &mut [u32], seed: u64) {
    let mut state = seed;
    for end in (1..order.len()).rev().take_while(|_| seed > 0) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let bound = u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1);
        order.swap(end, usize::try_from(mixed % bound).unwrap_or(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_order_and_loses_nothing() {
        let shuffled = |seed| {
            let mut order: Vec<u32> = (1..=100).collect();
            shuffle(&mut order, seed);
            order
        };
        let plain: Vec<u32> = (1..=100).collect();
        assert_eq!(shuffled(0), plain);
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(8));
        let mut again = shuffled(7);
        again.sort_unstable();
        assert_eq!(again, plain);
    }
}
