//! A bad day, rehearsed: the sandbox as a process with a fault plan, the daemon as another, and in the end the truth.

use std::collections::BTreeSet;
use std::net::TcpListener;

use expunged::sources::http::plain_client;

use crate::support::crash::{Daemon, Home, Setup, settled, until};
use crate::support::secrets::{SANDBOX_API_KEY, SANDBOX_HOOK_SECRET};

/// Everything that a plan can do, in one.
const PLAN: &str = r#"
[[answers]]
system = "repliers"
every = 3
fault = "status"
status = 503
retry_after = "1"

[[answers]]
system = "repliers"
every = 5
fault = "truncated"

[[answers]]
system = "repliers"
every = 7
fault = "slow"
seconds = 0.1

[[webhooks]]
system = "repliers"
every = 3
fault = "lost"

[[webhooks]]
system = "repliers"
every = 4
fault = "duplicated"

[[webhooks]]
system = "repliers"
every = 5
fault = "reordered"
"#;

const LISTINGS: u32 = 40;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_day_ends_with_everything_gone_that_must_go() {
    let port = free_port();
    let more = format!(
        r#"
[sources.repliers]
preset = "repliers"
base_url = "http://127.0.0.1:{port}"
secret = {{ file = "{{folder}}/repliers.secret" }}
api_key = {{ file = "{{folder}}/api.key" }}
feed.schedule = false
"#
    );
    let home = Home::new(Setup { listings: LISTINGS, more, ..Setup::default() }).await;
    std::fs::write(home.path("repliers.secret"), SANDBOX_HOOK_SECRET).unwrap();
    std::fs::write(home.path("api.key"), SANDBOX_API_KEY).unwrap();
    std::fs::write(home.path("plan.toml"), PLAN).unwrap();
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let (listen, hooks) = (format!("127.0.0.1:{port}"), format!("http://{}", to.hooks));
    let plan = home.path("plan.toml");
    let listings = LISTINGS.to_string();
    let arguments = [
        "sandbox",
        "--listen",
        &listen,
        "--hooks",
        &hooks,
        "--listings",
        &listings,
        "--every",
        "0.005",
        "--seed",
        "7",
        "--lose",
        "0",
        "--faults",
        plan.to_str().unwrap(),
    ];
    let sandbox = Daemon::spawn(home.command(&arguments));

    // Webhooks bring most of it; what was lost, the feed brings, through errors and cut answers.
    until("most of it to be heard", async || home.journal().heard().len() >= 20).await;
    until("the feed to have it all", async || {
        let run = home.run(&["reconcile", "--source", "repliers"]);
        assert!(run.status.success(), "{run:?}");
        home.journal().heard().len() == LISTINGS as usize
    })
    .await;
    settled(&plain_client().unwrap(), &daemon, &to).await;
    home.assert_gone_exactly(&(1..=LISTINGS).collect::<BTreeSet<u32>>()).await;
    sandbox.kill();
    daemon.kill();
}

#[tokio::test]
async fn a_plan_that_cannot_be_followed_ends_the_sandbox_at_once() {
    let home = Home::new(Setup { listings: 1, ..Setup::default() }).await;
    std::fs::write(
        home.path("plan.toml"),
        "[[answers]]\nsystem = \"replier\"\nevery = 2\nfault = \"slow\"\n",
    )
    .unwrap();
    let plan = home.path("plan.toml");
    let output = home.run(&["sandbox", "--listen", "127.0.0.1:0", "--faults", plan.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("there is no system \"replier\": there is hookbridge, repliers, leadlex"),
        "{said}"
    );
}
