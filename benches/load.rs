//! A sender of signed deliveries over kept connections, cheap enough to leave the machine to the receiver.
//!
//! A request is a template in which the record's number and the signature are written anew. Answers are read
//! just far enough to know their status and end. One thread drives all connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use ring::hmac;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::setting::SECRET;

/// Connections of the sender.
pub const CONNECTIONS: usize = 64;
/// Bytes of a body.
const BODY_BYTES: usize = 600;
/// Digits of a record's number.
const DIGITS: usize = 9;
/// What is sent before anything is counted.
pub const WARM_UP: Duration = Duration::from_millis(500);
/// How often a paced sender looks whether something is due.
const PACE: Duration = Duration::from_micros(100);

/// Numbers of records, none of them twice.
#[derive(Debug, Default)]
pub struct Numbers(AtomicU64);

impl Numbers {
    pub fn from(first: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(first)))
    }

    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A request with places for number and signature.
struct Template {
    bytes: Vec<u8>,
    numbers: [usize; 2],
    signature: usize,
    body: usize,
    key: hmac::Key,
}

impl Template {
    fn new() -> anyhow::Result<Self> {
        let digits = "#".repeat(DIGITS);
        let event = format!(
            r#"{{"event":"listing.deleted","id":"evt_{digits}","timestamp":"2026-03-01T10:00:00.000Z","data":{{"boardId":2,"mlsNumber":"W{digits}","resource":"Property:2505","status":"U","lastStatus":"Sld","remarks":""#
        );
        let body = format!("{event}{}\"}}}}", "x".repeat(BODY_BYTES - event.len() - 3));
        let head = format!(
            "POST /hooks/bench HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nuser-agent: bench\r\n\
             content-length: {}\r\nx-signature: ",
            body.len()
        );
        let signature = head.len();
        let text = format!("{head}{}\r\n\r\n{body}", "0".repeat(64));
        let first = text.find(&digits).context("no place for a number")?;
        let second = text.rfind(&digits).context("no place for a number")?;
        let body = text.len() - body.len();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        Ok(Self { bytes: text.into_bytes(), numbers: [first, second], signature, body, key })
    }

    fn request(&mut self, number: u64) -> anyhow::Result<&[u8]> {
        let digits = format!("{number:0DIGITS$}");
        for place in self.numbers {
            self.bytes[place..place + DIGITS].copy_from_slice(digits.as_bytes());
        }
        let tag = hmac::sign(&self.key, &self.bytes[self.body..]);
        hex::encode_to_slice(tag.as_ref(), &mut self.bytes[self.signature..self.signature + 64])?;
        Ok(&self.bytes)
    }
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    template: Template,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, template: Template::new()?, read: Vec::with_capacity(1024) })
    }

    pub async fn deliver(&mut self, number: u64) -> anyhow::Result<()> {
        self.stream.write_all(self.template.request(number)?).await?;
        self.read.clear();
        while !complete(&self.read)? {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the receiver hung up");
        }
        ensure!(self.read.get(9..12) == Some(b"202"), "answered {}", String::from_utf8_lossy(&self.read));
        Ok(())
    }
}

/// Whether an answer is there to its end.
fn complete(read: &[u8]) -> anyhow::Result<bool> {
    let Some(head) = read.windows(4).position(|it| it == b"\r\n\r\n") else { return Ok(false) };
    let text = std::str::from_utf8(&read[..head])?.to_ascii_lowercase();
    let (_, rest) = text.split_once("content-length: ").context("an answer without a length")?;
    let length: usize = rest.split("\r\n").next().unwrap_or(rest).parse()?;
    Ok(read.len() >= head + 4 + length)
}

/// Delivers on all connections, each as fast as it is answered; acknowledgements per second.
pub async fn saturate(address: SocketAddr, numbers: Arc<Numbers>, time: Duration) -> anyhow::Result<f64> {
    on_own_thread(async move {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut connection = Connection::open(address).await?;
            let (stop, answered, numbers) = (stop.clone(), answered.clone(), numbers.clone());
            senders.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    connection.deliver(numbers.next()).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            });
        }
        tokio::time::sleep(WARM_UP.min(time)).await;
        let (began, before) = (Instant::now(), answered.load(Ordering::Relaxed));
        tokio::time::sleep(time).await;
        let rate = (answered.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = senders.join_next().await {
            ended??;
        }
        Ok(rate)
    })
    .await
}

/// Delivers at `rate` whether or not answers come; seconds from the moment when each delivery was due to its
/// answer, sorted.
pub async fn paced(
    address: SocketAddr,
    numbers: Arc<Numbers>,
    rate: f64,
    time: Duration,
) -> anyhow::Result<Vec<f64>> {
    on_own_thread(async move {
        let mut queues = Vec::new();
        let mut senders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut connection = Connection::open(address).await?;
            let (queue, mut due) = mpsc::unbounded_channel::<Instant>();
            queues.push(queue);
            let numbers = numbers.clone();
            senders.spawn(async move {
                let mut seconds = Vec::new();
                while let Some(due) = due.recv().await {
                    connection.deliver(numbers.next()).await?;
                    seconds.push((due, due.elapsed().as_secs_f64()));
                }
                anyhow::Ok(seconds)
            });
        }
        let counted_from = Instant::now() + WARM_UP;
        std::thread::spawn(move || pace(&queues, rate, WARM_UP + time));
        let mut all = Vec::new();
        while let Some(ended) = senders.join_next().await {
            all.extend(
                ended??.into_iter().filter(|(due, _)| *due >= counted_from).map(|(_, seconds)| seconds),
            );
        }
        all.sort_by(f64::total_cmp);
        Ok(all)
    })
    .await
}

fn pace(queues: &[mpsc::UnboundedSender<Instant>], rate: f64, time: Duration) {
    let began = Instant::now();
    let mut number: usize = 0;
    loop {
        let due = Duration::from_secs_f64(number as f64 / rate);
        if due > time {
            return;
        }
        if due > began.elapsed() {
            std::thread::sleep(PACE);
            continue;
        }
        queues[number % queues.len()].send(began + due).ok();
        number += 1;
    }
}

/// The value below which a share of sorted values lies.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

async fn on_own_thread<T: Send + 'static>(
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
    })
    .await?
}
