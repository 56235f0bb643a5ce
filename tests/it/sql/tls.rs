//! A server elsewhere must show a certificate for its name, or nothing is said to it.

use expunged::targets::{Batch, Target as _, TargetError};

use super::bench::{Database, delete, name, removed, table, target};
use crate::support::servers::{self, Server, certificate::Certificate};

super::on_every_server!(i10_a_server_elsewhere_that_cannot_show_who_it_is_hears_nothing,);

/// An address that leads to this machine and is none of its loopback ones, so that it counts as elsewhere.
const ELSEWHERE: &str = "0.0.0.0";

async fn server(database: Database, shown: &Certificate) -> (Server, servers::Database) {
    let (certificate, key) = (shown.certificate(), shown.key());
    let (certificate, key) = (certificate.display(), key.display());
    let more = match database {
        Database::MariaDb => vec![format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")],
        _ => ["ssl=on".to_owned(), format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}")]
            .into_iter()
            .flat_map(|setting| ["-c".to_owned(), setting])
            .collect(),
    };
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let server = Server::start_with(database.kind(), &more).await;
    let replica = server.database().await;
    replica.sql("CREATE TABLE listings(id INTEGER PRIMARY KEY); INSERT INTO listings VALUES (1)").await;
    (server, replica)
}

async fn i10_a_server_elsewhere_that_cannot_show_who_it_is_hears_nothing(database: Database) {
    let (own, other) = (Certificate::of(ELSEWHERE), Certificate::of("192.0.2.1"));
    let parameter = if database == Database::MariaDb { "ssl-ca" } else { "sslrootcert" };
    let apply = async |url: &str, authority: Option<&Certificate>| {
        let mut url = url.replace("127.0.0.1", ELSEWHERE);
        if let Some(authority) = authority {
            url = format!("{url}?{parameter}={}", authority.authority().display());
        }
        let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
        target(&url, table(&["id"])).apply(&batch).await
    };
    let refused = |result: Result<_, TargetError>, why: &str| {
        assert!(
            matches!(&result, Err(TargetError::Misconfigured(said)) if said.contains("certificate")),
            "{why}: {result:?}"
        );
    };
    let (_server, replica) = server(database, &own).await;
    refused(apply(&replica.url, None).await, "of an authority that this machine does not know");
    refused(apply(&replica.url, Some(&other)).await, "of another authority than the one that is named");
    assert_eq!(apply(&replica.url, Some(&own)).await.unwrap(), [removed(1)]);
    let (_server, misnamed) = server(database, &other).await;
    refused(apply(&misnamed.url, Some(&other)).await, "for another name");
    let bare = database.fresh().await;
    bare.sql("CREATE TABLE listings(id INTEGER PRIMARY KEY); INSERT INTO listings VALUES (1)").await;
    refused(apply(&bare.url, Some(&own)).await, "no TLS, or a certificate that the server made itself");
    for left in [&misnamed, &bare] {
        assert_eq!(left.lines("SELECT count(*) FROM listings").await, ["1"], "{}", name(&left.url));
    }
}
