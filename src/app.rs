//! The only wiring: from a configuration to running tasks.
//!
//! Building (`Parts::open`) binds no port and starts no loop; commands stop there. Running (`serve`) adds the
//! listeners, the loops and the schedule. No decision about a deletion is made here.

mod journal;
pub mod pipeline;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::applier::{Applier, Handover};
use crate::backoff::fair_dice;
use crate::brake::Brake;
use crate::clock::SharedClock;
use crate::collect::Collector;
use crate::config::{self, Config};
use crate::domain::{Event, event::Topology};
use crate::fold::{self, Progress};
use crate::intake::Intake;
use crate::lifecycle::{Ending, Stop, Tasks};
use crate::overview::Watched;
use crate::reconcile::Reconciler;
use crate::schedule::{Scheduler, Slots};
use crate::store::SharedStore;
use crate::store::sqlite::{OpenOptions, SqliteStore};
use crate::targets::Target;
use crate::telemetry::metrics::{Known, Metrics};
use crate::web::admin::Admin;
use crate::web::api::Api;
use crate::web::hooks::Hooks;
use crate::web::{self, Listener};

/// Connections that wait to be accepted: a burst of one upstream's bulk deletion (500) from several at once. The
/// kernel caps it (`net.core.somaxconn`, 4,096 by default).
const BACKLOG: u32 = 4_096;
/// Listeners use the whole time to drain; what they cut then still has to end.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// What daemon and commands share.
pub struct Parts {
    pub config: Config,
    pub clock: SharedClock,
    pub store: SharedStore,
    pub intake: Intake,
    pub bell: Arc<Notify>,
    pub metrics: Arc<Metrics>,
    /// Names this process in the journal and on leases.
    pub holder: String,
}

impl Parts {
    /// Opens the state. `daemon` takes the daemon's lock.
    pub async fn open(config: Config, clock: SharedClock, daemon: bool) -> anyhow::Result<Self> {
        let options = OpenOptions { daemon, queue_max: config.state.queue_max };
        let (store, writer) = SqliteStore::open(&config.state.path, options).await?;
        journal::write(writer).context("cannot start the thread that writes the journal")?;
        let store: SharedStore = Arc::new(store);
        let bell = Arc::new(Notify::new());
        let intake = Intake::new(store.clone(), clock.clone(), bell.clone());
        let metrics = Arc::new(Metrics::new(&Known::from(&config)));
        let holder = format!("{}@{}", std::process::id(), clock.now().micros());
        Ok(Self { config, clock, store, intake, bell, metrics, holder })
    }

    /// See [`targets`].
    pub async fn targets(&self) -> anyhow::Result<Vec<Arc<dyn Target>>> {
        targets(&self.config, &self.clock).await
    }

    #[must_use]
    pub fn reconciler(&self) -> Reconciler {
        Reconciler {
            store: self.store.clone(),
            intake: self.intake.clone(),
            clock: self.clock.clone(),
            holder: self.holder.clone(),
        }
    }

    #[must_use]
    pub fn watched(&self) -> Watched {
        Watched::new(&self.config, self.store.clone(), self.clock.clone())
    }

    /// Notes in the journal what of the configuration folding depends on, if that has changed.
    pub async fn note_topology(&self) -> anyhow::Result<()> {
        fold::catch_up(&self.store).await?;
        let current = topology(&self.config);
        let mut fold = self.store.fold().await?;
        let noted = fold.topology().await?;
        let position = fold.position();
        fold.commit(position).await?;
        if noted != current {
            self.intake.note(Event::Configured(current)).await?;
            fold::catch_up(&self.store).await?;
        }
        Ok(())
    }
}

/// The targets, none of which needs to be up.
///
/// # Errors
/// One cannot be what its configuration says.
pub async fn targets(config: &Config, clock: &SharedClock) -> anyhow::Result<Vec<Arc<dyn Target>>> {
    let mut targets: Vec<Arc<dyn Target>> = Vec::new();
    for target in &config.targets {
        let opened = open_target(target, clock).await;
        targets.push(opened.with_context(|| format!("target {}", target.name))?);
    }
    Ok(targets)
}

