//! The journal as an auditor reads it: the exported lines, without the program's own types.

#![allow(clippy::unwrap_used, reason = "support of tests")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub struct Journal {
    entries: BTreeMap<i64, (String, Value)>,
}

impl Journal {
    pub fn parse(exported: &str) -> Self {
        let entries = exported.lines().map(|line| {
            let mut entry: Value = serde_json::from_str(line).unwrap();
            let kind = entry["kind"].as_str().unwrap().to_owned();
            (entry["seq"].as_i64().unwrap(), (kind, entry["body"].take()))
        });
        Self { entries: entries.collect() }
    }

    /// Entries of one kind, oldest first.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (i64, &'a Value)> {
        self.entries.iter().filter(move |(_, (of, _))| of == kind).map(|(seq, (_, body))| (*seq, body))
    }

    /// The listings that entry `seq` heard of; none if it heard of nothing.
    pub fn heard_at(&self, seq: i64) -> Vec<u32> {
        let heard = self.entries.get(&seq).filter(|(kind, _)| kind == "heard");
        heard.map_or(vec![], |(_, body)| {
            body["notices"].as_array().unwrap().iter().map(|notice| number(&notice["key"])).collect()
        })
    }

    /// Numbers of all that was heard, and of what: by the entry's source or door, or by the entity.
    pub fn notices<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, u32)> {
        self.of_kind("heard").flat_map(move |(_, body)| {
            let notices = body["notices"].as_array().unwrap().iter();
            notices.map(move |notice| {
                let of = body[name].as_str().or_else(|| notice[name].as_str());
                (of.unwrap(), number(&notice["key"]))
            })
        })
    }

    /// All listings that were heard of.
    pub fn heard(&self) -> BTreeSet<u32> {
        self.of_kind("heard").flat_map(|(seq, _)| self.heard_at(seq)).collect()
    }

    /// For each listing, what became of it at `target`, tries that failed and will be tried again aside.
    pub fn outcomes(&self, target: &str) -> BTreeMap<u32, Vec<String>> {
        let mut outcomes: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (_, settled) in self.of_kind("settled").filter(|(_, settled)| settled["target"] == target) {
            for group in settled["results"].as_array().unwrap() {
                if group["failure"]["retry_at"].is_null() {
                    let outcome = group["outcome"].as_str().unwrap();
                    for record in group["records"].as_array().unwrap() {
                        outcomes.entry(number(&record[2])).or_default().push(outcome.to_owned());
                    }
                }
            }
        }
        outcomes
    }

    /// What became of each listing at `target`. None has come to two ends (I2, I8).
    pub fn ends(&self, target: &str) -> BTreeMap<u32, String> {
        let once = |(number, mut ends): (u32, Vec<String>)| {
            assert_eq!(ends.len(), 1, "{target}: {number} ended as {ends:?}");
            (number, ends.remove(0))
        };
        self.outcomes(target).into_iter().map(once).collect()
    }

    /// All that was heard of came to its end at `target`; it had been there, so that none ended as `not_found`.
    pub fn assert_settled(&self, target: &str) {
        let ends = self.ends(target);
        assert_eq!(ends.keys().copied().collect::<BTreeSet<_>>(), self.heard(), "{target}");
        assert!(ends.values().all(|end| end != "not_found"), "{target}: {ends:?}");
    }

    /// Every removal names the entry that heard of it (I9), and the brake decided on each fact once.
    pub fn assert_every_step_has_its_cause(&self) {
        for (seq, settled) in self.of_kind("settled") {
            let groups = settled["results"].as_array().unwrap().iter();
            for record in groups.flat_map(|group| group["records"].as_array().unwrap()) {
                let cause = record[1].as_i64().unwrap();
                let named = cause < seq && self.heard_at(cause).contains(&number(&record[2]));
                assert!(named, "entry {seq} names {cause} as the cause of {record}");
            }
        }
        let mut decided = BTreeSet::new();
        for (seq, decision) in self.of_kind("decided") {
            let held =
                decision["held"].as_array().into_iter().flatten().filter_map(|set| set["facts"].as_array());
            let facts = decision["released"].as_array().into_iter().chain(held).flatten();
            for fact in facts {
                assert!(decided.insert(fact.to_string()), "entry {seq} decides on {fact} again");
            }
        }
    }
}

/// The number at the end of that key: of a listing, or of a deal.
fn number(key: &Value) -> u32 {
    let last = key.as_array().unwrap().last().unwrap().as_str().unwrap();
    last.trim_start_matches(|char: char| !char.is_ascii_digit()).parse().unwrap()
}
