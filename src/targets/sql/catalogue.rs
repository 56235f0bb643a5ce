//! What a database says of itself: relations, columns, indexes, foreign keys, triggers. Plain data.
//!
//! Names of the configuration become SQL only by way of the names found here, so that nothing but a name
//! that exists is ever quoted into a statement. A dialect fills it, with each name also as its own SQL writes
//! it (`sql`); nobody else writes it.

mod changes;

use crate::targets::Severity;

/// How a column keeps values. SQLite has the first five
/// (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    Integer,
    Text,
    /// A number where the text is one, else the text.
    Numeric,
    Real,
    /// No type, BLOB, or a type that writes a value in another way than it came.
    Blob,
    /// A number of any length, exact.
    Decimal,
    Uuid,
    /// `char(n)`: spaces at the end are no part of the value.
    Padded,
    /// One of the words that the type lists.
    Label,
    /// A type whose values no statement of ours can say: nothing is found by it.
    Opaque,
}

impl Affinity {
    /// Whether two columns keep equal values alike, so that comparing them uses an index and changes nothing.
    #[must_use]
    pub fn agrees(self, other: Self) -> bool {
        self.family() == other.family()
    }

    fn family(self) -> u8 {
        match self {
            Self::Integer | Self::Numeric | Self::Real | Self::Decimal => 0,
            Self::Text => 1,
            Self::Blob => 2,
            Self::Uuid => 3,
            Self::Padded => 4,
            Self::Label => 5,
            Self::Opaque => 6,
        }
    }

    /// Whether rows that refer to one value are found, and told from those that refer to another: what is rounded is not.
    #[must_use]
    pub fn links(self) -> bool {
        !matches!(self, Self::Real | Self::Opaque)
    }

    /// Whether a key can be found exactly as it came.
    #[must_use]
    pub fn exact(self) -> bool {
        !matches!(self, Self::Real | Self::Blob | Self::Opaque)
    }
}

#[derive(Clone, Debug)]
pub struct Catalogue {
    pub relations: Vec<Relation>,
    pub ways: Ways,
}

/// What findings need to know of a dialect.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// A name as SQL reads it, whatever it holds.
    pub quote: fn(&str) -> String,
    /// Types that hold keys exactly, for people.
    pub exact_types: &'static str,
    /// Bytes of a name at most: what is longer is cut silently.
    pub name_bytes_max: Option<usize>,
    /// The word that makes an index compare byte for byte: `COLLATE BINARY`.
    pub exactly: &'static str,
    /// How `CREATE INDEX` names its table.
    pub indexed: fn(&Relation) -> String,
    /// The word that lets others write while an index is made, with a space before it.
    pub concurrently: &'static str,
}

