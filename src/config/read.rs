//! Typed reading of the tree: every fault is collected, none stops the reading.
//!
//! A reader hands out a [`Section`] for each table. A section remembers which keys it was asked for, and
//! reports the others as unknown when it ends. A value that can't be read is a fault and gives `None` (or
//! the default), so that the rest is still looked at; a configuration with any fault is refused as a whole.

mod api;
mod auth;
mod check;
mod feed;
mod places;
mod pull;
mod root;
mod secrets;
mod source;
mod subscriptions;
mod target;
mod token;
mod values;

use std::cell::{Cell, RefCell};
use std::path::Path;

use super::environment::Environment;
use super::fault::{ConfigError, Fault, KeyPath, Place};
use super::file::{Node, Table, Value};
use super::{Config, Secret, presets};

/// Bytes of a configuration: 1 MiB, a thousand times the usual one.
const TEXT_BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Reads the configuration at `path`; secrets come from `env`. Relative paths in it are relative to the
    /// current directory.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(path: &Path, env: &dyn Environment) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let unreadable = |what: String| {
            ConfigError::new(vec![Fault {
                place: Place { origin: origin.as_str().into(), line: None },
                path: String::new(),
                what,
                mend: "name a readable file with --config FILE".to_owned(),
            }])
        };
        let bytes = env
            .read(path, TEXT_BYTES_MAX)
            .map_err(|error| unreadable(format!("can't read the configuration: {error}")))?;
        let text =
            String::from_utf8(bytes).map_err(|_| unreadable("the configuration is not UTF-8".to_owned()))?;
        Self::parse(&text, &origin, env)
    }

    /// Reads a configuration's text; faults name it `origin`.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(text: &str, origin: &str, env: &dyn Environment) -> Result<Self, ConfigError> {
        let mut tree = Node::parse(text, origin).map_err(ConfigError::new)?;
        presets::lay_under(&mut tree);
        self::tree(&tree, env).map_err(ConfigError::new)
    }
}

/// Reads a tree under which the presets lie already.
pub(super) fn tree(tree: &Node, env: &dyn Environment) -> Result<Config, Vec<Fault>> {
    let reader = Reader { env, tree, faults: RefCell::default() };
    let config = Field { reader: &reader, node: tree, path: KeyPath::default() }.section(root::config);
    match (config, reader.faults.into_inner()) {
        (Some(config), faults) if faults.is_empty() => Ok(config),
        (_, faults) => Err(faults),
    }
}

/// What all of the reading shares.
struct Reader<'a> {
    env: &'a dyn Environment,
    tree: &'a Node,
    faults: RefCell<Vec<Fault>>,
}

impl Reader<'_> {
    fn fault(&self, path: &KeyPath, what: impl Into<String>, mend: impl Into<String>) {
        self.fault_at(self.tree.locate(path), path, what, mend);
    }

    fn fault_at(&self, place: Place, path: &KeyPath, what: impl Into<String>, mend: impl Into<String>) {
        self.faults.borrow_mut().push(Fault {
            place,
            path: path.to_string(),
            what: what.into(),
            mend: mend.into(),
        });
    }
}

/// A value in the tree, with the way to it.
#[derive(Clone)]
struct Field<'a> {
    reader: &'a Reader<'a>,
    node: &'a Node,
    path: KeyPath,
}

impl<'a> Field<'a> {
    /// Notes a fault of this value; `None`, so that a reader can end with it.
    fn fault<T>(&self, what: impl Into<String>, mend: impl Into<String>) -> Option<T> {
        self.reader.fault_at(self.node.place.clone(), &self.path, what, mend);
        None
    }

    /// The value is of another kind than its key takes. Does not show it.
    fn unexpected<T>(&self, expected: &str, mend: impl Into<String>) -> Option<T> {
        self.fault(format!("expected {expected}, found {}", self.node.value.kind()), mend)
    }

