//! Threads for work that nobody's answer waits for.
//!
//! Exists because senders wait for seconds at most, and give up, while a backlog waits for its turn: under more load
//! than the machine can carry, the threads that answer are to come first. Whatever these start, connections' threads
//! and an index's among them, is as patient as they are. Nothing is starved: the kernel gives them a share always.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// How much these threads yield, in steps of nice(2): with eight, one that competes with one that answers gets a
/// seventh of the time. Less, and senders wait for a backlog; much more, and a backlog waits for senders that never
/// pause.
const NICE: i32 = 8;

/// Runs until it is dropped, and ends without waiting for anything.
#[derive(Debug)]
pub struct Behind(Option<Runtime>);

impl Behind {
    /// # Errors
    /// No threads can be started.
    pub fn start() -> io::Result<Self> {
        let yielding = || {
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::debug!(%error, "threads do not yield to those that answer");
            }
        };
        let mut threads = Builder::new_multi_thread();
        threads.enable_all().thread_name("behind").on_thread_start(yielding);
        Ok(Self(Some(threads.build()?)))
    }

    /// # Panics
    /// Never: the runtime is there until this is dropped.
    pub fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is there until this is dropped").handle()
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting is not allowed where tasks run, and whoever drops this has waited for its tasks.
            runtime.shutdown_background();
        }
    }
}
