//! Folders, configurations and stores to measure in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use expunged::app::Parts;
use expunged::app::pipeline::Pipeline;
use expunged::applier::{Applier, Handover};
use expunged::backoff::fair_dice;
use expunged::brake::Brake;
use expunged::clock::{SharedClock, SystemClock};
use expunged::config::{Config, ProcessEnvironment};
use expunged::fold::Progress;
use expunged::targets::Target;
use expunged::web::Listener;
use expunged::web::hooks::Hooks;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The key that deliveries are signed with.
pub const SECRET: &str = "a secret that is long enough";

/// Where all files lie.
pub fn base() -> PathBuf {
    std::env::var_os("EXPUNGED_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

/// A folder that is empty at first and gone at the end.
pub fn folder() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(base())?)
}

pub fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// See [`text`].
pub fn config(folder: &Path) -> anyhow::Result<Config> {
    Ok(Config::parse(&text(folder)?, "bench", &ProcessEnvironment)?)
}

/// The same with a replica elsewhere.
pub fn config_over(folder: &Path, url: &str) -> anyhow::Result<Config> {
    let file = format!("sqlite://{}/replica.db", folder.display());
    Ok(Config::parse(&text(folder)?.replace(&file, url), "bench", &ProcessEnvironment)?)
}

/// A configuration: one source that signs with HMAC, a replica and an index in the folder, no brake.
pub fn text(folder: &Path) -> anyhow::Result<String> {
    let secret = folder.join("secret");
    std::fs::write(&secret, SECRET)?;
    let (secret, folder) = (secret.display(), folder.display());
    Ok(format!(
        r#"
[server]
hooks = "127.0.0.1:0"
admin = "127.0.0.1:0"

[state]
url = "sqlite://{folder}/expunged.db"

[brake]
mode = "off"

[log]
level = "error"

[sources.bench]
entity = "listing"
secret = {{ file = "{secret}" }}
rate_per_second = 1000000
auth = {{ scheme = "hmac", algorithm = "sha256", encoding = "hex", header = "x-signature", signed = "{{body}}" }}
payload = {{ event = "/event", key = ["/data/boardId", "/data/mlsNumber"], deleted_at = "/timestamp", event_id = "/id" }}
events = {{ "listing.deleted" = "delete" }}

[targets.replica]
kind = "sql"
url = "sqlite://{folder}/replica.db"

[targets.replica.entities.listing]
table = "listings"
key = ["board_id", "mls_number"]
guard = "updated_at"
children = [
  {{ table = "images", column = "listing_id", references = "id", on_delete = "delete" }},
  {{ table = "reviews", column = "listing_id", references = "id", on_delete = "delete" }},
]

[targets.search]
kind = "tantivy"
path = "{folder}/search"
entities.listing = {{ field = "id", id = "{{0}}:{{1}}" }}
"#
    ))
}

/// Loops that run until this is dropped.
#[derive(Default)]
pub struct Loops {
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Loops {
    /// Serves `router` as the daemon does.
    pub async fn serve(&mut self, router: axum::Router, parts: &Parts) -> anyhow::Result<SocketAddr> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let listener = Listener::new("hooks", socket, &parts.config.server.limits, parts.metrics.clone());
        let stop = self.stop.clone();
        self.running.push(tokio::spawn(async move {
            listener.serve(router, stop).await;
        }));
        Ok(address)
    }

    /// Folds, releases and carries out, as the daemon does.
    pub fn run(&mut self, parts: &Parts, targets: Vec<Arc<dyn Target>>) {
        let (folded, handovers) = self.fold(parts, &targets);
        for (target, handover) in targets.into_iter().zip(handovers) {
            self.apply(parts, target, handover, folded.clone());
        }
    }

    /// Folds and releases, as the daemon does.
    pub fn fold(
        &mut self,
        parts: &Parts,
        targets: &[Arc<dyn Target>],
    ) -> (watch::Receiver<Progress>, Vec<Handover>) {
        let (progress, folded) = watch::channel(Progress::default());
        let brake = Brake::new(
            parts.config.brake.clone(),
            parts.store.clone(),
            parts.intake.clone(),
            parts.clock.clone(),
            targets.to_vec(),
        );
        let handovers: Vec<_> = targets.iter().map(|it| Handover::new(it.clone(), &parts.holder)).collect();
        let pipeline = Pipeline {
            store: parts.store.clone(),
            intake: parts.intake.clone(),
            bell: parts.bell.clone(),
            brake,
            clock: parts.clock.clone(),
            handovers: handovers.clone(),
            progress,
            metrics: parts.metrics.clone(),
        };
        let stop = self.stop.clone();
        self.running.push(tokio::spawn(async move {
            if let Err(error) = pipeline.run(stop).await {
                eprintln!("folding ended: {error}");
            }
        }));
        (folded, handovers)
    }

    /// Carries out at one target, as the daemon does.
    pub fn apply(
        &mut self,
        parts: &Parts,
        target: Arc<dyn Target>,
        handover: Handover,
        folded: watch::Receiver<Progress>,
    ) {
        let applier = Applier {
            target,
            store: parts.store.clone(),
            intake: parts.intake.clone(),
            clock: parts.clock.clone(),
            dice: fair_dice(),
            metrics: parts.metrics.clone(),
            folded,
            handover,
            holder: parts.holder.clone(),
        };
        let stop = self.stop.clone();
        self.running.push(tokio::spawn(async move {
            if let Err(error) = applier.run(stop).await {
                eprintln!("applying ended: {error}");
            }
        }));
    }

    /// Ends them all.
    pub async fn end(self) {
        self.stop.cancel();
        for running in self.running {
            running.await.ok();
        }
    }
}

/// The daemon's own door.
pub fn hooks(parts: &Parts) -> anyhow::Result<axum::Router> {
    let hooks = Hooks::new(&parts.config, parts.intake.clone(), parts.clock.clone(), parts.metrics.clone())?;
    Ok(hooks.router())
}
