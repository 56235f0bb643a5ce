//! The journal's writer: a thread of its own, and an eye on it.
//!
//! All who acknowledge wait for each commit. The kernel wakes a thread as soon as its commit is on disk, where a task
//! among those that answer would wait for its turn.

use std::{io, thread};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::Health;
use crate::store::sqlite::Writer;

/// Runs the writer until every store that hands in is gone.
///
/// # Errors
/// The system grants no more threads.
pub fn write(writer: Writer) -> io::Result<()> {
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("journal".to_owned()).spawn(move || own.block_on(writer.run()))?;
    Ok(())
}

/// Watches until cancelled; `health` is what the writer tells of itself.
///
/// # Errors
/// The writer is gone: nothing could be acknowledged any more, so the daemon had better begin anew.
pub async fn supervise(
    mut health: watch::Receiver<Health>,
    cancel: CancellationToken,
) -> Result<(), &'static str> {
    let told = async { while health.changed().await.is_ok() {} };
    cancel.run_until_cancelled(told).await.map_or(Ok(()), |()| Err("the journal's writer ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_that_ends_is_told_of_and_one_that_cannot_write_is_not() {
        let (health, told) = watch::channel(Health::Writable);
        let cancel = CancellationToken::new();
        let watching = tokio::spawn(supervise(told.clone(), cancel.clone()));
        health.send(Health::Unavailable("full".into())).unwrap();
        // Until it has seen that.
        tokio::task::yield_now().await;
        assert!(!watching.is_finished());
        cancel.cancel();
        assert_eq!(watching.await.unwrap(), Ok(()));
        drop(health);
        assert!(supervise(told, CancellationToken::new()).await.is_err());
    }
}
