//! Uploads: as long as they may be, as broken as they may come.

use std::fmt::Write as _;
use std::net::SocketAddr;

use expunged::config::Token;
use expunged::sources::http::plain_client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::desk::{heard, keys, tokens};
use super::{Desk, READER, WRITER};
use crate::support::crash::{Home, Setup};
use crate::support::rig::until;

/// A request whose body is sent piece by piece, as long as the test likes.
struct Sender(TcpStream);

impl Sender {
    async fn begin(to: SocketAddr, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let head = format!(
            "POST /api/v1/deletions?{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {WRITER}\r\n\
             content-type: text/plain\r\ntransfer-encoding: chunked\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    async fn piece(&mut self, piece: &[u8]) {
        self.0.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
        self.0.write_all(piece).await.unwrap();
        self.0.write_all(b"\r\n").await.unwrap();
    }

    async fn end(mut self) -> (u16, Value) {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
        self.answer().await
    }

    /// The status and the JSON of the answer.
    async fn answer(mut self) -> (u16, Value) {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
    }
}

#[tokio::test]
async fn i6_each_bad_line_is_named_with_its_number_and_the_rest_goes_on() {
    let desk = Desk::with_tokens(5).await;
    let body = "2\tW1\r\n\n2\n2\tW2\n\t\n2\tW3\tmore\n2\tW4";
    let seen = desk.upload("entity=listing&wait=30s", "text/plain; charset=utf-8", &[], body).await;
    assert_eq!(
        (seen.status, &seen.body["received"], &seen.body["refused"]),
        (200, &json!(6), &json!(3)),
        "{}",
        seen.text
    );
    let told: Vec<_> = seen.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["n"].as_u64().unwrap(), it["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [(1, "deleted"), (3, "failed"), (4, "deleted"), (5, "failed"), (6, "failed"), (7, "deleted")]
    );
    let third = &seen.body["results"][1];
    assert_eq!(
        (&third["code"], &third["message"]),
        (&json!("bad_id"), &json!("the id has 1 parts, and 2 are needed"))
    );
    assert_eq!(desk.listings().await, ["W3", "W5"]);

    let json_lines = "[\"2\",\"W3\"]\n\"W5\"\n{\"key\":1}\n[2,\"W5\"]\n";
    let seen = desk.upload("entity=listing", "application/x-ndjson", &[], json_lines).await;
    assert_eq!((&seen.body["accepted"], &seen.body["refused"]), (&json!(1), &json!(3)), "{}", seen.text);
    let lines: Vec<_> =
        seen.body["faults"].as_array().unwrap().iter().map(|it| it["n"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 3, 4]);
    let path = format!("/api/v1/deletions/{}?wait=30s&outcome=failed", seen.receipt());
    assert_eq!(desk.get(READER, &path).await.outcomes(), ["failed"; 3]);
    let bracket = desk.upload("entity=deal", "text/plain", &[], "[\"deal-1\"]\n").await;
    assert_eq!(bracket.body["accepted"], 1, "in plain text a bracket is a character of the key");
    assert_eq!(desk.replica("SELECT id FROM deals").await, ["deal-1"]);
}

#[tokio::test]
async fn half_a_line_of_an_upload_that_broke_off_is_no_key_and_its_repeat_is_a_new_request() {
    let desk = Desk::with_tokens(20).await;
    let headers = "idempotency-key: the same\r\n";
    let mut sender = Sender::begin(desk.listening.admin, "entity=listing", headers).await;
    let first: String = (1_001..=2_002).fold(String::new(), |text, number| text + &format!("2\tW{number}\n"));
    // What breaks off in the middle of W19 would be W1.
    sender.piece(format!("{first}2\tW1").as_bytes()).await;
    until("the first thousand is recorded", async || {
        desk.get(READER, "/api/v1/tombstones?limit=1").await.body["next"] == 1
    })
    .await;
    drop(sender);
    let whole = format!("{first}2\tW19\n");
    until("it has broken off", async || {
        let seen = desk
            .upload("entity=listing&wait=30s", "text/plain", &[("idempotency-key", "the same")], &whole)
            .await;
        assert!(seen.status == 200 || seen.code() == "request_under_way", "{}", seen.text);
        seen.status == 200
    })
    .await;
    let mut left: Vec<String> = (1..=20).map(|number| format!("W{number}")).collect();
    left.retain(|number| number != "W19");
    assert_eq!(desk.listings().await, left);
    let folder = desk.stop().await;
    let heard = heard(folder.path()).await;
    let parts: Vec<_> = heard
        .iter()
        .map(|(_, heard)| (heard.notices.len(), heard.asked.as_ref().unwrap().ended.is_some()))
        .collect();
    assert_eq!(parts, [(1_000, false), (1_000, false), (3, true)]);
    assert_eq!(heard[2].1.asked.as_ref().unwrap().request, Some(heard[1].0));
}

#[tokio::test]
async fn an_upload_that_stalls_is_ended_and_what_came_of_it_has_a_receipt() {
    let top = format!("[server.limits]\nbody_timeout = \"250ms\"\n{}", tokens());
    let desk = Desk::open(2, &top).await;
    let mut sender = Sender::begin(desk.listening.admin, "entity=listing", "").await;
    sender.piece(b"2\tW1").await;
    let (status, body) = sender.answer().await;
    assert_eq!((status, &body["error"]["code"]), (408, &json!("body_too_slow")));
    assert_eq!(body["error"]["receipt"], Value::Null);

    let mut sender = Sender::begin(desk.listening.admin, "entity=listing", "").await;
    sender.piece(format!("{}2\tW1", "2\tW2\n".repeat(1_001)).as_bytes()).await;
    let (status, body) = sender.answer().await;
    assert_eq!((status, &body["error"]["code"]), (408, &json!("body_too_slow")));
    let receipt = body["error"]["receipt"].as_str().unwrap();
    let told = desk.get(READER, &format!("/api/v1/deletions/{receipt}?limit=1&wait=1s")).await;
    assert_eq!((&told.body["complete"], &told.body["settled"]), (&json!(false), &json!(false)));
    until("what came of it is carried out", async || desk.listings().await == ["W1"]).await;
}

#[tokio::test]
async fn sixteen_requests_for_deletions_are_worked_on_at_once() {
    let desk = Desk::with_tokens(1).await;
    let mut senders = Vec::new();
    for _ in 0..16 {
        senders.push(Sender::begin(desk.listening.admin, "entity=listing", "").await);
    }
    let dry = json!({ "entity": "listing", "ids": keys(1..=1), "dry_run": true });
    until("there is no place left", async || {
        let seen = desk.ask("", &dry).await;
        assert!(seen.status == 200 || (seen.status == 503 && seen.code() == "busy"), "{}", seen.text);
        seen.status == 503 && seen.header("retry-after") == Some("1")
    })
    .await;
    let mut last = senders.pop().unwrap();
    last.piece(b"2\tW1\n").await;
    let (status, body) = last.end().await;
    assert_eq!((status, &body["accepted"]), (202, &json!(1)));
    assert_eq!(desk.ask("", &dry).await.status, 200, "a place is given back");
    drop(senders);
}

/// Bytes of memory that a process had at most.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1_024
}

