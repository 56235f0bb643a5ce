//! A column's type as keys meet it: how a key is bound, as what it is looked for, and what makes that exact.

use sqlx::mysql::MySqlRow;
use sqlx::{Error, Row};

use super::super::text;
use super::quoted;
use crate::targets::sql::catalogue::{Affinity, Column, SELF_CHANGING, Typed};

/// Characters of a key's part at most, which has at most 512 bytes.
const TEXT: &str = "VARCHAR(512)";
/// Two digits for each byte of an index, which has at most 3072 of them.
const BYTES: &str = "VARCHAR(6144)";
/// As many digits as a number may have.
const NUMBER: &str = "DECIMAL(65,0)";

/// `row` as asked for by the reader of the catalogue.
pub fn column(row: &MySqlRow) -> Result<Column, Error> {
    let (name, declared, kind, extra) = (text(row, 1)?, text(row, 2)?, text(row, 3)?, text(row, 5)?);
    let extra = extra.to_ascii_lowercase();
    let (affinity, typed) =
        typed(&declared, &kind, (&text(row, 6)?, &text(row, 7)?), row.try_get::<i64, _>(8)?);
    let digits = u32::try_from(row.try_get::<i64, _>(9)?).ok().filter(|_| MOMENTS.contains(&kind.as_str()));
    let typed = Typed { digits, ..typed };
    // "VIRTUAL GENERATED", but "DEFAULT_GENERATED" only computes what is not given.
    let generated =
        extra.contains(" generated") || extra.starts_with("generated") || extra.contains("stored");
    let collation = text(row, 7)?;
    let declared = if collation.is_empty() { declared } else { format!("{declared} COLLATE {collation}") };
    let declared = if extra.contains("on update") { format!("{declared}{SELF_CHANGING}") } else { declared };
    Ok(Column {
        sql: quoted(&name),
        name,
        declared,
        affinity,
        typed,
        not_null: text(row, 4)? == "NO",
        generated,
        primary: 0,
    })
}

/// What is looked for by the index has the column's own type, charset and collation; what is compared beside it
/// is the key itself. The first alone would take another record's row: it cuts a number that is too great to the
/// greatest, and turns a letter that the charset does not have into a question mark.
fn typed(declared: &str, kind: &str, (charset, collation): (&str, &str), scale: i64) -> (Affinity, Typed) {
    let unsigned = declared.contains("unsigned");
    let made = |affinity, own: &str, cast: &str| {
        let folds = !(collation.is_empty() || collation == "binary" || collation.ends_with("_bin"));
        (affinity, Typed { own: own.to_owned(), cast: cast.to_owned(), folds, ..Typed::default() })
    };
    let own_text = format!("{TEXT}{CHARSET}{charset} COLLATE {collation}");
    let text = format!("{TEXT}{CHARSET}utf8mb4");
    match kind {
        "bigint" if unsigned => made(Affinity::Decimal, "BIGINT UNSIGNED", NUMBER),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => made(Affinity::Integer, "BIGINT", NUMBER),
        "decimal" if scale == 0 => made(Affinity::Decimal, NUMBER, NUMBER),
        "char" => made(Affinity::Padded, &own_text, &text),
        "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => made(Affinity::Text, &own_text, &text),
        "uuid" => made(Affinity::Uuid, "CHAR(36) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", &text),
        "enum" => {
            let (affinity, typed) = made(Affinity::Label, &own_text, &text);
            (affinity, Typed { labels: labels(declared), ..typed })
        }
        "float" | "double" | "decimal" => made(Affinity::Real, "", ""),
        "binary" | "varbinary" => made(Affinity::Blob, BYTES, BYTES),
        "datetime" | "timestamp" => made(Affinity::Opaque, TIME, ""),
        _ => made(Affinity::Opaque, "", ""),
    }
}

/// Types of moments. To a date too, a server that rounds brings the last half second of the day before.
const MOMENTS: [&str; 3] = ["datetime", "timestamp", "date"];
/// A type of moments, which does not take the notation of other columns.
pub const TIME: &str = "DATETIME(6)";

/// What the name of a charset and collation follows in a text column's own type.
pub const CHARSET: &str = " CHARACTER SET ";

/// The words of `enum('a','it''s')`.
fn labels(declared: &str) -> Vec<String> {
    let list = declared.split_once('(').and_then(|(_, list)| list.strip_suffix(')')).unwrap_or_default();
    let (mut labels, mut label, mut within) = (Vec::new(), String::new(), false);
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' if within && letters.peek() == Some(&'\'') => label.extend(letters.next()),
            '\'' if within => {
                labels.push(std::mem::take(&mut label));
                within = false;
            }
            '\'' => within = true,
            _ if within => label.push(letter),
            _ => {}
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_enum_are_read_with_their_quotes() {
        assert_eq!(labels("enum('sale','it''s','a,b')"), ["sale", "it's", "a,b"]);
    }
}
