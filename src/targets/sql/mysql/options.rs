//! From an address to how a MariaDB or MySQL server is connected to.

use std::net::IpAddr;

use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use url::Url;

use crate::targets::TargetError;

/// Parameters of an address that mean something. Any other is refused by name, since the driver would ignore
/// it: a `ssl_mode` among them would leave the connection as it is by default.
const PARAMETERS: [&str; 9] =
    ["sslmode", "ssl-mode", "sslca", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key", "socket"];
/// Prepared statements kept: about 20 for each configured entity.
const STATEMENTS_KEPT: usize = 512;

/// Where the server is, and how it is connected to.
#[derive(Clone, Debug)]
pub struct Place {
    pub options: MySqlConnectOptions,
    pub database: String,
}

impl Place {
    /// # Errors
    /// The address cannot be understood. Nothing is connected to.
    pub fn parse(url: &Url) -> Result<Self, TargetError> {
        let misconfigured = |what: &str| TargetError::Misconfigured(what.to_owned());
        let unclear = || {
            misconfigured(
                "the url is no address of a MariaDB or MySQL database: write mysql://user@host/database",
            )
        };
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| !PARAMETERS.contains(&name.as_ref())) {
            return Err(misconfigured(&format!(
                "the url has a parameter {name:?}, which means nothing here"
            )));
        }
        let mut options = MySqlConnectOptions::from_url(url).map_err(|_| unclear())?;
        let Some(database) = options.get_database().map(str::to_owned) else {
            return Err(misconfigured("the url names no database: write mysql://user@host/database"));
        };
        let told = url.query_pairs().any(|(name, _)| name == "sslmode" || name == "ssl-mode");
        if !told {
            let near = options.get_socket().is_some() || loopback(options.get_host());
            options =
                options.ssl_mode(if near { MySqlSslMode::Preferred } else { MySqlSslMode::VerifyIdentity });
        }
        // What the mode of SQL is, the session says itself.
        let options = options.pipes_as_concat(false).no_engine_substitution(false);
        let options = options.charset("utf8mb4").timezone("+00:00".to_owned());
        let options = options.statement_cache_capacity(STATEMENTS_KEPT).disable_statement_logging();
        Ok(Self { options, database })
    }
}

fn loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<Place, TargetError> {
        Place::parse(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_server_elsewhere_must_show_who_it_is_unless_the_address_says_otherwise() {
        let mode = |url: &str| place(url).unwrap().options.get_ssl_mode();
        for remote in ["mysql://db.example.com/x", "mariadb://u:p@10.0.0.5:3307/x"] {
            assert!(matches!(mode(remote), MySqlSslMode::VerifyIdentity), "{remote}");
        }
        for near in [
            "mysql://localhost/x",
            "mysql://127.0.0.1/x",
            "mysql://[::1]:3307/x",
            "mysql://db/x?socket=/run/s",
        ] {
            assert!(matches!(mode(near), MySqlSslMode::Preferred), "{near}");
        }
        assert!(matches!(mode("mysql://db.example.com/x?ssl-mode=REQUIRED"), MySqlSslMode::Required));
        assert!(matches!(mode("mysql://localhost/x?sslmode=VERIFY_CA"), MySqlSslMode::VerifyCa));
    }

    #[test]
    fn i10_a_parameter_that_means_nothing_is_refused_without_its_value() {
        let refused = place("mysql://h/x?sslpassword=geheim").unwrap_err().to_string();
        assert!(refused.contains("sslpassword") && !refused.contains("geheim"), "{refused}");
    }

    #[test]
    fn an_address_without_a_database_is_refused() {
        assert!(
            matches!(place("mysql://u:geheim@h"), Err(TargetError::Misconfigured(what)) if !what.contains("geheim"))
        );
        assert_eq!(place("mysql://u@h/replica").unwrap().database, "replica");
    }
}
