//! The servers' error numbers as what the applier can do about them
//! (<https://mariadb.com/kb/en/mariadb-error-code-reference/>,
//! <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>).
//!
//! A number says more than its SQLSTATE, most of which are HY000. Texts of the server's are repeated only where
//! they hold nothing but names: others quote rows, or what a trigger's author wrote.

use sqlx::mysql::MySqlDatabaseError;

use crate::targets::TargetError;
use crate::targets::sql::{session::TOO_SLOW, tls};

pub fn classify(error: sqlx::Error) -> TargetError {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast::<MySqlDatabaseError>() {
            Ok(error) => by_number(error.number(), error.code().unwrap_or_default(), error.message()),
            Err(_) => TargetError::Unavailable("the server failed".to_owned()),
        },
        sqlx::Error::Io(error) if tls::refuses(&error) => not_accepted(),
        sqlx::Error::Io(error) => {
            TargetError::Unavailable(format!("the connection was lost, or never made: {}", error.kind()))
        }
        sqlx::Error::Tls(_) => not_accepted(),
        sqlx::Error::Configuration(_) | sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. } => {
            TargetError::Misconfigured("the database driver refused an option or a value".to_owned())
        }
        _ => TargetError::Unavailable("the connection to the database was lost".to_owned()),
    }
}

fn not_accepted() -> TargetError {
    TargetError::Misconfigured(
        "the server's certificate was not accepted, or it speaks no TLS; see ssl-mode and ssl-ca in the url"
            .to_owned(),
    )
}

/// Errors of a commit: unless the server itself refused, it may have been carried out.
pub fn of_commit(error: sqlx::Error) -> TargetError {
    let told = matches!(&error, sqlx::Error::Database(_));
    match classify(error) {
        error @ (TargetError::Refused { .. } | TargetError::Misconfigured(_)) if told => error,
        error => TargetError::Unknown(format!("during the commit: {error}")),
    }
}

/// `state` is the SQLSTATE.
fn by_number(number: u16, state: &str, message: &str) -> TargetError {
    let refused = |code: &'static str, what: &str| TargetError::Refused {
        code,
        message: format!("{what} (error {number})"),
    };
    let unavailable = |what: &str| TargetError::Unavailable(format!("{what} (error {number})"));
    let halted = |what: &str| TargetError::Halted(format!("{what} (error {number})"));
    let misconfigured = |what: &str| TargetError::Misconfigured(format!("{what} (error {number})"));
    match number {
        // The server has rolled back the statement alone: the whole transaction is ended by us.
        1205 => unavailable("a row is locked by another transaction"),
        1213 | 1614 | 3058 => unavailable("another transaction locked the same rows in another order"),
        1020 => unavailable("a row was changed while it was read"),
        1969 | 3024 => refused(TOO_SLOW, "a statement ran out of time"),
        1568 | 1317 | 1028 => unavailable("a statement was stopped"),
        1040 | 1203 | 1226 => unavailable("the server takes no more connections"),
        1053 | 1152 | 1153 | 1156..=1161 | 1184 | 1927 | 2002 | 2003 | 2006 | 2013 | 3169 | 4031 => {
            unavailable("the server ended the connection")
        }
        1412 | 1615 => unavailable("a table was changed while it was read"),
        1037 | 1038 | 1041 | 1135 | 1206 | 5 => unavailable("the server is out of memory"),
        1290 | 1792 | 1836 | 1209 | 3100 | 3906 => {
            unavailable("this server takes no writes now; is it still the one that others copy from?")
        }
        3 | 1021 | 1026 | 1114 | 1297 | 1085 => halted("the server's disk is full, or failed"),
        1034 | 1035 | 1194 | 1195 | 1712 | 1813 | 1815 | 1877 | 126 | 127 | 134 | 144 | 145 => {
            halted("the server says that a table is damaged")
        }
        // Names alone.
        1049 | 1051 | 1054 | 1109 | 1146 | 1176 | 1305 | 1356 | 1932 | 1449 => {
            TargetError::Misconfigured(format!("{message} (error {number})"))
        }
        1044 | 1045 | 1130 | 1142 | 1143 | 1227 | 1370 | 1410 | 1524 | 1698 => {
            misconfigured("access was denied: see which rights the user needs")
        }
        1193 | 1231 | 1064 | 1149 | 1235 | 1273 | 1115 => {
            misconfigured("the server does not know what we say: MariaDB 10.6 or MySQL 8 is needed")
        }
        1665 | 1785 | 1668 => misconfigured(
            "the server's way of logging refuses the statement: binlog_format must be ROW or MIXED",
        ),
        1216 | 1217 | 1451 | 1452 => {
            refused("foreign_key", "a row that is not configured to go refers to one that is")
        }
        1048 | 1364 => refused("not_null", "a column that is set to NULL does not take it"),
        1022 | 1062 | 1169 | 1586 => refused("unique", "a value is there already"),
        3819 | 4025 => refused("check", "a check of the table refuses the value"),
        1264 | 1265 | 1292 | 1366 | 1406 | 1690 => refused("type", "a column cannot hold the value"),
        _ if state.starts_with("08") => unavailable("the server ended the connection"),
        _ if state.starts_with("40") => unavailable("the transaction was ended by the server"),
        // What a trigger raises is the customer's text, which may quote a row. 1442: it writes to the table itself.
        _ if state.starts_with("45") || [1442, 1644].contains(&number) => {
            refused("trigger", "a trigger of the database refused the deletion")
        }
        _ if state.starts_with("22") => refused("type", "a column cannot hold the value"),
        _ if state.starts_with("23") => refused("constraint", "a constraint of the table refused the change"),
        _ => refused(STATEMENT, "a statement failed, or a trigger that it fired"),
    }
}

