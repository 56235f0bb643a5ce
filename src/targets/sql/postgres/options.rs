//! From an address to how a PostgreSQL server is connected to.

use std::net::IpAddr;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::targets::TargetError;

/// Parameters of an address that mean something. Any other is refused by name: the driver would ignore it, and
/// write its value into the log.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// Where the server is, and how it is connected to.
#[derive(Clone, Debug)]
pub struct Place(pub PgConnectOptions);

impl Place {
    /// # Errors
    /// The address cannot be understood. Nothing is connected to.
    pub fn parse(url: &Url) -> Result<Self, TargetError> {
        let misconfigured = |what: &str| TargetError::Misconfigured(what.to_owned());
        let known = |name: &str| PARAMETERS.contains(&name) || name.starts_with("options[");
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| !known(name)) {
            return Err(misconfigured(&format!(
                "the url has a parameter {name:?}, which means nothing here"
            )));
        }
        let mut options: PgConnectOptions = url.as_str().parse().map_err(|_| {
            misconfigured(
                "the url is no address of a PostgreSQL database: write postgres://user@host/database",
            )
        })?;
        let told = url.query_pairs().any(|(name, _)| name == "sslmode" || name == "ssl-mode");
        if !told {
            let near = options.get_socket().is_some() || loopback(options.get_host());
            options = options.ssl_mode(if near { PgSslMode::Prefer } else { PgSslMode::VerifyFull });
        }
        if options.get_application_name().is_none() {
            options = options.application_name("expunged");
        }
        // A pooler knows neither a statement's name nor this parameter; the transaction sets it.
        let options = options.statement_cache_capacity(0).extra_float_digits(None);
        Ok(Self(options.disable_statement_logging()))
    }
}

fn loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.starts_with('/')
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> PgSslMode {
        Place::parse(&Url::parse(url).unwrap()).unwrap().0.get_ssl_mode()
    }

    #[test]
    fn a_server_elsewhere_must_show_who_it_is_unless_the_address_says_otherwise() {
        for remote in ["postgres://db.example.com/x", "postgresql://u:p@10.0.0.5:6432/x"] {
            assert!(matches!(mode(remote), PgSslMode::VerifyFull), "{remote}");
        }
        for near in [
            "postgres://localhost/x",
            "postgres://127.0.0.1:5433/x",
            "postgres://[::1]/x",
            "postgres://u@%2Frun%2Fpostgresql/x",
            "postgres:///x?host=/run/postgresql",
        ] {
            assert!(matches!(mode(near), PgSslMode::Prefer), "{near}");
        }
        assert!(matches!(mode("postgres://db.example.com/x?sslmode=require"), PgSslMode::Require));
        assert!(matches!(mode("postgres://localhost/x?sslmode=verify-ca"), PgSslMode::VerifyCa));
    }

    #[test]
    fn i10_a_parameter_that_means_nothing_is_refused_without_its_value() {
        let url = Url::parse("postgres://h/x?sslpassword=geheim").unwrap();
        let refused = Place::parse(&url).unwrap_err().to_string();
        assert!(refused.contains("sslpassword") && !refused.contains("geheim"), "{refused}");
    }
}
