//! Secrets on disk: who may read them, what replaces them, and what a crash leaves.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// What the upstream alone was told of the subscription.
const WORD: &str = "a word";

fn vault() -> (tempfile::TempDir, Vault) {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::beside(&folder.path().join("expunged.db"));
    (folder, vault)
}

fn secret() -> Secret {
    Secret::new("the secret that was offered")
}

#[test]
fn a_secret_is_taken_only_while_somebody_subscribes_to_that_very_event() {
    let (_folder, vault) = vault();
    let offer = |event: &str, at: Timestamp| vault.offer("repliers", event, WORD, &secret(), at).unwrap();
    assert_eq!(offer("listing.deleted", NOW), Offer::Refused);
    vault.expect("repliers", "listing.deleted", WORD, NOW).unwrap();
    assert_eq!(offer("listing.updated", NOW), Offer::Refused);
    for word in ["", "a wor", "another"] {
        let offered = vault.offer("repliers", "listing.deleted", word, &secret(), NOW).unwrap();
        assert_eq!(offered, Offer::Refused, "whoever does not know the word is a stranger");
    }
    assert_eq!(offer("listing.deleted", NOW.plus(PENDING)), Offer::Refused, "it is over by then");
    assert_eq!(offer("listing.deleted", NOW), Offer::Taken);
    assert_eq!(vault.secret("repliers", "listing.deleted").unwrap(), Some(secret()));
    assert_eq!(vault.secrets("repliers").unwrap(), [("listing.deleted".to_owned(), secret())]);
    assert_eq!(vault.secrets("others").unwrap(), []);
}

#[test]
fn a_kept_secret_is_never_overwritten_and_the_same_one_may_be_said_again() {
    let (_folder, vault) = vault();
    vault.expect("s", "e", WORD, NOW).unwrap();
    assert_eq!(vault.offer("s", "e", WORD, &secret(), NOW).unwrap(), Offer::Taken);
    assert_eq!(vault.offer("s", "e", WORD, &secret(), NOW).unwrap(), Offer::Known);
    let other = Secret::new("another secret, of a stranger");
    assert_eq!(vault.offer("s", "e", WORD, &other, NOW).unwrap(), Offer::Refused);
    assert_eq!(vault.secret("s", "e").unwrap(), Some(secret()));

    vault.stop_expecting("s", "e").unwrap();
    assert!(matches!(vault.expect("s", "e", WORD, NOW), Err(VaultError::Kept { .. })));
    assert!(vault.forget("s", "e").unwrap());
    assert!(!vault.forget("s", "e").unwrap());
    vault.expect("s", "e", WORD, NOW).unwrap();
}

#[test]
fn two_do_not_subscribe_at_once_and_one_that_died_is_in_nobodys_way() {
    let (_folder, vault) = vault();
    vault.expect("s", "e", WORD, NOW).unwrap();
    assert!(matches!(vault.expect("s", "e", WORD, NOW), Err(VaultError::Pending { .. })));
    vault.expect("s", "e", WORD, NOW.plus(PENDING)).unwrap();
}

#[test]
fn i10_only_the_owner_may_read() {
    let (_folder, vault) = vault();
    vault.expect("s", "e", WORD, NOW).unwrap();
    vault.offer("s", "e", WORD, &secret(), NOW).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in ["e.secret", "e.pending"] {
        assert_eq!(mode(&vault.folder.join("s").join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&vault.folder.join("s")), 0o700);
    assert_eq!(mode(&vault.folder), 0o700);
}

#[test]
fn what_a_crash_left_half_written_is_no_secret() {
    let (_folder, vault) = vault();
    vault.expect("s", "e", WORD, NOW).unwrap();
    fs::write(vault.folder.join("s/e.offered"), "the sec").unwrap();
    assert_eq!(vault.secrets("s").unwrap(), []);
    assert_eq!(vault.offer("s", "e", WORD, &secret(), NOW).unwrap(), Offer::Taken);
    assert_eq!(vault.secret("s", "e").unwrap(), Some(secret()));
}

#[test]
fn a_secret_has_a_length_and_an_event_a_name_that_leads_nowhere_else() {
    let (_folder, vault) = vault();
    vault.expect("s", "e", WORD, NOW).unwrap();
    for (bytes, fits) in [(7, false), (8, true), (1_024, true), (1_025, false)] {
        let offered = vault.offer("s", "e", WORD, &Secret::new(vec![b'x'; bytes]), NOW);
        assert_eq!(offered.is_ok(), fits, "{bytes}");
        vault.forget("s", "e").unwrap();
    }
    for name in ["", ".", "..", "../e", "a/b", "a\\b", "é", ".e", &"e".repeat(129)] {
        assert!(matches!(vault.expect("s", name, WORD, NOW), Err(VaultError::Name(_))), "{name}");
        assert!(!vault.expects("s", name, WORD, NOW));
    }
}

#[test]
fn what_an_administrator_makes_belongs_to_the_owner_of_the_state() {
    const NOBODY: u32 = 65_534;
    let (folder, vault) = vault();
    // Only an administrator can give anything away; for everybody else there is nothing to test.
    if chown(folder.path(), Some(NOBODY), Some(NOBODY)).is_err() {
        return;
    }
    vault.expect("s", "e", WORD, NOW).unwrap();
    vault.offer("s", "e", WORD, &secret(), NOW).unwrap();
    for path in ["", "s", "s/e.pending", "s/e.secret"] {
        assert_eq!(fs::metadata(vault.folder.join(path)).unwrap().uid(), NOBODY, "{path}");
    }
}
