//! What every target must hold, whatever it is made of: one suite over `dyn Target`, run over vendors' APIs,
//! databases and an index alike.
//!
//! - idempotent: the same batch again changes nothing, and claims nothing a second time (I2, I8);
//! - per id: one effect for each removal, in order; what was there and is gone is `Removed` or, where the target
//!   can't tell which, `Gone`; `Removed` is claimed of nothing else, and `Absent` of nothing that was there (I8);
//! - limits: no request is larger than the target takes;
//! - weighing deletes nothing, and never takes what is there for nothing (I5).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use expunged::clock::Clock as _;
use expunged::config::Secret;
use expunged::config::target::{OnDelete, Table};
use expunged::domain::{Action, Entity, Key, Timestamp};
use expunged::sandbox::calmyx::CalmyxSettings;
use expunged::sandbox::{Calmyx, LeadLex, Talkdesk};
use expunged::targets::{Batch, Effect, Removal, Target};

use super::{
    API_KEY, BY_NUMBER, World, calmyx_at, keys, leadlex_at, numbers, record, record_list, talkdesk_at, vendor,
};
use crate::sql::{Bench, Database, child, guarded};
use crate::support::mirror;

/// A target and what lies behind it.
#[async_trait]
pub trait Subject: Send + Sync {
    fn target(&self) -> &dyn Target;

    /// Puts listings there before anything is asked.
    async fn put(&self, numbers: &[String]);

    /// Listings that are there.
    async fn left(&self) -> BTreeSet<String>;

    /// The largest request so far and the largest that is taken; `None` where there are no requests.
    fn largest(&self) -> Option<(usize, usize)> {
        None
    }
}

fn batch(number: i64, numbers: &[String], world: &World) -> Batch {
    let at = world.clock.now();
    let removal = |key: Key| Removal { entity: Entity::new("listing"), key, action: Action::Delete, at };
    Batch { number, removals: keys(numbers).into_iter().map(removal).collect() }
}

/// Every promise of the contract, over 250 records of which 10 are not there and 50 stay.
pub async fn holds(subject: &dyn Subject, world: &World) {
    let (target, all) = (subject.target(), numbers(0..300));
    subject.put(&all[10..]).await;
    let doomed = batch(1, &all[..250], world);

    let weights = target.weigh(&doomed.removals).await.unwrap();
    assert_eq!(weights.len(), 250);
    assert!(weights[10..].iter().all(|rows| *rows > 0), "what is there weighs something");
    assert_eq!(subject.left().await.len(), 290, "weighing deletes nothing");
    for foreseen in &target.foresee(&doomed.removals).await.unwrap()[..10] {
        let claims = matches!(foreseen.effect, Effect::Removed { .. } | Effect::Deactivated);
        assert!(!claims, "nothing is foreseen to go that is not there: {foreseen:?}");
    }
    assert_eq!(subject.left().await.len(), 290, "nor does foreseeing");
    let mirrored = target.mirrored(&Entity::new("listing")).await.unwrap();
    assert!(mirrored == 0 || mirrored >= 290, "counted, or said to be unknown: {mirrored}");
    assert_eq!(target.mirrored(&Entity::new("stranger")).await, Ok(0));

    let effects = target.apply(&doomed).await.unwrap();
    assert_eq!(effects.len(), 250);
    assert_eq!(subject.left().await, all[250..].iter().cloned().collect(), "these stay, and nothing else");
    let (absent, gone) = effects.split_at(10);
    assert!(absent.iter().all(|it| matches!(it, Effect::Absent | Effect::Gone)), "{absent:?}");
    assert!(gone.iter().all(|it| matches!(it, Effect::Removed { rows: 1.. } | Effect::Gone)), "{gone:?}");
    assert!(gone.iter().filter(|it| **it != Effect::Gone).count() >= 100, "whole requests are proven");

    for number in [1, 2] {
        let again = target.apply(&Batch { number, ..doomed.clone() }).await.unwrap();
        let replayed = number == 1 && again == effects;
        let nothing = again.iter().all(|it| matches!(it, Effect::Absent | Effect::Gone));
        assert!(nothing || replayed, "as batch {number}: {again:?}");
        assert_eq!(subject.left().await.len(), 50);
    }
    assert_eq!(target.apply(&batch(3, &[], world)).await, Ok(vec![]));

    let stranger = Removal { entity: Entity::new("stranger"), ..doomed.removals[0].clone() };
    let mixed =
        Batch { number: 4, removals: vec![stranger, batch(4, &all[250..251], world).removals.remove(0)] };
    let effects = target.apply(&mixed).await.unwrap();
    assert!(matches!(&effects[0], Effect::Failed(failure) if !failure.retry), "{effects:?}");
    assert!(
        matches!(effects[1], Effect::Removed { rows: 1.. }),
        "one bad record stops no other: {effects:?}"
    );
    if let Some((largest, max)) = subject.largest() {
        assert!(largest <= max, "{largest} of {max}");
    }
}

struct AtCalmyx(Arc<dyn Target>, Arc<Calmyx>);

#[async_trait]
impl Subject for AtCalmyx {
    fn target(&self) -> &dyn Target {
        &*self.0
    }

    async fn put(&self, numbers: &[String]) {
        for number in numbers {
            self.1.add(number);
        }
    }

    async fn left(&self) -> BTreeSet<String> {
        self.1.listings()
    }

    fn largest(&self) -> Option<(usize, usize)> {
        Some((self.1.batches().iter().map(Vec::len).max()?, 100))
    }
}