const LINES: u64 = 100_000;
/// One line among them that is no key: more than all the memory that may be taken.
const LONG_LINE: usize = 256 << 20;
/// What an upload may take beyond what the daemon has already. The caches of our own databases and of the
/// replica fill up meanwhile, which is most of it.
const MEMORY_MAX: u64 = 192 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_lines_and_one_endless_one_are_taken_in_bounded_memory() {
    let hash = hex::encode(Token::hash(WRITER.as_bytes()));
    let more = format!("[server.tokens.writer]\nsha256 = \"{hash}\"\nscopes = [\"read\", \"delete\"]\n");
    let home = Home::new(Setup { listings: 200, more, ..Setup::default() }).await;
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let before = peak(daemon.id());

    let mut sender = Sender::begin(to.admin, "entity=listing", "").await;
    for thousand in 0..LINES / 1_000 {
        let mut piece = String::new();
        for number in thousand * 1_000 + 1..=(thousand + 1) * 1_000 {
            writeln!(piece, "2\tW{number}").unwrap();
        }
        sender.piece(piece.as_bytes()).await;
        if thousand == 50 {
            let some = vec![b'x'; 1 << 20];
            for _ in 0..LONG_LINE >> 20 {
                sender.piece(&some).await;
            }
            sender.piece(b"\n").await;
        }
    }
    let (status, body) = sender.end().await;
    assert_eq!(status, 202, "{body}");
    assert_eq!((&body["received"], &body["accepted"]), (&json!(LINES + 1), &json!(LINES)));
    assert_eq!((&body["faults"][0]["n"], &body["refused"]), (&json!(51_001), &json!(1)));

    let client = plain_client().unwrap();
    let url =
        format!("http://{}/api/v1/deletions/{}?limit=1&wait=5s", to.admin, body["receipt"].as_str().unwrap());
    until("all of it is settled", async || {
        let answer = client.get(&url).bearer_auth(WRITER).send().await.unwrap();
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["settled"] == true
    })
    .await;
    let answer = client.get(&url).bearer_auth(WRITER).send().await.unwrap();
    let told: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    // Every fiftieth listing is newer than its deletion, in the replica.
    assert_eq!(
        told["counts"],
        json!({ "deleted": 196, "superseded": 4, "not_found": LINES - 200, "failed": 1 })
    );
    let taken = peak(daemon.id()) - before;
    assert!(taken < MEMORY_MAX, "{} MiB", taken >> 20);
}
