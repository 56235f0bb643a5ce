//! Uploads however they are cut into pieces.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Frame;

use super::*;

const LONG: Duration = Duration::from_mins(1);

/// Pieces in their order, then the end, or for ever nothing.
struct Pieces(Vec<Result<Bytes, io::Error>>, bool);

impl hyper::body::Body for Pieces {
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

fn lines(text: &[u8], piece: usize) -> Lines {
    let mut pieces: Vec<_> = text.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    pieces.reverse();
    Lines::new(Body::new(Pieces(pieces, true)), LONG, "")
}

async fn all(mut lines: Lines) -> Result<Vec<(u64, Result<String, IdFault>)>, BodyFault> {
    let mut all = Vec::new();
    while let Some(line) = lines.next().await? {
        all.push((line.number, line.text));
    }
    Ok(all)
}

#[tokio::test]
async fn lines_are_the_same_however_they_come() {
    let text = b"a\n\nb\tc\r\n \xff\n\rd\r";
    let expected = vec![
        (1, Ok("a".to_owned())),
        (3, Ok("b\tc".to_owned())),
        (4, Err(IdFault::NotUtf8)),
        (5, Ok("\rd\r".to_owned())),
    ];
    for piece in 1..=text.len() {
        assert_eq!(all(lines(text, piece)).await.unwrap(), expected, "in pieces of {piece}");
    }
    assert_eq!(all(lines(b"", 1)).await.unwrap(), []);
    assert_eq!(all(lines(b"\n\r\n", 1)).await.unwrap(), []);
}

#[tokio::test]
async fn a_line_of_exactly_the_limit_is_read_and_a_longer_one_is_told_and_passed() {
    let longest = "x".repeat(LINE_BYTES_MAX);
    for piece in [1_000, LINE_BYTES_MAX + 1, 1 << 20] {
        let text = format!("{longest}\n{longest}y\n{longest}{longest}\nz");
        let told = all(lines(text.as_bytes(), piece)).await.unwrap();
        let expected = [
            (1, Ok(longest.clone())),
            (2, Err(IdFault::TooLong)),
            (3, Err(IdFault::TooLong)),
            (4, Ok("z".to_owned())),
        ];
        assert!(told == expected, "in pieces of {piece}");
    }
    let open_end = format!("a\n{longest}{longest}");
    let told = all(lines(open_end.as_bytes(), 1_000)).await.unwrap();
    assert_eq!(told, [(1, Ok("a".to_owned())), (2, Err(IdFault::TooLong))]);
}

#[tokio::test]
async fn half_a_line_is_never_taken_for_a_whole_one() {
    let broken = || Err(io::ErrorKind::ConnectionReset.into());
    let mut cut = Lines::new(Body::new(Pieces(vec![broken(), Ok("a\nW10".into())], true)), LONG, "");
    assert_eq!(cut.next().await.unwrap().unwrap().text, Ok("a".to_owned()));
    assert_eq!(cut.next().await.err(), Some(BodyFault::Broken));
    let short = Duration::from_millis(10);
    let mut stalled = Lines::new(Body::new(Pieces(vec![Ok("a\nW10".into())], false)), short, "");
    assert_eq!(stalled.next().await.unwrap().unwrap().text, Ok("a".to_owned()));
    assert_eq!(stalled.next().await.err(), Some(BodyFault::TooSlow));
}

#[tokio::test]
async fn the_fingerprint_is_that_of_the_whole_however_it_is_read() {
    let mut read = lines(b"a\nb\n", 1);
    while read.next().await.unwrap().is_some() {}
    let mut skipped = lines(b"a\nb\n", 3);
    skipped.skip().await.unwrap();
    let mut other = lines(b"a\nb", 3);
    other.skip().await.unwrap();
    let (read, skipped, other) = (read.fingerprint(), skipped.fingerprint(), other.fingerprint());
    assert_eq!(read, skipped);
    assert_ne!(read, other);
}
