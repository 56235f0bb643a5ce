//! Reads the body of a request within bounds of size, time and memory.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    #[error("body too large")]
    TooLarge,
    #[error("body too slow")]
    TooSlow,
    /// The peer went away, or broke the protocol.
    #[error("body broken")]
    Broken,
    /// Too much is being received at the same time.
    #[error("too many bodies at once")]
    NoRoom,
}

impl BodyFault {
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A word for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "body_too_large",
            Self::TooSlow => "body_too_slow",
            Self::Broken => "body_broken",
            Self::NoRoom => "bodies_too_many",
        }
    }
}

/// Memory, in bytes, that bodies take from a common budget.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn within(budget: Arc<Semaphore>) -> Self {
        Self { budget, held: None }
    }

    fn take(&mut self, bytes: usize) -> Result<(), BodyFault> {
        let count = u32::try_from(bytes).map_err(|_| BodyFault::NoRoom)?;
        let more = Arc::clone(&self.budget).try_acquire_many_owned(count).map_err(|_| BodyFault::NoRoom)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Reads a body of at most `max_bytes` within `time`. One that announces more is not read at all.
pub async fn read_body<B>(body: B, max_bytes: usize, time: Duration) -> Result<Bytes, BodyFault>
where
    B: Body<Data = Bytes>,
{
    let mut room = Room::within(Arc::new(Semaphore::new(max_bytes.min(Semaphore::MAX_PERMITS))));
    read_into(&mut room, body, max_bytes, time).await
}

/// As [`read_body`], with the memory taken from `room`.
pub(super) async fn read_into<B>(
    room: &mut Room,
    body: B,
    max_bytes: usize,
    time: Duration,
) -> Result<Bytes, BodyFault>
where
    B: Body<Data = Bytes>,
{
    if body.size_hint().lower() > u64::try_from(max_bytes).unwrap_or(u64::MAX) {
        return Err(BodyFault::TooLarge);
    }
    timeout(time, collect(room, pin!(body), max_bytes)).await.unwrap_or(Err(BodyFault::TooSlow))
}

async fn collect<B>(room: &mut Room, mut body: Pin<&mut B>, max_bytes: usize) -> Result<Bytes, BodyFault>
where
    B: Body<Data = Bytes>,
{
    // Copied, since each piece keeps alive the whole read buffer that it was cut from: a peer that sends
    // single bytes would hold thousands of times their size.
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| BodyFault::Broken)?.into_data() else { continue };
        if piece.len() > max_bytes - whole.len() {
            return Err(BodyFault::TooLarge);
        }
        room.take(piece.len())?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::{Context, Poll};

    use http_body_util::Full;
    use hyper::body::Frame;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// A body that says nothing of its length; `Err` breaks it off, and a missing end stalls it.
    struct Pieces(Vec<Result<Bytes, io::Error>>, bool);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            match self.0.pop() {
                Some(piece) => Poll::Ready(Some(piece.map(Frame::data))),
                None if self.1 => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn pieces(count: usize, size: usize) -> Vec<Result<Bytes, io::Error>> {
        (0..count).map(|_| Ok(Bytes::from(vec![b'x'; size]))).collect()
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_too_large() {
        let read = async |count| read_body(Pieces(pieces(count, 5), true), 20, LONG).await;
        assert_eq!(read(4).await.unwrap().len(), 20);
        assert_eq!(read(5).await, Err(BodyFault::TooLarge));
        assert_eq!(read(0).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_not_read() {
        let body = Full::new(Bytes::from_static(b"12345"));
        assert_eq!(read_body(body, 4, LONG).await, Err(BodyFault::TooLarge));
    }

    #[tokio::test]
    async fn a_body_that_stalls_is_too_slow() {
        let body = Pieces(pieces(1, 5), false);
        assert_eq!(read_body(body, 20, Duration::from_millis(10)).await, Err(BodyFault::TooSlow));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_taken_for_a_whole_one() {
        let mut broken = pieces(1, 5);
        broken.insert(0, Err(io::ErrorKind::ConnectionReset.into()));
        assert_eq!(read_body(Pieces(broken, true), 20, LONG).await, Err(BodyFault::Broken));
    }

    #[tokio::test]
    async fn bodies_share_a_budget_and_give_it_back() {
        let budget = Arc::new(Semaphore::new(12));
        let read = async |room: &mut Room| read_into(room, Pieces(pieces(2, 5), true), 20, LONG).await;
        let mut first = Room::within(Arc::clone(&budget));
        assert_eq!(read(&mut first).await.unwrap().len(), 10);
        assert_eq!(read(&mut Room::within(Arc::clone(&budget))).await, Err(BodyFault::NoRoom));
        drop(first);
        assert_eq!(budget.available_permits(), 12);
        assert!(read(&mut Room::within(budget)).await.is_ok());
    }
}
