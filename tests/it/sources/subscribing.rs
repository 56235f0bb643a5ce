//! Subscribing to Repliers by command, with the real program: the handshake is open for one path and for a moment,
//! and a secret that is kept is never replaced.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use expunged::clock::{Clock, SystemClock};
use expunged::config::Secret;
use expunged::sandbox::repliers::{ListingKey, RepliersSettings};
use expunged::sandbox::{Fault, Repliers, Simulator as _};
use expunged::sources::http::plain_client;
use expunged::vault::Vault;

use crate::support::crash::{Addresses, Home, Setup, ask, settled, until};
use crate::support::mirror;
use crate::support::secrets::{API_KEY, FORGED, OFFERED};

const EVENT: &str = "listing.deleted";

struct Scene {
    home: Home,
    upstream: Arc<Repliers>,
}

impl Scene {
    async fn new() -> Self {
        let settings = RepliersSettings::documented(Secret::new(API_KEY), Secret::new(OFFERED));
        let settings = RepliersSettings { requests_per_second: None, ..settings };
        let upstream = Repliers::new(settings, Arc::new(SystemClock)).unwrap();
        let base = mirror::serve(vec![upstream.clone()]).await;
        let more = format!(
            r#"
[sources.repliers]
preset = "repliers"
base_url = "{base}"
api_key = {{ file = "{{folder}}/api.key" }}
feed.schedule = false
"#
        );
        let home = Home::new(Setup { listings: 20, more, ..Setup::default() }).await;
        std::fs::write(home.path("api.key"), API_KEY).unwrap();
        Self { home, upstream }
    }

    fn vault(&self, file: &str) -> PathBuf {
        self.home.path("state/expunged.subscriptions/repliers").join(file)
    }

    /// Runs `sources subscribe`; whether it succeeded, and what it said.
    fn subscribe(&self, to: &Addresses, more: &[&str]) -> (bool, String) {
        let url = hook(to, EVENT);
        let mut arguments = vec!["sources", "subscribe", "repliers", "--event", EVENT, "--url", &url];
        arguments.extend(more);
        let output = self.home.run(&arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains(OFFERED) && !said.contains(API_KEY), "{said}");
        (output.status.success(), said)
    }

    fn list(&self) -> serde_json::Value {
        let shown: serde_json::Value =
            serde_json::from_str(&self.home.succeed(&["--json", "sources", "list"])).unwrap();
        shown.as_array().unwrap().iter().find(|source| source["name"] == "repliers").unwrap().clone()
    }

    fn delete(&self, number: u32) {
        let (key, now) = (ListingKey::new(2, format!("W{number}")), SystemClock.now());
        self.upstream.list_silently(&key, now);
        assert!(self.upstream.delete(&key, now));
    }
}

fn hook(to: &Addresses, event: &str) -> String {
    format!("http://{}/hooks/repliers/{event}", to.hooks)
}

/// Offers a secret as the handshake does; the status, and what the answer repeats.
async fn offer(to: &Addresses, event: &str, secret: &str) -> (u16, Option<String>) {
    offer_at(&hook(to, event), secret).await
}

