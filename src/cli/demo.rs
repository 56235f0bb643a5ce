//! `expunged demo`: everything at once on embedded parts, told in plain words.
//!
//! It seeds a replica and an index, lets simulated upstreams delete, forges a delivery, reconciles, and shows
//! what is gone and what the journal says. Its folder holds a configuration with which `serve` goes on.

mod folder;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::app;
use crate::clock::SharedClock;
use crate::config::{Config, ProcessEnvironment};
use crate::lifecycle::Stop;
use crate::telemetry;

/// Where, and for how long.
#[derive(Debug, Args)]
pub struct Demo {
    /// The folder that gets configuration, replica and index; one from an earlier demo is made anew
    #[arg(long, default_value = "expunged-demo", value_name = "FOLDER")]
    dir: PathBuf,
    /// End after the tour, instead of staying up
    #[arg(long)]
    once: bool,
}

/// How long a step of the tour may take before the demo is taken to have failed.
const PATIENCE: Duration = Duration::from_mins(1);

impl Demo {
    pub async fn run(self, clock: SharedClock) -> anyhow::Result<ExitCode> {
        let folder = folder::Folder::make(&self.dir).await?;
        let upstream = story::Upstream::start(&folder, clock.clone()).await?;
        let config = Config::load(&folder.config(), &ProcessEnvironment)?;
        telemetry::init_logging(&crate::config::Log { level: crate::config::LogLevel::Error, ..config.log })?;
        let stop = Stop::on_signals()?;
        let (told, listening) = tokio::sync::oneshot::channel();
        let daemon = tokio::spawn(app::serve(config, clock.clone(), stop.clone(), move |addresses| {
            told.send(addresses).ok();
        }));
        let Ok(addresses) = listening.await else {
            let ending = daemon.await??;
            anyhow::bail!("the daemon ended before it listened: {ending:?}");
        };
        let tour = tokio::time::timeout(PATIENCE, story::tell(&folder, &upstream, addresses, clock)).await;
        match tour {
            Ok(told) => told?,
            Err(_) => anyhow::bail!("a step took longer than {} s", PATIENCE.as_secs()),
        }
        if self.once {
            stop.drain.cancel();
        } else {
            println!("\nThe daemon stays up: press Ctrl-C to end it.");
        }
        let ending = daemon.await??;
        println!("\nGo on with the same state: expunged serve --config {}", folder.config().display());
        Ok(ExitCode::from(ending.exit_code()))
    }
}
