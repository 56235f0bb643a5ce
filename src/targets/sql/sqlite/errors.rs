//! SQLite's result codes as what the applier can do about them (<https://www.sqlite.org/rescode.html>).

use crate::targets::TargetError;

/// Code of a refusal that SQLite does not tell apart: an error within a statement or a trigger.
pub const STATEMENT: &str = "statement";

pub fn classify(error: sqlx::Error) -> TargetError {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
            by_code(code, error.message())
        }
        sqlx::Error::Io(error) => {
            TargetError::Unavailable(format!("input or output failed: {}", error.kind()))
        }
        sqlx::Error::Configuration(_) | sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. } => {
            TargetError::Misconfigured("the database driver refused an option or a value".to_owned())
        }
        _ => TargetError::Unavailable("the connection to the database was lost".to_owned()),
    }
}

/// `code` is the extended code; its low byte is the primary one.
fn by_code(code: i32, message: &str) -> TargetError {
    let refused = |name: &'static str| TargetError::Refused { code: name, message: message.to_owned() };
    let unavailable = |what: &str| TargetError::Unavailable(format!("{what} (SQLite code {code})"));
    let misconfigured = |what: &str| TargetError::Misconfigured(format!("{what} (SQLite code {code})"));
    match code & 0xff {
        // What a trigger raises is the customer's text, which may quote a row.
        19 if code == 1811 => TargetError::Refused {
            code: "trigger",
            message: "a trigger of the database refused the deletion".to_owned(),
        },
        19 => refused(match code {
            787 => "foreign_key",
            1299 => "not_null",
            275 => "check",
            1555 | 2067 | 2579 => "unique",
            3091 => "type",
            _ => "constraint",
        }),
        20 => refused("type"),
        18 => refused("too_big"),
        1 if names_what_is_missing(message) => TargetError::Misconfigured(message.to_owned()),
        // Any error of a function in a trigger has this code, so it may be one record's alone.
        1 => TargetError::Refused {
            code: STATEMENT,
            message: "a statement failed, or a trigger that it fired".to_owned(),
        },
        5 | 6 => unavailable("another writer holds the database"),
        7 => unavailable("out of memory"),
        10 => unavailable("the disk failed"),
        13 => unavailable("the disk or the database is full"),
        14 => unavailable("the file cannot be opened; is it there, and may it be read?"),
        9 | 15 | 17 => unavailable("the database was busy with a change of its own"),
        8 => misconfigured("the file, or its folder, cannot be written"),
        3 | 23 => misconfigured("access was denied"),
        11 => misconfigured("the database file is damaged"),
        26 => misconfigured("the file is not a SQLite database"),
        _ => unavailable("the database failed"),
    }
}

/// Messages of the parser hold names alone.
fn names_what_is_missing(message: &str) -> bool {
    message.starts_with("no such ")
        || message.starts_with("foreign key mismatch ")
        || message.contains(" has no column named ")
        || (message.starts_with("cannot modify ") && message.ends_with(" because it is a view"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_trying_again_can_help() {
        for code in [5, 261, 517, 6, 262, 10, 266, 13, 14, 7, 17, 99] {
            assert!(matches!(by_code(code, "m"), TargetError::Unavailable(_)), "{code}");
        }
        for code in [8, 1032, 11, 26, 23, 3] {
            assert!(matches!(by_code(code, "m"), TargetError::Misconfigured(_)), "{code}");
        }
        for (code, name) in [(787, "foreign_key"), (1299, "not_null"), (275, "check"), (2067, "unique")] {
            let refused = TargetError::Refused { code: name, message: "m".to_owned() };
            assert_eq!(by_code(code, "m"), refused);
        }
    }

    #[test]
    fn i10_the_text_that_a_trigger_raises_is_not_repeated() {
        assert!(!by_code(1811, "Mr Smith's booking").to_string().contains("Smith"));
        assert!(!by_code(1, "malformed JSON: Smith").to_string().contains("Smith"));
    }
}
