//! What a database says of itself: relations, columns, indexes, foreign keys, triggers. Plain data.
//!
//! Names of the configuration become SQL only by way of the names found here, so that nothing but a name
//! that exists is ever quoted into a statement. A dialect fills it; nobody else writes it.

/// How a column keeps values (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    Integer,
    Text,
    Numeric,
    Real,
    /// No type, or BLOB: a value is kept as it came.
    Blob,
}

impl Affinity {
    /// Whether two columns keep equal values alike, so that comparing them uses an index and changes nothing.
    #[must_use]
    pub fn agrees(self, other: Self) -> bool {
        (self == Self::Text) == (other == Self::Text) && (self == Self::Blob) == (other == Self::Blob)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub relations: Vec<Relation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    View,
    /// Virtual and shadow tables.
    Other,
}

#[derive(Clone, Debug)]
pub struct Relation {
    pub name: String,
    pub kind: RelationKind,
    /// The name under which the row number can be had; the shortest way to a row.
    pub row_id: Option<String>,
    pub columns: Vec<Column>,
    pub indexes: Vec<Index>,
    pub foreign_keys: Vec<ForeignKey>,
    pub triggers: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    /// The type as it was declared.
    pub declared: String,
    pub affinity: Affinity,
    pub not_null: bool,
    /// Computed by the database: cannot be written.
    pub generated: bool,
    /// Position in the primary key, from 1; 0 outside it.
    pub primary: i64,
}

#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub struct ForeignKey {
    pub parent: String,
    /// (column here, column there)
    pub columns: Vec<(String, String)>,
    pub on_delete: FkAction,
}

impl Catalogue {
    /// Names are compared as the database does: without regard to ASCII case.
    #[must_use]
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.name.eq_ignore_ascii_case(name))
    }

    /// Foreign keys that refer to the table, with the table that each belongs to.
    pub fn referring<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Relation, &'a ForeignKey)> {
        self.relations.iter().flat_map(move |relation| {
            let keys = relation.foreign_keys.iter();
            keys.filter(move |key| key.parent.eq_ignore_ascii_case(name)).map(move |key| (relation, key))
        })
    }
}

impl Relation {
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
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
