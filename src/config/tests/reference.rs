//! The reference file loads, and holds every key that is ever asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::super::fault::{Fault, Place};
use super::super::file::{Entry, Node, Value};
use super::super::presets;
use super::Given;

const TEXT: &str = include_str!("../../../config/reference.toml");

/// A key that is near no other, so that its fault lists the ones that are known.
const STRANGER: &str = "zzzzzzzzzz";

/// Each is one of two ways, and the reference shows both at some places only.
const EITHER_OR: [&str; 4] = [".file", ".env", ".now", ".null"];

/// The tree of the reference, with the presets laid under it.
fn tree() -> Node {
    let mut tree = Node::parse(TEXT, "reference").unwrap();
    presets::lay_under(&mut tree);
    assert_eq!(faults(&tree), []);
    tree
}

fn env() -> Given {
    let secret = "a secret of good length";
    ["/run/credentials/repliers", "REPLIERS_OLD_SECRET", "REPLIERS_API_KEY", "CRM_SECRET", "CRM_API_KEY"]
        .into_iter()
        .chain([
            "CRM_WORKSPACE",
            "BOARD_SECRET",
            "KEEPER_API_KEY",
            "TALKDESK_CLIENT_SECRET",
            "VENDOR_API_KEY",
        ])
        .fold(Given::default(), |given, name| given.with(name, secret))
        .with("HUB_SECRET", super::STANDARD_SECRET)
        .with("REPLICA_URL", "sqlite://data/replica.db")
}

#[test]
fn the_reference_loads() {
    let config = super::parse_in(TEXT, &env()).unwrap();
    assert_eq!((config.sources.len(), config.targets.len()), (4, 4));
}

#[test]
fn the_reference_holds_every_key() {
    let mut tree = tree();
    let present = RefCell::new(BTreeSet::new());
    plant(&mut tree, "", &present);
    let faults = faults(&tree);
    let asked: BTreeSet<String> = faults
        .iter()
        .filter(|fault| fault.what == "unknown key")
        .flat_map(|fault| {
            let section = plain(fault.path.strip_suffix(STRANGER).unwrap());
            let keys = fault.mend.strip_prefix("keys here are ").unwrap();
            keys.split(", ").map(|key| plain(&format!("{section}{key}"))).collect::<Vec<_>>()
        })
        .filter(|key| !EITHER_OR.iter().any(|choice| key.ends_with(choice)))
        .collect();
    assert!(asked.len() > 100, "{asked:#?}");
    let missing: Vec<_> = asked.difference(&present.borrow()).cloned().collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn a_fault_never_makes_its_neighbours_unknown_and_none_is_passed_over() {
    let tree = tree();
    let mut ways = Vec::new();
    list(&tree, &mut Vec::new(), &mut ways);
    assert!(ways.len() > 150, "{}", ways.len());
    for way in ways {
        let mut broken = tree.clone();
        *at(&mut broken, &way) = Value::Date;
        let faults = faults(&broken);
        assert!(!faults.is_empty(), "a date at {way:?} is no fault");
        for fault in faults {
            assert_ne!(fault.what, "unknown key", "{way:?} as a date makes {} unknown", fault.path);
        }
    }
}

fn faults(tree: &Node) -> Vec<Fault> {
    super::super::read::tree(tree, &env()).err().unwrap_or_default()
}

/// The ways to all values, but for the names of presets, which lie under their sources by now.
fn list(node: &Node, way: &mut Vec<String>, ways: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Node)> = match &node.value {
        Value::List(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        Value::Table(table) => table
            .iter()
            .map(|(key, entry)| (key.clone(), &entry.node))
            .filter(|(key, _)| key != "preset")
            .collect(),
        _ => return,
    };
    for (step, child) in children {
        way.push(step);
        ways.push(way.clone());
        list(child, way, ways);
        way.pop();
    }
}

fn at<'n>(node: &'n mut Node, way: &[String]) -> &'n mut Value {
    way.iter().fold(&mut node.value, |value, step| match value {
        Value::Table(table) => &mut table.get_mut(step).unwrap().node.value,
        Value::List(items) => &mut items[step.parse::<usize>().unwrap()].value,
        _ => panic!("{way:?} leads nowhere"),
    })
}

/// Notes every key, and puts a stranger into every table.
fn plant(node: &mut Node, path: &str, present: &RefCell<BTreeSet<String>>) {
    match &mut node.value {
        Value::List(items) => {
            for item in items {
                plant(item, path, present);
            }
        }
        Value::Table(table) => {
            for (key, entry) in table.iter_mut() {
                let path = plain(&format!("{path}{}.", if key.contains('.') { "*" } else { key }));
                present.borrow_mut().insert(path.trim_end_matches('.').to_owned());
                plant(&mut entry.node, &path, present);
            }
            let place = Place { origin: "reference".into(), line: None };
            let node = Node { place: place.clone(), value: Value::Bool(true) };
            table.insert(STRANGER.to_owned(), Entry { key: place, node });
        }
        _ => {}
    }
}

/// The path without names and numbers: one source has what another leaves out.
fn plain(path: &str) -> String {
    let unquoted = path.split('"').enumerate();
    let mut path: String = unquoted.map(|(index, text)| if index % 2 == 0 { text } else { "*" }).collect();
    while let Some((before, after)) = path.split_once('[') {
        let after = after.split_once(']').unwrap().1.to_owned();
        path = format!("{before}{after}");
    }
    let mut steps: Vec<&str> = path.split('.').collect();
    for index in 1..steps.len() {
        let free = ["sources", "targets", "entities", "events", "headers", "tokens", "alternates", "kinds"]
            .contains(&steps[index - 1]);
        if free && !steps[index].is_empty() {
            steps[index] = "*";
        }
    }
    // Children have the keys of children, however deep.
    steps.join(".").replace("children.children", "children")
}
