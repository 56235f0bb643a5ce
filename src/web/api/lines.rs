//! An upload, line by line as it comes: any number of lines in the memory of one.
//!
//! The end of a body is told from one that broke off: half a line could be another record's key.

use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::ids::IdFault;
use crate::web::BodyFault;

/// Bytes of a line: the longest key in JSON, every character of it escaped, has half of that.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Reads lines.
pub struct Lines {
    body: Body,
    /// How long a piece of the body may take to come.
    patience: Duration,
    /// What has come and is not read; no line break stands before `looked`.
    rest: BytesMut,
    looked: usize,
    ended: bool,
    /// The line is too long: what comes of it is thrown away.
    skipping: bool,
    number: u64,
    hash: Sha256,
}

/// A line that is not empty, with its number from 1.
pub struct Line {
    pub number: u64,
    pub text: Result<String, IdFault>,
}

impl Lines {
    /// `head` is hashed before the body: what else the upload means.
    pub fn new(body: Body, patience: Duration, head: &str) -> Self {
        let hash = Sha256::new_with_prefix(head.as_bytes());
        let rest = BytesMut::new();
        Self { body, patience, rest, looked: 0, ended: false, skipping: false, number: 0, hash }
    }

    /// The next line that is not empty; `None` at the end. A line ends with a line feed, before which one
    /// carriage return may stand.
    pub async fn next(&mut self) -> Result<Option<Line>, BodyFault> {
        loop {
            let Some(text) = self.whole().await? else { return Ok(None) };
            self.number += 1;
            if !matches!(&text, Ok(text) if text.is_empty()) {
                return Ok(Some(Line { number: self.number, text }));
            }
        }
    }

    /// SHA-256 of all that was read, hex.
    pub fn fingerprint(self) -> String {
        hex::encode(self.hash.finalize())
    }

    /// Reads to the end without looking at anything.
    pub async fn skip(&mut self) -> Result<(), BodyFault> {
        while !self.ended {
            self.rest.clear();
            self.more().await?;
        }
        Ok(())
    }

    async fn whole(&mut self) -> Result<Option<Result<String, IdFault>>, BodyFault> {
        loop {
            let found = self.rest[self.looked..].iter().position(|byte| *byte == b'\n');
            if let Some(at) = found.map(|at| self.looked + at) {
                let line = self.rest.split_to(at);
                self.rest.advance(1);
                self.looked = 0;
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                return Ok(Some(self.read(line)));
            }
            // One byte more may be the carriage return before a line feed that is still to come.
            if self.rest.len() > LINE_BYTES_MAX + 1 {
                self.rest.clear();
                self.skipping = true;
            }
            self.looked = self.rest.len();
            if self.ended {
                let line = self.rest.split();
                self.looked = 0;
                let nothing = line.is_empty() && !self.skipping;
                return Ok((!nothing).then(|| self.read(&line)));
            }
            self.more().await?;
        }
    }

    fn read(&mut self, line: &[u8]) -> Result<String, IdFault> {
        if std::mem::take(&mut self.skipping) || line.len() > LINE_BYTES_MAX {
            return Err(IdFault::TooLong);
        }
        std::str::from_utf8(line).map(ToOwned::to_owned).map_err(|_| IdFault::NotUtf8)
    }

    async fn more(&mut self) -> Result<(), BodyFault> {
        let frame = timeout(self.patience, self.body.frame()).await.map_err(|_| BodyFault::TooSlow)?;
        let Some(frame) = frame else {
            self.ended = true;
            return Ok(());
        };
        if let Ok(piece) = frame.map_err(|_| BodyFault::Broken)?.into_data() {
            self.hash.update(&piece);
            self.rest.extend_from_slice(&piece);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
