//! `expunged token`: the token that it prints opens the API, and nothing but its hash is kept.

use expunged::config::{Config, ProcessEnvironment, Token};
use serde_json::Value;

use crate::support::crash::{Home, Setup};

#[tokio::test]
async fn i10_a_token_is_printed_once_and_its_hash_is_what_is_written() {
    let home = Home::new(Setup { listings: 1, ..Setup::default() }).await;
    let file = home.path("expunged.toml");
    let printed = home.succeed(&["token", "crm", "--scope", "delete", "read", "read", "--append"]);
    let token = printed.trim_end();
    assert!(token.starts_with("expunged_") && token.len() == 52, "{token}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(token), "{text}");
    let known = Config::load(&file, &ProcessEnvironment).unwrap().server.tokens;
    assert_eq!((known.len(), known[0].name.as_str()), (1, "crm"));
    assert_eq!(known[0].sha256, Token::hash(token.as_bytes()));
    assert_eq!(known[0].scopes.iter().map(|it| it.as_str()).collect::<Vec<_>>(), ["read", "delete"]);

    for (arguments, code) in [
        (["token", "crm", "--scope", "read", "--append"].as_slice(), 1),
        (["token", "two words", "--scope", "read", "--append"].as_slice(), 1),
        (["token", "web", "--scope", "erase"].as_slice(), 2),
        (["token", "web"].as_slice(), 2),
    ] {
        let output = home.run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "a faulty configuration is not written");

    let shown = home.succeed(&["token", "web", "--scope", "approve", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let hash = hex::encode(Token::hash(shown["token"].as_str().unwrap().as_bytes()));
    let lines = format!("[server.tokens.web]\nsha256 = \"{hash}\"\nscopes = [\"approve\"]\n");
    assert_eq!(shown["configuration"], lines);
    let printed = home.succeed(&["token", "web", "--scope", "approve"]);
    assert!(
        printed.contains("[server.tokens.web]\nsha256 = ") && printed.starts_with("expunged_"),
        "{printed}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}