struct AtLeadLex(Arc<dyn Target>, Arc<LeadLex>);

#[async_trait]
impl Subject for AtLeadLex {
    fn target(&self) -> &dyn Target {
        &*self.0
    }

    async fn put(&self, numbers: &[String]) {
        for number in numbers {
            self.1.add(number, "a deal");
        }
    }

    async fn left(&self) -> BTreeSet<String> {
        self.1.deals().into_iter().collect()
    }

    fn largest(&self) -> Option<(usize, usize)> {
        Some((self.1.bulk_requests().iter().map(|request| request.ids.len()).max()?, 500))
    }
}

struct AtTalkdesk(Arc<dyn Target>, Arc<Talkdesk>);

#[async_trait]
impl Subject for AtTalkdesk {
    fn target(&self) -> &dyn Target {
        &*self.0
    }

    async fn put(&self, numbers: &[String]) {
        for number in numbers {
            self.1.add(number, record(number));
        }
    }

    async fn left(&self) -> BTreeSet<String> {
        self.1.records().into_iter().collect()
    }

    fn largest(&self) -> Option<(usize, usize)> {
        Some((self.1.bulks().into_iter().max()?, 100))
    }
}

#[tokio::test]
async fn the_vendors_presets_hold_the_contract() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(CalmyxSettings::enterprise(Secret::new(API_KEY)), &world).await;
    let target = world.target(&vendor("calmyx", &base, BY_NUMBER)).await;
    holds(&AtCalmyx(target, calmyx), &world).await;

    for names_missing in [true, false] {
        let world = World::new();
        let (leadlex, base) = leadlex_at(|settings| settings.names_missing = names_missing, &world).await;
        let lines = format!("limit = 100\n{BY_NUMBER}");
        let target = world.target(&vendor("leadlex", &base, &lines)).await;
        holds(&AtLeadLex(target, leadlex), &world).await;
    }

    for entity in ["id = \"{1}\"", "kind = \"phone_number\", id = \"+49301234{1}\"", "kind = \"external\""] {
        let world = World::new();
        let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
        let target = world.target(&vendor("talkdesk", &base, &record_list(entity))).await;
        holds(&AtTalkdesk(target, talkdesk), &world).await;
    }
}

/// A replica whose listings have two images each, one of which goes by the database's own foreign key.
struct AtDatabase(Bench);

impl AtDatabase {
    async fn new(database: Database) -> Self {
        let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, board INTEGER, mls {key}, updated_at {time}, UNIQUE(board, mls));
            CREATE TABLE images(n INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));
            CREATE INDEX images_of ON images(listing_id);
            CREATE TABLE plans(n INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id) ON DELETE CASCADE);
            CREATE INDEX plans_of ON plans(listing_id);";
        let children = vec![child("images", "listing_id", OnDelete::Delete)];
        let table = Table { children, ..guarded(&["board", "mls"], None) };
        Self(Bench::new(database, schema, table).await)
    }
}

#[async_trait]
impl Subject for AtDatabase {
    fn target(&self) -> &dyn Target {
        &self.0.target
    }

    async fn put(&self, numbers: &[String]) {
        let listing =
            |(id, number): (usize, &String)| format!("({id}, 2, '{number}', '2020-01-01T00:00:00Z')");
        let listings: Vec<String> = numbers.iter().enumerate().map(listing).collect();
        let below: Vec<String> = (0..numbers.len()).map(|id| format!("({id}, {id})")).collect();
        let (listings, below) = (listings.join(", "), below.join(", "));
        for (table, rows) in [("listings", &listings), ("images", &below), ("plans", &below)] {
            self.0.sql(&format!("INSERT INTO {table} VALUES {rows}")).await;
        }
    }

    async fn left(&self) -> BTreeSet<String> {
        self.0.lines("SELECT mls FROM listings").await.into_iter().collect()
    }
}

crate::sql::on_every_database!(a_database_holds_the_contract);

async fn a_database_holds_the_contract(database: Database) {
    let replica = AtDatabase::new(database).await;
    holds(&replica, &World::new()).await;
    let left = "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM plans)";
    // One more listing goes with the batch in which a record fails.
    assert_eq!(replica.0.lines(left).await, ["49|49"], "what belongs to them went with them");
}

struct AtIndex<'a>(Arc<dyn Target>, &'a Path);

#[async_trait]
impl Subject for AtIndex<'_> {
    fn target(&self) -> &dyn Target {
        &*self.0
    }

    /// Seeded with the folder, since an index has one writer.
    async fn put(&self, _: &[String]) {}

    async fn left(&self) -> BTreeSet<String> {
        mirror::documents(self.1).iter().map(|id| id.trim_start_matches("2:").to_owned()).collect()
    }
}

#[tokio::test]
async fn an_index_holds_the_contract() {
    let world = World::new();
    let folder = world.folder.path();
    let old = world.clock.now().minus(std::time::Duration::from_hours(1));
    let rows: Vec<(String, Timestamp)> = numbers(10..300).into_iter().map(|number| (number, old)).collect();
    mirror::seed(folder, &rows, &[]).await;
    let config = mirror::config(folder, "http://127.0.0.1:9", "[brake]\nmode = \"off\"", "");
    let rig = crate::support::rig::Rig::open(config, world.clock.clone()).await;
    let index = rig.targets.iter().find(|target| target.name() == "search").unwrap();
    holds(&AtIndex(index.clone(), folder), &world).await;
}