async fn open_target(target: &config::Target, clock: &SharedClock) -> anyhow::Result<Arc<dyn Target>> {
    Ok(match &target.kind {
        config::target::Kind::Sql(sql) => {
            Arc::new(crate::targets::sql::SqlTarget::connect(&target.name, sql)?)
        }
        config::target::Kind::Tantivy(index) => {
            Arc::new(crate::targets::search::TantivyTarget::open(&target.name, index).await?)
        }
        config::target::Kind::Api(api) => {
            let api = api.as_ref().clone();
            Arc::new(crate::targets::api::ApiTarget::new(&target.name, api, clock.clone())?)
        }
    })
}

fn topology(config: &Config) -> Topology {
    let targets = config.targets.iter().map(|target| (target.name.clone(), target.entities()));
    let horizons = config.sources.iter().map(|source| (source.name.clone(), source.retry_horizon.as_secs()));
    Topology { targets: targets.collect::<BTreeMap<_, _>>(), retry_horizons: horizons.collect() }
}

/// Where the daemon listens, once it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    pub hooks: SocketAddr,
    pub admin: SocketAddr,
}

/// Runs the daemon until it is stopped. `listening` is told the addresses as soon as both are bound.
///
/// # Errors
/// The state, a target or a port could not be opened.
pub async fn serve(
    config: Config,
    clock: SharedClock,
    stop: Stop,
    listening: impl FnOnce(Listening),
) -> anyhow::Result<Ending> {
    let parts = Parts::open(config, clock, true).await?;
    let server = parts.config.server.clone();
    let hooks = bind(server.hooks, "server.hooks")?;
    let admin = bind(server.admin, "server.admin")?;
    let addresses = Listening { hooks: hooks.local_addr()?, admin: admin.local_addr()? };
    if !parts.config.brake.on {
        tracing::warn!("the brake is off: nothing stops a mass deletion");
    }
    parts.note_topology().await?;
    let targets = parts.targets().await?;

    let mut tasks = Tasks::new(stop.clone());
    let (progress, folded) = watch::channel(Progress::default());
    let door = Hooks::new(&parts.config, parts.intake.clone(), parts.clock.clone(), parts.metrics.clone())?;
    let hooks = listener("hooks", hooks, &parts);
    listen(&mut tasks, "hooks", hooks, door.router(), &stop);
    let desk = Admin { watched: parts.watched(), metrics: parts.metrics.clone() };
    let desk = desk.router().merge(api(&parts, &targets, &folded, &stop).router());
    let admin = listener("admin", admin, &parts).streaming(web::api::streams);
    listen(&mut tasks, "admin", admin, desk, &stop);
    tasks.spawn("journal", journal::supervise(parts.store.health(), stop.drain.clone()));
    carry_out(&mut tasks, &parts, &targets, (progress, folded), &stop);
    gather(&mut tasks, &parts, &stop.drain)?;
    let scheduler = schedule(&mut tasks, &parts, &stop.drain).await?;

    tracing::info!(hooks = %addresses.hooks, admin = %addresses.admin, "listening");
    listening(addresses);
    let ending = tasks.run(server.limits.drain_timeout + CUT_GRACE).await;
    if let Err(error) = scheduler.stop().await {
        tracing::debug!(%error, "the scheduler had stopped");
    }
    Ok(ending)
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A daemon that restarts need not wait for its predecessor's last connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().with_context(|| {
        format!("cannot listen on {address} ({setting}): is another process using it? choose another port")
    })
}

fn listener(name: &'static str, socket: TcpListener, parts: &Parts) -> Listener {
    Listener::new(name, socket, &parts.config.server.limits, parts.metrics.clone())
}

/// What operators' own programs may ask for.
fn api(parts: &Parts, targets: &[Arc<dyn Target>], folded: &watch::Receiver<Progress>, stop: &Stop) -> Api {
    let shared = web::api::Shared {
        store: parts.store.clone(),
        intake: parts.intake.clone(),
        clock: parts.clock.clone(),
        targets: targets.to_vec(),
        folded: folded.clone(),
        drain: stop.drain.clone(),
        metrics: parts.metrics.clone(),
        holder: parts.holder.clone(),
    };
    Api::new(&parts.config, shared)
}

fn listen(tasks: &mut Tasks, name: &'static str, listener: Listener, router: axum::Router, stop: &Stop) {
    let drain = stop.drain.clone();
    tasks.spawn(name, async move {
        listener.serve(router, drain).await;
        Ok::<(), std::convert::Infallible>(())
    });
}

