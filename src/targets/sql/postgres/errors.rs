//! PostgreSQL's error codes as what the applier can do about them
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).

use sqlx::postgres::PgDatabaseError;

use crate::targets::TargetError;
use crate::targets::sql::{session::TOO_SLOW, tls};

pub fn classify(error: sqlx::Error) -> TargetError {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast::<PgDatabaseError>() {
            Ok(error) => by_code(&Told::by(&error)),
            Err(_) => TargetError::Unavailable("the database failed".to_owned()),
        },
        sqlx::Error::Io(error) if tls::refuses(&error) => not_accepted(),
        sqlx::Error::Io(error) => {
            TargetError::Unavailable(format!("the connection failed: {}", error.kind()))
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
        "the server's certificate was not accepted, or it speaks no TLS; see sslmode and sslrootcert"
            .to_owned(),
    )
}

/// Errors of a commit: unless the server itself refused, it may have been carried out.
pub fn of_commit(error: sqlx::Error) -> TargetError {
    let refused = matches!(&error, sqlx::Error::Database(told)
        if told.code().is_some_and(|code| ["23", "40", "P0", "22", "42"].contains(&&code[..2])));
    match classify(error) {
        told if refused => told,
        told => TargetError::Unknown(format!("during the commit: {told}")),
    }
}

/// What an error says. Only names are taken from it: a message may quote a row.
struct Told<'a> {
    code: &'a str,
    message: &'a str,
    table: Option<&'a str>,
    constraint: Option<&'a str>,
    column: Option<&'a str>,
    /// Raised within a function, a trigger's as a rule.
    within: bool,
}

impl<'a> Told<'a> {
    fn by(error: &'a PgDatabaseError) -> Self {
        Self {
            code: error.code(),
            message: error.message(),
            table: error.table(),
            constraint: error.constraint(),
            column: error.column(),
            within: error.r#where().is_some(),
        }
    }
}

fn by_code(told: &Told<'_>) -> TargetError {
    let code = told.code;
    let unavailable = |what: &str| TargetError::Unavailable(format!("{what} (SQLSTATE {code})"));
    let halted = |what: &str| TargetError::Halted(format!("{what} (SQLSTATE {code})"));
    match code {
        "40001" | "40P01" => unavailable("another transaction was in the way"),
        "55P03" => unavailable("a lock was not given in time"),
        "57014" => TargetError::Refused {
            code: TOO_SLOW,
            message: format!("a statement took too long, or was cancelled (SQLSTATE {code})"),
        },
        "25006" => unavailable("the server is read-only; its address is looked up again"),
        "53100" => halted("the disk is full"),
        "58030" | "58P01" | "XX001" | "XX002" => halted("the server cannot read or write its files"),
        "53200" | "53300" | "53400" => unavailable("the server is at a limit of its own"),
        // A table that publishes deletions and has no replica identity, a view that nothing can be deleted from: waiting
        // mends neither.
        "55000" if told.within => by_trigger(code),
        "55000" => misconfigured(told),
        _ => match &code[..2] {
            "08" | "57" => unavailable("the connection was ended, or the server is not ready"),
            "22" | "23" | "44" => of_record(told),
            "28" | "3D" => TargetError::Misconfigured(format!(
                "the server refuses the user, the password or the database (SQLSTATE {code})"
            )),
            // Messages of the parser and of the catalogue hold names alone.
            "42" | "0A" | "3F" if !told.within => misconfigured(told),
            "XX" | "53" | "55" | "58" | "F0" | "25" => unavailable("the database failed"),
            _ => by_trigger(code),
        },
    }
}

/// With the server's own message, which the caller knows to hold names alone.
fn misconfigured(told: &Told<'_>) -> TargetError {
    TargetError::Misconfigured(format!("{} (SQLSTATE {})", told.message, told.code))
}

fn by_trigger(code: &str) -> TargetError {
    let message = format!("a trigger of the database refused the deletion (SQLSTATE {code})");
    TargetError::Refused { code: "trigger", message }
}

/// What one record's values or constraints refuse.
fn of_record(told: &Told<'_>) -> TargetError {
    let code = match told.code {
        "23503" => "foreign_key",
        "23502" => "not_null",
        "23505" => "unique",
        "23514" => "check",
        code if code.starts_with("22") => "value",
        _ => "constraint",
    };
    let named =
        |what: &str, name: Option<&str>| name.map_or(String::new(), |name| format!(" {what} {name:?}"));
    let message = format!(
        "refused by{}{}{} (SQLSTATE {})",
        named("constraint", told.constraint),
        named("column", told.column),
        named("of table", told.table),
        told.code
    );
    TargetError::Refused { code, message: message.replace("refused by (", "refused by the database (") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: &str, within: bool) -> TargetError {
        let names = (Some("rooms"), Some("rooms_listing_id_fkey"));
        let message = "Mr Smith's booking";
        by_code(&Told { code, message, table: names.0, constraint: names.1, column: None, within })
    }

    #[test]
    fn codes_say_whether_trying_again_can_help_and_whom_it_concerns() {
        for code in ["40001", "40P01", "55P03", "57P01", "08006", "53300", "25006", "XX000", "25P02", "55006"]
        {
            assert!(matches!(told(code, false), TargetError::Unavailable(_)), "{code}");
        }
        for code in ["53100", "58030", "XX001", "XX002"] {
            assert!(matches!(told(code, false), TargetError::Halted(_)), "{code}");
        }
        for code in ["42P01", "42703", "42804", "42883", "42501", "0A000", "3F000", "28P01", "3D000", "55000"]
        {
            assert!(matches!(told(code, false), TargetError::Misconfigured(_)), "{code}");
        }
        for (code, name) in [
            ("23503", "foreign_key"),
            ("23502", "not_null"),
            ("23514", "check"),
            ("23505", "unique"),
            ("23P01", "constraint"),
            ("22P02", "value"),
            ("57014", TOO_SLOW),
            ("P0001", "trigger"),
            ("55000", "trigger"),
        ] {
            let TargetError::Refused { code: told, message } = told(code, true) else { panic!("{code}") };
            assert_eq!(told, name);
            assert!(!message.contains("Smith"), "{message}");
        }
    }

    #[test]
    fn i10_what_a_function_raises_is_not_repeated() {
        for code in ["P0001", "42P01", "0A000", "22000", "23503", "55000", "ZZ999"] {
            assert!(!told(code, true).to_string().contains("Smith"), "{code}");
        }
        let refused = told("23503", false).to_string();
        assert!(refused.contains("\"rooms\"") && refused.contains("rooms_listing_id_fkey"), "{refused}");
    }
}
