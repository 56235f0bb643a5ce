//! TOML as a tree that knows where every key and value stands, and a user's tree laid over a preset's.
//!
//! Only syntax is judged here; what a value means is `read`'s business.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, KeyPath, Place, Step};

/// A value and its place.
#[derive(Clone)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// No `Debug` on purpose: somebody may have written a secret into the file.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// Nothing here takes a TOML date.
    Date,
    List(Vec<Node>),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Entry>;

/// A key's place and its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub key: Place,
    pub node: Node,
}

/// Keys that say what the rest of their table means: a user's table with another choice replaces a
/// preset's, since the preset's other keys belong to the preset's choice.
const CHOICES: [&str; 2] = ["kind", "scheme"];

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::Date => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// Reads `text`, with all the faults that the parser can find in one go.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Self, Vec<Fault>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut lines = Lines::new(text, origin);
        for error in &errors {
            let at = error.span().map(|span| lines.place(span.start));
            lines.fault(at, error.message());
        }
        let root = lines.table(table.get_ref());
        if lines.faults.is_empty() {
            Ok(Self { place: Place { origin: lines.origin, line: None }, value: Value::Table(root) })
        } else {
            Err(lines.faults)
        }
    }

    /// This tree over `base`: own keys win, tables merge, everything else replaces.
    pub(super) fn over(self, base: Self) -> Self {
        match (self.value, base.value) {
            (Value::Table(own), Value::Table(base)) if !chooses_otherwise(&own, &base) => {
                let mut merged = base;
                for (key, entry) in own {
                    let node = match merged.remove(&key) {
                        Some(below) => entry.node.over(below.node),
                        None => entry.node,
                    };
                    merged.insert(key, Entry { key: entry.key, node });
                }
                Self { place: self.place, value: Value::Table(merged) }
            }
            (value, _) => Self { place: self.place, value },
        }
    }

    /// The place of what `path` names, or of the nearest thing above it that is written in this text: what
    /// comes from a preset is not for the user to look up.
    pub(super) fn locate(&self, path: &KeyPath) -> Place {
        let mut node = self;
        let mut place = &self.place;
        for step in path.steps() {
            match (&node.value, step) {
                (Value::Table(table), Step::Key(key)) if table.contains_key(key) => {
                    node = &table[key].node;
                    if node.place.origin == self.place.origin {
                        place = &table[key].key;
                    }
                }
                (Value::List(items), Step::Index(index)) if *index < items.len() => {
                    node = &items[*index];
                    if node.place.origin == self.place.origin {
                        place = &node.place;
                    }
                }
                _ => break,
            }
        }
        place.clone()
    }

    pub(super) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }
}

fn chooses_otherwise(own: &Table, base: &Table) -> bool {
    CHOICES.iter().any(|key| match (own.get(*key), base.get(*key)) {
        (Some(own), Some(base)) => match (&own.node.value, &base.node.value) {
            (Value::Text(own), Value::Text(base)) => own != base,
            _ => true,
        },
        _ => false,
    })
}

/// Turns the parser's byte offsets into lines while it copies the tree.
struct Lines {
    origin: Arc<str>,
    /// Where each line starts.
    starts: Vec<usize>,
    faults: Vec<Fault>,
}

impl Lines {
    fn new(text: &str, origin: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { origin: origin.into(), starts: std::iter::once(0).chain(breaks).collect(), faults: Vec::new() }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        Place { origin: Arc::clone(&self.origin), line: Some(line) }
    }

    fn fault(&mut self, place: Option<Place>, message: &str) {
        self.faults.push(Fault {
            place: place.unwrap_or_else(|| Place { origin: Arc::clone(&self.origin), line: None }),
            path: String::new(),
            what: format!("not valid TOML: {message}"),
            mend: String::new(),
        });
    }

    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let mut copy = Table::new();
        for (key, value) in table {
            let key_place = self.place(key.span().start);
            let node = self.node(value.get_ref(), value.span().start);
            copy.insert(key.get_ref().to_string(), Entry { key: key_place, node });
        }
        copy
    }

    fn node(&mut self, value: &DeValue<'_>, offset: usize) -> Node {
        let place = self.place(offset);
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(on) => Value::Bool(*on),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.node(item.get_ref(), item.span().start)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Integer(number) => {
                Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
                    self.fault(Some(place.clone()), "the integer does not fit into 64 bits");
                    0
                }))
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or_else(|_| {
                self.fault(Some(place.clone()), "the float can't be read");
                0.0
            })),
        };
        Node { place, value }
    }
}
