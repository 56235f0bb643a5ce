//! `expunged sandbox`: the simulated upstreams on a port, for staging.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::config::Secret;
use crate::sandbox::leadlex::LeadLexSettings;
use crate::sandbox::repliers::{ListingKey, RepliersSettings};
use crate::sandbox::{LeadLex, Repliers, Sandbox as Simulators};

/// What the simulators hold, and whom they tell.
#[derive(Debug, Args)]
pub struct Sandbox {
    /// Where they listen
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The daemon's public listener, told of every deletion
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    hooks: String,
    /// Listings (board 2, W1 to Wn) and deals (deal-1 to deal-n) that are there at first
    #[arg(long, default_value_t = 1_000)]
    records: u32,
    /// Seconds between deletions; 0 deletes nothing
    #[arg(long, default_value_t = 5)]
    every: u64,
    /// Of ten webhooks, how many are lost on the way, for the feed to find
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10))]
    lose: u32,
}

impl Sandbox {
    pub async fn run(self, clock: SharedClock) -> anyhow::Result<ExitCode> {
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let settings =
            RepliersSettings::documented(Secret::new("sandbox-api-key"), Secret::new("sandbox-hook-secret"));
        let repliers = Repliers::new(settings, clock.clone())?;
        let leadlex =
            LeadLex::new(LeadLexSettings::documented(Secret::new("sandbox-api-key")), clock.clone())?;
        for event in ["listing.deleted", "listing.updated", "listing.created"] {
            repliers.subscribe_known(event, &format!("{}/hooks/repliers/{event}", self.hooks));
        }
        leadlex.subscribe(&format!("{}/hooks/leadlex", self.hooks), Secret::new("sandbox-leadlex-secret"));
        for number in 1..=self.records {
            leadlex.add(&format!("deal-{number}"), "a deal");
        }
        println!(
            "simulated upstreams on http://{address}: Repliers (/listings/deleted, /webhooks) and LeadLex (/v1)"
        );
        println!(
            "  base_url = \"http://{address}\"; Repliers' api_key is sandbox-api-key, its secret sandbox-hook-secret;"
        );
        println!("  LeadLex's secret is sandbox-leadlex-secret; webhooks go to {}/hooks/…", self.hooks);
        let simulators = Simulators::new(vec![repliers.clone(), leadlex.clone()]);
        let serving = simulators.serve(listener, CancellationToken::new());
        tokio::select! {
            () = serving => {}
            () = self.delete(&repliers, &leadlex, &clock) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Deletes one listing and one deal now and then.
    async fn delete(&self, repliers: &Repliers, leadlex: &LeadLex, clock: &SharedClock) {
        if self.every > 0 {
            for number in 1..=self.records {
                tokio::time::sleep(Duration::from_secs(self.every)).await;
                let lost = number % 10 < self.lose;
                if lost {
                    repliers.deliveries().lose_next(1);
                }
                let key = ListingKey::new(2, format!("W{number}"));
                repliers.list_silently(&key, clock.now());
                repliers.delete(&key, clock.now());
                leadlex.delete(&format!("deal-{number}"));
                println!(
                    "deleted listing 2:W{number}{} and deal-{number}",
                    if lost { " (webhook lost)" } else { "" }
                );
            }
        }
        std::future::pending::<()>().await;
    }
}