impl Ways {
    /// The statement that creates an index, which is called after its table and columns.
    #[must_use]
    pub fn create_index(&self, relation: &Relation, columns: &[&str], unique: bool, exact: bool) -> String {
        let table = relation.name.rsplit('.').next().unwrap_or_default();
        let name = columns.iter().fold(table.to_owned(), |name, column| format!("{name}_{column}"));
        let word = if exact { format!(" {}", self.exactly) } else { String::new() };
        let columns = columns.iter().map(|column| format!("{}{word}", (self.quote)(column)));
        format!(
            "CREATE {}INDEX{} {} ON {} ({});",
            if unique { "UNIQUE " } else { "" },
            self.concurrently,
            (self.quote)(&name),
            (self.indexed)(relation),
            columns.collect::<Vec<_>>().join(", ")
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    View,
    /// A view whose rows are copies.
    Materialized,
    /// Rows live in another server.
    Foreign,
    /// Virtual and shadow tables.
    Other,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    /// Unique in the catalogue; with its schema where the name alone would mean another relation or none.
    pub name: String,
    /// The name with its schema, where there are schemas and `name` has none.
    pub qualified: Option<String>,
    /// The name as SQL reads it, qualified so that nothing hides it.
    pub sql: String,
    /// Whether we may change its rows at all.
    pub writable: bool,
    /// Why nothing may be deleted from it by us, and what to do about that.
    pub barred: Option<(String, &'static str)>,
    pub kind: RelationKind,
    /// The name under which the row number can be had; the shortest way to a row.
    pub row_id: Option<String>,
    pub columns: Vec<Column>,
    pub indexes: Vec<Index>,
    pub foreign_keys: Vec<ForeignKey>,
    pub triggers: Vec<String>,
    /// What else concerns a deletion, in the words of the dialect that read it.
    pub remarks: Vec<Remark>,
}

/// Something about a relation that only one dialect knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Remark {
    pub severity: Severity,
    /// What it is and what it means for a deletion.
    pub what: String,
    pub mend: String,
}

/// Ends the declared type of a column that the database sets to its own clock whenever a row changes.
pub const SELF_CHANGING: &str = " ON UPDATE CURRENT_TIMESTAMP";

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    /// The name as SQL reads it.
    pub sql: String,
    /// The type as it was declared.
    pub declared: String,
    pub affinity: Affinity,
    pub typed: Typed,
    pub not_null: bool,
    /// Computed by the database: cannot be written.
    pub generated: bool,
    /// Position in the primary key, from 1; 0 outside it.
    pub primary: i64,
}

/// How values of a column are written and compared, in a dialect whose types are strict; else empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// The column's own type, without its length or precision: a value that does not fit is refused.
    pub own: String,
    /// The same with them: a value is made to fit.
    pub declared: String,
    /// The type that a key is compared as: wide enough for every key, and served by the column's indexes.
    pub cast: String,
    /// The equality of that type.
    pub equals: String,
    /// The words that it may hold, where it lists them.
    pub labels: Vec<String>,
    /// Digits of a second's fraction that it keeps, where it is a moment: a finer one is rounded.
    pub digits: Option<u32>,
    /// Its own equality takes different texts for one: the table cannot hold both. Statements compare bytes
    /// beside it.
    pub folds: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    pub unique: bool,
    /// Covers only some rows.
    pub partial: bool,
    /// `None` is an expression.
    pub columns: Vec<(Option<String>, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FkAction {
    Cascade,
    SetNull,
    /// NO ACTION, RESTRICT, SET DEFAULT: the deletion is refused while the row refers to it (SET DEFAULT:
    /// unless the default exists).
    Refuse,
}

/// A foreign key, at the table that refers.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignKey {
    pub parent: String,
    /// (column here, column there)
    pub columns: Vec<(String, String)>,
    pub on_delete: FkAction,
    /// The database sees to it in our transactions too, whatever triggers do: no row here refers to a row that is gone.
    pub enforced: bool,
}

impl Catalogue {
    /// The relation of exactly this name, or else the only one whose name differs in ASCII case alone: some
    /// databases tell these apart, and none is to be guessed.
    #[must_use]
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        let qualified = || {
            let is = |of: &Option<String>| of.as_ref().is_some_and(|of| of == name);
            self.relations.iter().find(|relation| is(&relation.qualified))
        };
        named(&self.relations, name, |relation| &relation.name).or_else(qualified)
    }

    /// Foreign keys that refer to the table, with the table that each belongs to.
    pub fn referring<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Relation, &'a ForeignKey)> {
        self.relations.iter().flat_map(move |relation| {
            let keys = relation.foreign_keys.iter();
            keys.filter(move |key| key.parent.eq_ignore_ascii_case(name)).map(move |key| (relation, key))
        })
    }
}

fn named<'a, T>(all: &'a [T], name: &str, of: impl Fn(&T) -> &String) -> Option<&'a T> {
    if let Some(exact) = all.iter().find(|one| of(one) == name) {
        return Some(exact);
    }
    let mut alike = all.iter().filter(|one| of(one).eq_ignore_ascii_case(name));
    alike.next().filter(|_| alike.next().is_none())
}

impl Relation {
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        named(&self.columns, name, |column| &column.name)
    }

    /// Whole unique indexes over exactly these columns, in any order.
    pub fn unique_over<'a>(&'a self, columns: &'a [String]) -> impl Iterator<Item = &'a Index> {
        self.indexes.iter().filter(move |index| {
            index.unique
                && !index.partial
                && index.columns.len() == columns.len()
                && columns.iter().all(|column| index.position(column).is_some())
        })
    }

    /// Whether a whole index begins with the column and compares byte for byte.
    #[must_use]
    pub fn indexed(&self, column: &str) -> bool {
        self.indexes.iter().any(|index| {
            !index.partial && index.position(column) == Some(0) && index.columns[0].1 == Index::BYTES
        })
    }
}

impl Index {
    /// The collation that compares byte for byte.
    pub const BYTES: &str = "BINARY";

    fn position(&self, column: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|(name, _)| name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(column)))
    }
}

impl ForeignKey {
    /// Whether it is the link from this one column to that one.
    #[must_use]
    pub fn links(&self, column: &str, references: &str) -> bool {
        matches!(self.columns.as_slice(), [(from, to)]
            if from.eq_ignore_ascii_case(column) && to.eq_ignore_ascii_case(references))
    }
}