/// The loops: one that folds and brakes, one that keeps house, one for each target.
fn carry_out(
    tasks: &mut Tasks,
    parts: &Parts,
    targets: &[Arc<dyn Target>],
    (progress, folded): (watch::Sender<Progress>, watch::Receiver<Progress>),
    stop: &Stop,
) {
    let brake = Brake::new(
        parts.config.brake.clone(),
        parts.store.clone(),
        parts.intake.clone(),
        parts.clock.clone(),
        targets.to_vec(),
    );
    let handovers: Vec<_> =
        targets.iter().map(|target| Handover::new(target.clone(), &parts.holder)).collect();
    let pipeline = pipeline::Pipeline {
        store: parts.store.clone(),
        intake: parts.intake.clone(),
        bell: parts.bell.clone(),
        brake,
        clock: parts.clock.clone(),
        handovers: handovers.clone(),
        progress,
        metrics: parts.metrics.clone(),
    };
    tasks.spawn("fold", pipeline.run(stop.drain.clone()));
    let kept = parts.config.state.bodies_kept;
    tasks.spawn(
        "housekeeping",
        pipeline::purge(parts.store.clone(), parts.clock.clone(), kept, stop.drain.clone()),
    );
    for (target, handover) in targets.iter().zip(handovers) {
        let applier = Applier {
            target: target.clone(),
            store: parts.store.clone(),
            intake: parts.intake.clone(),
            clock: parts.clock.clone(),
            dice: fair_dice(),
            metrics: parts.metrics.clone(),
            folded: folded.clone(),
            handover,
            holder: parts.holder.clone(),
        };
        tasks.spawn(format!("target {}", target.name()), applier.run(stop.drain.clone()));
    }
}

/// One loop a source whose deliveries wait elsewhere.
fn gather(tasks: &mut Tasks, parts: &Parts, drain: &CancellationToken) -> anyhow::Result<()> {
    for source in &parts.config.sources {
        let (intake, clock) = (parts.intake.clone(), parts.clock.clone());
        let collector = Collector::new(source, intake, clock, parts.metrics.clone())
            .with_context(|| format!("source {}: pull", source.name))?;
        let (Some(collector), Some(pull)) = (collector, &source.pull) else { continue };
        let gatherer = pipeline::Gatherer {
            source: source.name.clone(),
            collector,
            every: pull.every,
            dice: fair_dice(),
        };
        tasks.spawn(format!("pull {}", source.name), gatherer.run(drain.clone()));
    }
    Ok(())
}

/// One loop a source that polls, woken by the schedule.
async fn schedule(tasks: &mut Tasks, parts: &Parts, drain: &CancellationToken) -> anyhow::Result<Scheduler> {
    let mut entries = Vec::new();
    let mut wakes: BTreeMap<String, mpsc::Sender<()>> = BTreeMap::new();
    for source in &parts.config.sources {
        let Some(schedule) = source.feed.as_ref().and_then(|feed| feed.schedule.as_ref()) else { continue };
        let slots = Slots::parse(&schedule.expression, &schedule.zone)?;
        // One wake waits while a run is under way; more would be the same.
        let (wake, woken) = mpsc::channel(1);
        // A run that failed, or that was cut off with its process, did not read to the end: it is missing still.
        let last = parts.store.runs(Some(&source.name), 1).await?;
        let last = last.first().filter(|run| run.ended_at.is_some() && run.error.is_none());
        let last = last.map(|run| run.started_at);
        if slots.missed(last, parts.clock.now()) {
            wake.try_send(())?;
        }
        let poller = pipeline::Poller {
            source: source.clone(),
            reconciler: parts.reconciler(),
            metrics: parts.metrics.clone(),
            dice: fair_dice(),
        };
        tasks.spawn(format!("source {}", source.name), poller.run(woken, drain.clone()));
        entries.push((source.name.clone(), slots));
        wakes.insert(source.name.clone(), wake);
    }
    let wake = Arc::new(move |name: &str, _slot| {
        if let Some(wake) = wakes.get(name) {
            // Full means that a wake waits already.
            wake.try_send(()).ok();
        }
    });
    Ok(Scheduler::start(entries, parts.clock.clone(), wake).await?)
}
