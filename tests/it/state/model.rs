//! What folding makes of notices, decisions and settlements in any order, against a model of a few lines.

use std::collections::BTreeMap;

use expunged::domain::event::{Decided, Fact, Failure, Settled, Settlement, Topology};
use expunged::domain::{Action, Entity, Event, Key, Outcome, Seq, Timestamp};
use expunged::fold;
use expunged::store::{Draft, SharedStore};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{open, told};
use crate::support::rig::{listing, notice};

const KEYS: usize = 4;
/// The first takes deactivations, the other none.
const TARGETS: [&str; 2] = ["a", "b"];
const TOLD: [Action; 4] = [Action::Delete, Action::Delete, Action::Deactivate, Action::Relisted];

#[derive(Clone, Debug)]
enum Happens {
    Told {
        key: usize,
        action: Action,
    },
    /// The brake lets go what awaits it, and is late for something that was overtaken.
    Released,
    Settled {
        target: usize,
        results: Vec<Result>,
    },
    Folded,
}

#[derive(Clone, Debug)]
struct Result {
    key: usize,
    /// Of the record's causes, how far back from the newest.
    back: usize,
    what: Came,
}

#[derive(Clone, Copy, Debug)]
enum Came {
    To(Outcome),
    Failed { again: bool, in_doubt: bool },
}

fn happens() -> impl Strategy<Value = Happens> {
    let outcome = prop::sample::select(vec![
        Outcome::Deleted,
        Outcome::AlreadyDeleted,
        Outcome::NotFound,
        Outcome::Superseded,
    ]);
    let came = prop_oneof![
        outcome.prop_map(Came::To),
        any::<(bool, bool)>().prop_map(|(again, in_doubt)| Came::Failed { again, in_doubt }),
    ];
    let result = (0..KEYS, 0..2_usize, came).prop_map(|(key, back, what)| Result { key, back, what });
    prop_oneof![
        3 => (0..KEYS, prop::sample::select(TOLD.to_vec())).prop_map(|(key, action)| Happens::Told { key, action }),
        2 => Just(Happens::Released),
        3 => (0..TARGETS.len(), prop::collection::vec(result, 1..4))
            .prop_map(|(target, results)| Happens::Settled { target, results }),
        1 => Just(Happens::Folded),
    ]
}

/// A record at a target.
#[derive(Clone, Debug, PartialEq)]
struct Task {
    state: &'static str,
    cause: Seq,
    attempts: u32,
    outcome: Option<Outcome>,
    settled: Option<Seq>,
}

#[derive(Clone, Default)]
struct Record {
    /// Action and entry of each fact, the newest last; the number of the first is the tombstone's.
    facts: Vec<(Action, Seq)>,
    awaits: bool,
    tasks: [Option<Task>; TARGETS.len()],
    /// Whether a deletion was, or may have been, carried out there.
    removed: [bool; TARGETS.len()],
}

#[derive(Default)]
struct Model {
    records: [Record; KEYS],
    /// Keys in the order in which they were first heard of.
    heard: Vec<usize>,
}

impl Model {
    fn id(&self, key: usize) -> i64 {
        i64::try_from(self.heard.iter().position(|it| *it == key).unwrap()).unwrap() + 1
    }

    fn told(&mut self, key: usize, action: Action, seq: Seq) {
        if !self.heard.contains(&key) {
            self.heard.push(key);
        }
        let record = &mut self.records[key];
        let before = record.facts.last().map(|(action, _)| *action);
        record.facts.push((action, seq));
        record.awaits = action != Action::Relisted;
        if action == Action::Delete || before == Some(action) {
            return;
        }
        for task in record.tasks.iter_mut().flatten().filter(|task| task.state != "done") {
            let superseded = Some(Outcome::Superseded);
            *task = Task { state: "done", outcome: superseded, settled: Some(seq), ..task.clone() };
        }
    }

    fn released(&mut self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for key in 0..KEYS {
            let record = &self.records[key];
            let Some(&(action, cause)) = record.facts.last() else { continue };
            let id = self.id(key);
            facts.extend(record.facts.iter().rev().nth(1).map(|(_, overtaken)| Fact(id, *overtaken)));
            if !record.awaits {
                continue;
            }
            facts.push(Fact(id, cause));
            let record = &mut self.records[key];
            record.awaits = false;
            for (target, task) in record.tasks.iter_mut().enumerate() {
                if action == Action::Delete || target == 0 {
                    *task = Some(Task { state: "due", cause, attempts: 0, outcome: None, settled: None });
                }
            }
        }
        // One fact of a record in a decision: the last one is the one that counts.
        facts
    }

