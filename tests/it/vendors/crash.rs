//! The daemon as a process, killed while a vendor has its request and before it has the answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use expunged::clock::SystemClock;
use expunged::config::Secret;
use expunged::sandbox::calmyx::CalmyxSettings;
use expunged::sandbox::leadlex::LeadLexSettings;
use expunged::sandbox::talkdesk::TalkdeskSettings;
use expunged::sandbox::{Calmyx, Fault, LeadLex, Simulator, Talkdesk};
use expunged::sources::http::plain_client;

use super::record;
use crate::support::crash::home::SECRET;
use crate::support::crash::{Daemon, Home, Setup, deletion, post, settled, until};
use crate::support::mirror::serve;
use crate::support::secrets;

/// The deed is done, and its answer never comes.
fn silence() -> Fault {
    Fault::Drip { pieces: 1, pause: Duration::from_hours(1) }
}

/// What a home's daemon needs for a vendor; its secret is the source's too.
pub fn target(preset: &str, base: &str, more: &str) -> String {
    format!(
        "[targets.{preset}]\npreset = \"{preset}\"\nbase_url = \"{base}\"\nrate_per_second = 1000\n\
         api_key = {{ file = \"{{folder}}/board.secret\" }}\n{more}\n"
    )
}

pub async fn hear(daemon: &mut Daemon, numbers: &[u32]) {
    let to = daemon.listening().await;
    let answer = post(&plain_client().unwrap(), &to, deletion(numbers)).await.unwrap();
    assert_eq!(answer.status(), 202);
}

/// Kills a daemon once `reached`, lets another one finish, and gives back what the journal tells then.
async fn killed(home: &Home, vendor: &str, numbers: &[u32], reached: impl Fn() -> bool) -> BTreeSet<String> {
    let mut daemon = home.serve();
    hear(&mut daemon, numbers).await;
    until("the vendor to have the request", async || reached()).await;
    let first = daemon.log();
    daemon.kill();
    let mut daemon = home.serve();
    let to = daemon.listening().await;
    settled(&plain_client().unwrap(), &daemon, &to).await;
    let log = [first, daemon.log()].concat().join("\n");
    assert_eq!(secrets::named_in(&log), None, "it is in the log");
    let journal = home.journal();
    journal.assert_every_step_has_its_cause();
    let ends = journal.ends(vendor);
    assert_eq!(ends.keys().copied().collect::<BTreeSet<_>>(), numbers.iter().copied().collect());
    ends.into_values().collect()
}

pub async fn home_with(more: String) -> Home {
    Home::new(Setup { listings: 50, more, ..Setup::default() }).await
}

const NUMBERS: [u32; 4] = [3, 5, 7, 11];

pub fn id(number: u32) -> String {
    format!("W{number}")
}

#[tokio::test]
async fn i8_leadlex_gets_the_same_key_for_the_same_request_from_the_next_process() {
    let settings = LeadLexSettings::documented(Secret::new(SECRET));
    let leadlex = LeadLex::new(settings, Arc::new(SystemClock)).unwrap();
    for number in &NUMBERS {
        leadlex.add(&id(*number), "a deal");
    }
    let base = serve(vec![leadlex.clone() as Arc<dyn Simulator>]).await;
    // The brake counts the deals first.
    leadlex.faults().script([Fault::Pass, silence()]);
    let home = home_with(target("leadlex", &base, "entities.listing = { id = \"{1}\" }")).await;
    let told = killed(&home, "leadlex", &NUMBERS, || leadlex.bulk_requests().len() == 1).await;
    let requests = leadlex.bulk_requests();
    assert_eq!((requests.len(), &requests[0]), (2, &requests[1]));
    assert!(requests[0].idempotency_key.is_some());
    assert_eq!(told, BTreeSet::from(["deleted".to_owned()]), "the vendor's first answer, told again");
    assert!(leadlex.deals().is_empty());
}

#[tokio::test]
async fn i8_calmyx_is_asked_again_and_what_the_crash_hid_is_told_as_gone() {
    let settings = CalmyxSettings::documented(Secret::new(SECRET), 100);
    let calmyx = Calmyx::new(settings, Arc::new(SystemClock));
    for number in &NUMBERS {
        calmyx.add(&id(*number));
    }
    let base = serve(vec![calmyx.clone() as Arc<dyn Simulator>]).await;
    // The brake's count reads the quota along.
    calmyx.faults().script([Fault::Pass, silence()]);
    let home = home_with(target("calmyx", &base, "entities.listing = { id = \"{1}\" }")).await;
    let told = killed(&home, "calmyx", &NUMBERS, || calmyx.batches().len() == 1).await;
    assert_eq!(told, BTreeSet::from(["already_deleted".to_owned()]));
    assert_eq!((calmyx.deletions(), calmyx.batches().len()), (4, 2));
}

#[tokio::test]
async fn i8_i10_talkdesk_is_asked_again_and_no_phone_number_is_in_any_log() {
    let settings = TalkdeskSettings::documented("client", Secret::new(SECRET), "7");
    let talkdesk = Talkdesk::new(settings, Arc::new(SystemClock));
    for number in &NUMBERS {
        talkdesk.add(&id(*number), record(&id(*number)));
    }
    let base = serve(vec![talkdesk.clone() as Arc<dyn Simulator>]).await;
    // A token comes first.
    talkdesk.faults().script([Fault::Pass, silence()]);
    let more = "auth.client_id = \"client\"\nauth.token_url = \"/oauth/token\"\n\
                entities.listing = { kind = \"phone_number\", id = \"+49301234{1}\", params = { record_list_id = \"7\" } }";
    let home = home_with(target("talkdesk", &base, more)).await;
    let told = killed(&home, "talkdesk", &NUMBERS, || talkdesk.bulks().len() == 1).await;
    assert_eq!(told, BTreeSet::from(["already_deleted".to_owned()]));
    assert!(talkdesk.records().is_empty());
}
