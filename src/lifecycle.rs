//! From start to end of the process: supervised tasks, signals, the drain, the service manager.
//!
//! Knows nothing of what the tasks do. Every long-lived task of the daemon is spawned here, so that none can
//! end unnoticed: a loop that died in silence would leave standing what must go.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

/// The two ways in which the process is asked to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Take nothing more, and finish what was begun.
    pub drain: CancellationToken,
    /// End at once.
    pub cut: CancellationToken,
}

impl Stop {
    /// Begins the drain at the first SIGTERM or SIGINT, and cuts at the second.
    ///
    /// # Errors
    /// The signals cannot be listened to.
    pub fn on_signals() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = Self::default();
        let told = stop.clone();
        tokio::spawn(async move {
            for (token, what) in [(&told.drain, "draining"), (&told.cut, "ending at once")] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!("{name}: {what}");
                token.cancel();
            }
        });
        Ok(stop)
    }
}

/// How the process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// Asked to, and everything that was begun is done.
    Drained,
    /// A task ended by itself. The others were drained.
    Failed { task: String, why: String },
    /// Asked to, and these tasks did not end in time.
    Cut { tasks: Vec<String> },
}

impl Ending {
    /// 0 after a clean drain, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(*self != Self::Drained)
    }
}

/// The tasks of the daemon, each with a name.
#[derive(Debug)]
pub struct Tasks {
    stop: Stop,
    set: JoinSet<Result<(), String>>,
    names: HashMap<Id, String>,
}

type Joined = Result<(Id, Result<(), String>), JoinError>;

impl Tasks {
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self { stop, set: JoinSet::new(), names: HashMap::new() }
    }

    /// Spawns a task that lives as long as the daemon. It must end soon after `stop.drain` is cancelled, and
    /// never before: even without an error, that is a failure of the daemon.
    pub fn spawn<F, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let handle = self.set.spawn(async move { task.await.map_err(|error| error.to_string()) });
        self.names.insert(handle.id(), name.into());
    }

    /// Watches over the tasks until the daemon ends: by a signal, or by the end of a task. Tells the service
    /// manager that it runs, for as long as it does. Whatever is left after `drain` is aborted.
    pub async fn run(self, drain: Duration) -> Ending {
        let ending = tokio::select! {
            ending = self.supervise(drain) => ending,
            never = beat() => match never {},
        };
        tracing::info!(?ending, "ended");
        ending
    }

    async fn supervise(mut self, drain: Duration) -> Ending {
        notify(NotifyState::Ready);
        let fault = self.watch().await;
        notify(NotifyState::Stopping);
        self.stop.drain.cancel();
        self.drain(Instant::now() + drain, fault).await
    }

    /// Until the drain is asked for (`None`) or a task ends.
    async fn watch(&mut self) -> Option<(String, String)> {
        let joined = tokio::select! {
            // In this order, since a task that was asked to end may have done so before this is polled.
            biased;
            () = self.stop.drain.cancelled() => return None,
            () = self.stop.cut.cancelled() => return None,
            Some(joined) = self.set.join_next_with_id() => joined,
        };
        let (task, result) = self.ended(joined);
        let why = result.err().unwrap_or_else(|| "ended though nobody asked it to".to_owned());
        tracing::error!(task, why, "task ended, so the daemon ends");
        Some((task, why))
    }

    async fn drain(mut self, deadline: Instant, mut fault: Option<(String, String)>) -> Ending {
        let cut = self.stop.cut.clone();
        loop {
            let joined = tokio::select! {
                () = cut.cancelled() => break,
                joined = timeout_at(deadline, self.set.join_next_with_id()) => joined,
            };
            let Ok(joined) = joined else { break };
            let Some(joined) = joined else {
                return fault.map_or(Ending::Drained, |(task, why)| Ending::Failed { task, why });
            };
            let (task, result) = self.ended(joined);
            if let Err(why) = result {
                tracing::error!(task, why, "task failed while draining");
                fault.get_or_insert((task, why));
            }
        }
        self.set.abort_all();
        let mut tasks: Vec<String> = self.names.into_values().collect();
        tasks.sort();
        match fault {
            Some((task, why)) => Ending::Failed { task, why },
            None => Ending::Cut { tasks },
        }
    }

    /// The name of a task that ended, and how.
    fn ended(&mut self, joined: Joined) -> (String, Result<(), String>) {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            // The panic's own text was printed by the hook; it may hold anything, and stays out of this.
            Err(error) => (error.id(), Err(if error.is_panic() { "panicked" } else { "aborted" }.to_owned())),
        };
        (self.names.remove(&id).unwrap_or_else(|| "unnamed".to_owned()), result)
    }
}

/// Signs of life, at half of the time that systemd waits for one, as sd_watchdog_enabled(3) advises.
async fn beat() -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut beat = interval(limit / 2);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        notify(NotifyState::Watchdog);
    }
}

/// Tells systemd, if it listens. A daemon that cannot tell still works.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "service manager not notified");
    }
}

#[cfg(test)]
mod tests;