    /// Reads a table, and reports the keys in it that `read` never asked for.
    fn section<T>(&self, read: impl FnOnce(&Section<'a>) -> Option<T>) -> Option<T> {
        let Value::Table(table) = &self.node.value else {
            return self.unexpected("a table", format!("write it as [{}] or {{ … }}", self.path));
        };
        Section::read(self.reader, self.path.clone(), table, read)
    }

    /// The entries of a table whose keys are free names.
    fn entries(&self) -> Option<Vec<(&'a str, Self)>> {
        let Value::Table(table) = &self.node.value else {
            return self.unexpected("a table", format!("write it as [{}] or {{ … }}", self.path));
        };
        let entry = |(key, entry): (&'a String, &'a super::file::Entry)| {
            let path = self.path.key(key);
            (key.as_str(), Self { reader: self.reader, node: &entry.node, path })
        };
        Some(table.iter().map(entry).collect())
    }

    /// The items of a list.
    fn items(&self) -> Option<Vec<Self>> {
        let Value::List(items) = &self.node.value else {
            return self.unexpected("a list", "put it in [ … ]");
        };
        Some(self.indexed(items))
    }

    /// The items of a list, or the one value that stands there instead.
    fn one_or_more(&self) -> Vec<Self> {
        match &self.node.value {
            Value::List(items) => self.indexed(items),
            _ => vec![self.clone()],
        }
    }

    fn indexed(&self, items: &'a [Node]) -> Vec<Self> {
        let item = |(index, node)| Self { reader: self.reader, node, path: self.path.index(index) };
        items.iter().enumerate().map(item).collect()
    }

    fn is_false(&self) -> bool {
        matches!(self.node.value, Value::Bool(false))
    }
}

/// A table that is being read.
struct Section<'a> {
    reader: &'a Reader<'a>,
    path: KeyPath,
    table: &'a Table,
    known: RefCell<Vec<&'static str>>,
    /// Whether a key that nobody asked for is unknown.
    judged: Cell<bool>,
}

static EMPTY: Table = Table::new();

impl<'a> Section<'a> {
    fn read<T>(
        reader: &'a Reader<'a>,
        path: KeyPath,
        table: &'a Table,
        read: impl FnOnce(&Self) -> Option<T>,
    ) -> Option<T> {
        let section = Self { reader, path, table, known: RefCell::default(), judged: Cell::new(true) };
        let read = read(&section);
        if section.judged.get() {
            section.report_unknown();
        }
        read
    }

    fn get(&self, key: &'static str) -> Option<Field<'a>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        let node = &self.table.get(key)?.node;
        Some(Field { reader: self.reader, node, path: self.path.key(key) })
    }

    /// `None` if the key is absent or faulty.
    fn optional<T>(&self, key: &'static str, read: impl FnOnce(&Field<'a>) -> Option<T>) -> Option<T> {
        read(&self.get(key)?)
    }

    fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(&Field<'a>) -> Option<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// As [`Self::optional`], and a missing key is a fault.
    fn required<T>(
        &self,
        key: &'static str,
        mend: &str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(field) => read(&field),
            None => self.fault(key, "missing", mend),
        }
    }

    /// A key that says which other keys belong here; while it is faulty none of them is judged.
    fn chosen<T: Clone>(&self, key: &'static str, mend: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let chosen = self.required(key, mend, |field| field.choice(choices));
        self.judged.set(chosen.is_some());
        chosen
    }

    /// A table that may be left out: then all its keys have their defaults.
    fn table<T>(&self, key: &'static str, read: impl FnOnce(&Self) -> Option<T>) -> Option<T> {
        match self.get(key) {
            Some(field) => field.section(read),
            None => Self::read(self.reader, self.path.key(key), &EMPTY, read),
        }
    }

    /// Notes a fault of `key`, at its line or at that of the table if it is not there.
    fn fault<T>(&self, key: &str, what: impl Into<String>, mend: impl Into<String>) -> Option<T> {
        self.reader.fault(&self.path.key(key), what, mend);
        None
    }

    fn report_unknown(&self) {
        let known = self.known.borrow();
        for (key, entry) in self.table {
            if !known.contains(&key.as_str()) {
                let mend = match nearest(key, known.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("keys here are {}", known.join(", ")),
                };
                self.reader.fault_at(entry.key.clone(), &self.path.key(key), "unknown key", mend);
            }
        }
    }
}

/// The known word that `written` is most likely to mean, if any is near.
fn nearest<'w>(written: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let distance = |word: &str| strsim::damerau_levenshtein(&written.to_lowercase(), word);
    // A third of the letters may be wrong: more, and every short word would be near every other.
    known
        .map(|word| (distance(word), word))
        .min()
        .filter(|(far, word)| far * 3 <= word.len().max(3))
        .map(|(_, word)| word)
}
