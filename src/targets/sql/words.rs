//! The words in which SQL dialects differ, for SQLite.

use super::catalogue::Affinity;

/// A name as SQL reads it, whatever it holds. The caller has it from the catalogue.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table of the customer's; qualified, since a temporary table of that name would hide it.
pub fn table(name: &str) -> String {
    format!("main.{}", quoted(name))
}

/// A temporary table of ours.
pub fn staging(name: &str) -> String {
    format!("temp.{}", quoted(name))
}

/// Makes a comparison byte for byte, whatever collation a column declares (I11).
pub const EXACTLY: &str = "COLLATE BINARY";

/// Equality that holds between two NULLs.
pub const SAME: &str = "IS";

/// A join whose left side is walked first.
pub const DRIVES: &str = "CROSS JOIN";

/// The type of a staging column, so that comparing it with the column that it mirrors uses the index.
pub fn column_type(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Integer => "INTEGER",
        Affinity::Text | Affinity::Uuid | Affinity::Padded | Affinity::Label => "TEXT",
        Affinity::Numeric | Affinity::Decimal => "NUMERIC",
        Affinity::Real => "REAL",
        Affinity::Blob | Affinity::Opaque => "",
    }
}

/// The values of `expression` over `source` as one JSON array, in bytes.
pub fn gathered(expression: &str, source: &str) -> String {
    format!("SELECT CAST(json_group_array({expression}) AS BLOB) FROM {source}")
}

/// A value that is itself a JSON array.
pub fn tuple(expressions: &[&str]) -> String {
    format!("json_array({})", expressions.join(", "))
}

/// The next argument. Without a number, since several statements may go to the database as one text.
pub const ARGUMENT: &str = "?";

/// The first column of a locator in a staging table, if it holds a whole number: as JSON it stays what it is.
pub const WHOLE_LOCATOR: &str = "CASE typeof(l0) WHEN 'integer' THEN l0 END";

/// The numbers of the next argument, a JSON array, as a set.
pub const NUMBERS: &str = "(SELECT value FROM json_each(?))";