/// Code of a refusal of unknown cause, which may be one record's alone.
const STATEMENT: &str = "statement";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_say_whether_trying_again_can_help() {
        for number in [1205, 1213, 1020, 2006, 2013, 1053, 1927, 1290, 1836, 1792, 1040] {
            assert!(matches!(by_number(number, "HY000", "m"), TargetError::Unavailable(_)), "{number}");
        }
        for number in [1021, 1114, 3, 126, 145, 1034] {
            assert!(matches!(by_number(number, "HY000", "m"), TargetError::Halted(_)), "{number}");
        }
        for number in [1146, 1054, 1932, 1356, 1142, 1045, 1064] {
            assert!(matches!(by_number(number, "HY000", "m"), TargetError::Misconfigured(_)), "{number}");
        }
        for (number, name) in [
            (1451, "foreign_key"),
            (1048, "not_null"),
            (4025, "check"),
            (1969, TOO_SLOW),
            (3024, TOO_SLOW),
            (1062, "unique"),
            (1264, "type"),
            (1366, "type"),
        ] {
            let TargetError::Refused { code, .. } = by_number(number, "23000", "m") else {
                panic!("{number}")
            };
            assert_eq!(code, name);
        }
    }

    #[test]
    fn numbers_that_nobody_knows_go_by_their_class() {
        assert!(matches!(by_number(9999, "08S01", "m"), TargetError::Unavailable(_)));
        assert!(matches!(by_number(9999, "40001", "m"), TargetError::Unavailable(_)));
        assert!(matches!(by_number(9999, "HY000", "m"), TargetError::Refused { code: STATEMENT, .. }));
    }

    #[test]
    fn i10_the_text_that_a_trigger_raises_is_not_repeated() {
        for (number, state) in [(1644, "45000"), (1366, "22007"), (1062, "23000"), (9999, "HY000")] {
            assert!(
                !by_number(number, state, "Mr Smith's booking").to_string().contains("Smith"),
                "{number}"
            );
        }
    }
}
