//! A bad day, rehearsed: the sandbox as a process with a fault plan, the daemon as another, and in the end the truth.

use std::collections::BTreeSet;

use expunged::sources::http::plain_client;

use super::hookbridge::SENDER;
use super::leadlex::{DEALS, count, seed};
use crate::support::crash::{Daemon, Home, Setup, settled, until};
use crate::support::secrets::{
    self, SANDBOX_API_KEY, SANDBOX_HOOK_SECRET, SANDBOX_HOOKBRIDGE_SECRET, SANDBOX_LEADLEX_SECRET,
};
use crate::support::servers::free_port;

/// Everything that a plan can do, to every system that it can be done to.
const PLAN: &str = r#"
answers = [
    { system = "repliers", every = 3, fault = "status", status = 503, retry_after = "1" },
    { system = "repliers", every = 5, fault = "truncated" },
    { system = "repliers", every = 7, fault = "slow", seconds = 0.1 },
    { system = "repliers", every = 11, fault = "garbage" },
    { system = "hookbridge", every = 4, fault = "truncated" },
    { system = "hookbridge", every = 7, fault = "status" },
    { system = "leadlex", every = 3, fault = "status", status = 429, retry_after = "1" },
    { system = "calmyx", every = 3, fault = "truncated" },
    { system = "calmyx", every = 4, fault = "status" },
    { system = "talkdesk", every = 3, fault = "slow", seconds = 0.1 },
    { system = "talkdesk", every = 4, fault = "truncated" },
]
webhooks = [
    { system = "repliers", every = 3, fault = "lost" },
    { system = "repliers", every = 4, fault = "duplicated" },
    { system = "repliers", every = 5, fault = "reordered" },
    { system = "leadlex", every = 3, fault = "duplicated" },
    { system = "leadlex", every = 7, fault = "reordered" },
    { system = "hookbridge", every = 3, fault = "duplicated" },
    { system = "hookbridge", every = 8, fault = "reordered" },
]
"#;

/// All of the sandbox, by the presets alone; its pull endpoint is the first thing that it makes.
const SYSTEMS: &str = r#"
[sources.repliers]
preset = "repliers"
base_url = "BASE"
secret = { file = "{folder}/repliers.secret" }
api_key = { file = "{folder}/api.key" }
feed.schedule = false

[sources.leadlex]
preset = "leadlex"
secret = { file = "{folder}/leadlex.secret" }

[sources.leadlex.pull]
preset = "hookbridge"
base_url = "BASE"
endpoints = ["01935abc-def0-7000-8000-000000000001"]
api_key = { file = "{folder}/api.key" }
every = "1s"

[targets.calmyx]
preset = "calmyx"
base_url = "BASE"
api_key = { file = "{folder}/api.key" }
entities.listing = { id = "{1}" }

[targets.leadlex]
preset = "leadlex"
base_url = "BASE"
api_key = { file = "{folder}/api.key" }
entities.deal = {}

[targets.talkdesk]
preset = "talkdesk"
base_url = "BASE"
api_key = { file = "{folder}/api.key" }
auth.client_id = "sandbox-client"
auth.token_url = "/oauth/token"
entities.deal = { id = "{0}", params = { record_list_id = "sandbox-list" } }

[sources.hookbridge]
secret = { file = "{folder}/hookbridge.secret" }
"#;

const LISTINGS: u32 = 40;

/// Numbers of the records that the journal has heard of: of an entity, from a source.
fn heard(home: &Home, by: &str, name: &str) -> BTreeSet<u32> {
    home.journal().notices(by).filter(|(of, _)| *of == name).map(|(_, number)| number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_day_ends_with_everything_gone_that_must_go() {
    let (port, listings) = (free_port(), LISTINGS.to_string());
    let systems = SYSTEMS.replace("BASE", &format!("http://127.0.0.1:{port}"));
    let more = [systems.as_str(), SENDER, DEALS].concat();
    let home = Home::new(Setup { listings: LISTINGS, more, ..Setup::default() }).await;
    for (file, text) in [
        ("repliers.secret", SANDBOX_HOOK_SECRET),
        ("leadlex.secret", SANDBOX_LEADLEX_SECRET),
        ("hookbridge.secret", SANDBOX_HOOKBRIDGE_SECRET),
        ("api.key", SANDBOX_API_KEY),
        ("plan.toml", PLAN),
    ] {
        std::fs::write(home.path(file), text).unwrap();
    }
    let deals: Vec<String> = (1..=LISTINGS).map(|number| format!("deal-{number}")).collect();
    seed(&home.path(""), &deals).await;
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    let (listen, hooks) = (format!("127.0.0.1:{port}"), format!("http://{}", to.hooks));
    let plan = home.path("plan.toml");
    let options = ["--listen", &listen, "--hooks", &hooks, "--listings", &listings, "--every", "0.005"];
    let more = ["--seed", "7", "--lose", "0", "--faults", plan.to_str().unwrap()];
    let sandbox = Daemon::spawn(home.command(&[&["sandbox"], &options[..], &more[..]].concat()));

    // Webhooks bring most of it; what was lost, the feed brings, through errors and cut answers.
    let all: BTreeSet<u32> = (1..=LISTINGS).collect();
    until("most of it to be heard", async || heard(&home, "entity", "listing").len() >= 20).await;
    until("the feed to have it all", async || {
        let run = home.run(&["reconcile", "--source", "repliers"]);
        assert!(run.status.success(), "{run:?}");
        heard(&home, "entity", "listing") == all
    })
    .await;
    // Their webhooks are sent until they arrive, the last one too, which was to wait for a next one.
    for source in ["leadlex", "hookbridge"] {
        until(source, async || heard(&home, "source", source) == all).await;
    }
    // The daemon was there before the sandbox, and looks again after a while.
    let doors = BTreeSet::from(["webhook", "feed", "pull"]);
    until("all doors to be used", async || {
        home.journal().notices("door").map(|(door, _)| door).collect::<BTreeSet<&str>>() == doors
    })
    .await;
    settled(&plain_client().unwrap(), &daemon, &to).await;

    for left in ["listings", "images", "bookings WHERE listing_id > 0", "deals", "notes WHERE deal_id > ''"] {
        let query = format!("SELECT count(*) FROM {left}");
        assert_eq!(count(&home.path(""), &query).await, 0, "{left}");
    }
    let journal = home.journal();
    for target in ["search", "calmyx", "leadlex", "talkdesk"] {
        let outcomes = journal.outcomes(target);
        assert_eq!(outcomes.keys().copied().collect::<BTreeSet<_>>(), all, "{target}");
        // What LeadLex tells of is gone there. A push is another source's word for the same, a moment later, so that
        // a deal may be asked for twice; it is claimed once.
        let expected: &[&str] =
            if target == "leadlex" { &["not_found"] } else { &["deleted", "already_deleted"] };
        for (number, ends) in outcomes {
            assert!(ends.iter().all(|end| expected.contains(&end.as_str())), "{target}: {number}: {ends:?}");
            let claimed = ends.iter().filter(|end| *end == "deleted").count();
            assert!(claimed <= 1, "{target}: {number}: {ends:?}");
        }
    }
    assert_eq!(secrets::named_in(&daemon.log().join("\n")), None, "it is in the log");
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