    fn settled(&mut self, target: usize, seq: Seq, key: usize, cause: Seq, came: Came) {
        let record = &mut self.records[key];
        let Some(task) = &mut record.tasks[target] else { return };
        let (waits, meant) = (task.state == "due", task.cause == cause);
        match came {
            Came::Failed { again, in_doubt } => {
                record.removed[target] |= in_doubt;
                if waits && meant {
                    let (state, outcome) = (if again { "due" } else { "parked" }, Some(Outcome::Failed));
                    let attempts = task.attempts + 1;
                    *task = Task { state, cause, attempts, outcome, settled: Some(seq) };
                }
            }
            Came::To(outcome) => {
                record.removed[target] |= matches!(outcome, Outcome::Deleted | Outcome::AlreadyDeleted);
                if meant {
                    *task =
                        Task { state: "done", outcome: Some(outcome), settled: Some(seq), ..task.clone() };
                }
            }
        }
    }
}

fn key(number: usize) -> Key {
    listing(number.to_string())
}

fn settlement(fact: Fact, number: usize, came: Came) -> Settlement {
    let (outcome, failure) = match came {
        Came::To(outcome) => (outcome, None),
        Came::Failed { again, in_doubt } => {
            let retry_at = again.then(|| Timestamp::from_seconds(1));
            let (code, message) = ("lock".to_owned(), "locked".to_owned());
            (Outcome::Failed, Some(Failure { code, message, retry_at, in_doubt }))
        }
    };
    Settlement { fact, entity: Entity::new("listing"), key: key(number), outcome, rows: 0, failure }
}

async fn append(store: &SharedStore, seq: Seq, event: Event) {
    let draft = Draft { at: Timestamp::from_seconds(seq), event, body: None };
    assert_eq!(store.append(vec![draft]).await.unwrap(), [seq]);
}

async fn agrees(all: Vec<Happens>) -> std::result::Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let entities = |deactivates| BTreeMap::from([(Entity::new("listing"), deactivates)]);
    let targets = TARGETS.map(|target| (target.to_owned(), entities(target == "a"))).into();
    append(&store, 1, Event::Configured(Topology { targets, ..Topology::default() })).await;
    let mut model = Model::default();
    let mut seq = 1;
    for one in all {
        seq += 1;
        let event = match one {
            Happens::Told { key, action } => {
                model.told(key, action, seq);
                told(notice(&self::key(key), action, Timestamp::from_seconds(seq)))
            }
            Happens::Released => Event::Decided(Decided { released: model.released(), ..Decided::default() }),
            Happens::Settled { target, results } => {
                let mut settled: BTreeMap<usize, Settlement> = BTreeMap::new();
                for Result { key, back, what } in results {
                    let causes = &model.records[key].facts;
                    // Not yet heard of, or twice in one batch: no batch is so.
                    let Some(&(_, cause)) = causes.iter().rev().nth(back) else { continue };
                    if settled.contains_key(&key) {
                        continue;
                    }
                    settled.insert(key, settlement(Fact(model.id(key), cause), key, what));
                    model.settled(target, seq, key, cause, what);
                }
                let results = settled.into_values().collect();
                Event::Settled(Settled { target: TARGETS[target].to_owned(), batch: 0, results })
            }
            Happens::Folded => {
                seq -= 1;
                fold::catch_up(&store).await.unwrap();
                continue;
            }
        };
        append(&store, seq, event).await;
    }
    fold::catch_up(&store).await.unwrap();
    for (number, record) in model.records.iter().enumerate().filter(|(_, record)| !record.facts.is_empty()) {
        let known = store.story(&Entity::new("listing"), &key(number)).await.unwrap().unwrap();
        for (place, target) in TARGETS.iter().enumerate() {
            let task = known.tasks.iter().find(|task| task.target == *target);
            let task = task.map(|it| (it.state.as_str(), it.cause, it.attempts, it.outcome, it.settled));
            let expected = record.tasks[place].as_ref();
            let expected = expected.map(|it| (it.state, it.cause, it.attempts, it.outcome, it.settled));
            prop_assert_eq!(task, expected, "record {} at {}", number, target);
        }
    }
    for (place, target) in TARGETS.iter().enumerate() {
        let due = store.due(target, None, Timestamp::from_seconds(seq), 99).await.unwrap();
        let due: Vec<_> = due.iter().map(|task| (task.key.clone(), task.fact.1, task.removed)).collect();
        let waits = |(number, record): (usize, &Record)| {
            let task = record.tasks[place].as_ref().filter(|task| task.state == "due")?;
            Some((key(number), task.cause, record.removed[place]))
        };
        let expected: Vec<_> = model.records.iter().enumerate().filter_map(waits).collect();
        prop_assert_eq!(due, expected, "what is due at {}", target);
    }
    Ok(())
}

#[test]
fn i2_i3_i8_what_waits_and_what_came_of_it_is_what_a_model_says_in_any_order_of_events() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let happened = prop::collection::vec(happens(), 1..40);
    TestRunner::new(config).run(&happened, |all| runtime.block_on(agrees(all))).unwrap();
}