async fn offer_at(url: &str, secret: &str) -> (u16, Option<String>) {
    let request = plain_client().unwrap().post(url).header("x-hook-secret", secret);
    let answer = request.send().await.unwrap();
    let echoed = answer.headers().get("x-hook-secret").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), echoed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_brings_its_secret_outlives_a_crash_and_ends_by_command() {
    let scene = Scene::new().await;
    let mut daemon = scene.home.serve();
    let to = daemon.listening().await;
    assert_eq!(offer(&to, EVENT, OFFERED).await, (401, None), "nobody is subscribing");
    let (done, said) = scene.subscribe(&to, &[]);
    assert!(done, "{said}");
    assert!(said.contains("its secret is kept"), "{said}");
    assert!(scene.vault("listing.deleted.secret").exists());
    assert!(!scene.vault("listing.deleted.pending").exists());
    let listed = scene.list();
    assert_eq!(listed["subscriptions"][0]["event"], EVENT);
    assert_eq!(listed["secrets_kept"], serde_json::json!([EVENT]));

    // A stranger's offer after that, and one for another event, are worth nothing.
    assert_eq!(offer(&to, EVENT, FORGED).await, (401, None));
    assert_eq!(offer(&to, "listing.updated", FORGED).await, (401, None));
    let (done, said) = scene.subscribe(&to, &[]);
    assert!(!done && said.contains("never overwritten: unsubscribe first"), "{said}");

    scene.delete(1);
    scene.upstream.deliveries().settled().await;
    assert_eq!(scene.upstream.deliveries().counts().delivered, 1);
    let subscribed = hook(&to, EVENT);
    daemon.kill();

    let mut daemon = scene.home.serve();
    let to = daemon.listening().await;
    let client = plain_client().unwrap();
    assert_eq!(
        offer(&to, EVENT, OFFERED).await,
        (200, Some(OFFERED.to_owned())),
        "it is known after the crash"
    );
    let body = r#"{"data":{"boardId":2,"mlsNumber":"W2","updatedOn":"2024-06-01T00:00:00.000Z"}}"#;
    let request = || client.post(hook(&to, EVENT)).header("x-api-key", OFFERED).body(body);
    assert_eq!(request().send().await.unwrap().status(), 202, "the other header will do");
    let url = hook(&to, EVENT);
    let said = scene.home.succeed(&["send", "--source", "repliers", "--key", "2", "W3", "--url", &url]);
    assert!(said.contains("202"), "{said}");
    settled(&client, &daemon, &to).await;
    scene.home.assert_gone_exactly(&BTreeSet::from([1, 2, 3])).await;
    assert!(daemon.log().iter().all(|line| !line.contains(OFFERED)));

    let written = ["sources", "unsubscribe", "repliers", "--event", EVENT, "--url", &subscribed];
    let said = scene.home.succeed(&written);
    assert!(said.contains("is not sent any more; its secret is forgotten"), "{said}");
    assert_eq!(scene.list()["subscriptions"], serde_json::json!([]));
    until("the daemon to forget it", async || request().send().await.unwrap().status() == 401).await;
    let again = scene.home.run(&["sources", "unsubscribe", "repliers", "--event", EVENT]);
    assert_eq!(again.status.code(), Some(1), "there was nothing to end");
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_fails_leaves_neither_a_subscription_nor_a_secret() {
    let scene = Scene::new().await;
    let mut daemon = scene.home.serve();
    let to = daemon.listening().await;
    daemon.kill();
    let (done, said) = scene.subscribe(&to, &[]);
    assert!(!done && said.contains("is the daemon running"), "{said}");

    let mut daemon = scene.home.serve();
    let to = daemon.listening().await;
    for (status, said_so) in
        [(401, "the credential"), (400, "it does not take this request"), (500, "failed 1 times")]
    {
        let body = r#"{"error":"no"}"#.to_owned();
        scene.upstream.faults().script([Fault::Instead { status, headers: vec![], body }]);
        let (done, said) = scene.subscribe(&to, &[]);
        assert!(!done && said.contains(said_so), "{said}");
    }
    // An upstream that says yes and makes no handshake.
    let body = r#"{"id":438,"event":"listing.deleted","target_url":"x"}"#.to_owned();
    scene.upstream.faults().script([Fault::Instead { status: 200, headers: vec![], body }]);
    let (done, said) = scene.subscribe(&to, &["--wait", "1"]);
    assert!(!done && said.contains("no secret was offered within 1 s"), "{said}");
    assert_eq!(offer(&to, EVENT, OFFERED).await, (401, None));
    assert_eq!(scene.list()["subscriptions"], serde_json::json!([]));
    assert_eq!(scene.list()["secrets_kept"], serde_json::json!([]));

    let (done, said) = scene.subscribe(&to, &[]);
    assert!(done, "nothing is in the way: {said}");
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_may_come_after_the_answer_and_only_the_first_secret_counts() {
    let scene = Scene::new().await;
    let mut daemon = scene.home.serve();
    let to = daemon.listening().await;
    let body = r#"{"id":438,"event":"listing.deleted","target_url":"x"}"#.to_owned();
    scene.upstream.faults().script([Fault::Instead { status: 200, headers: vec![], body }]);
    let url = hook(&to, EVENT);
    let arguments = ["sources", "subscribe", "repliers", "--event", EVENT, "--url", &url];
    let mut command = scene.home.command(&arguments).spawn().unwrap();
    until("the command to wait", async || scene.vault("listing.deleted.pending").exists()).await;
    let pending = std::fs::read_to_string(scene.vault("listing.deleted.pending")).unwrap();
    let word = pending.split(' ').nth(1).unwrap();
    let told = |event: &str, word: &str| format!("{}?handshake={word}", hook(&to, event));
    for stranger in [hook(&to, EVENT), told(EVENT, "0"), told("listing.updated", word)] {
        assert_eq!(offer_at(&stranger, FORGED).await, (401, None), "{stranger}");
    }
    assert_eq!(offer_at(&told(EVENT, word), OFFERED).await, (200, Some(OFFERED.to_owned())));
    assert_eq!(offer_at(&told(EVENT, word), FORGED).await, (401, None));
    assert!(command.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(scene.vault("listing.deleted.secret")).unwrap(), OFFERED);
    let (status, _) = ask(&plain_client().unwrap(), &to, "/livez").await;
    assert_eq!(status, 200);
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_dies_leaves_a_door_that_its_successor_finds_shut_by_a_clock() {
    let scene = Scene::new().await;
    let mut daemon = scene.home.serve();
    let to = daemon.listening().await;
    // All that a command leaves when it is killed while it waits.
    Vault::beside(&scene.home.journal_file()).expect("repliers", EVENT, "word", SystemClock.now()).unwrap();
    let (done, said) = scene.subscribe(&to, &[]);
    assert!(!done && said.contains("is being made already"), "{said}");
    let over = format!("{} word", SystemClock.now().micros());
    std::fs::write(scene.vault("listing.deleted.pending"), over).unwrap();
    let told = format!("{}?handshake=word", hook(&to, EVENT));
    assert_eq!(offer_at(&told, OFFERED).await, (401, None), "its time is over");
    let (done, said) = scene.subscribe(&to, &[]);
    assert!(done, "{said}");
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_kept_is_not_overwritten_while_the_door_is_open_still() {
    let scene = Scene::new().await;
    let mut daemon = scene.home.serve();
    let to = daemon.listening().await;
    Vault::beside(&scene.home.journal_file()).expect("repliers", EVENT, "word", SystemClock.now()).unwrap();
    let known = (200, Some(OFFERED.to_owned()));
    let told = format!("{}?handshake=word", hook(&to, EVENT));
    assert_eq!(offer_at(&told, OFFERED).await, known);
    assert_eq!(offer_at(&told, FORGED).await, (401, None));
    assert_eq!(offer_at(&told, OFFERED).await, known, "an upstream may say it again");
    assert_eq!(std::fs::read_to_string(scene.vault("listing.deleted.secret")).unwrap(), OFFERED);
    daemon.kill();
}
