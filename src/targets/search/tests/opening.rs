//! What is opened, made or refused, and what `check` says about it.

use tantivy::Index;
use tantivy::schema::{INDEXED, STORED, STRING, TEXT};

use super::*;
use crate::config::target::TemplatePiece;
use crate::targets::Severity;

#[tokio::test]
async fn fields_that_deletions_would_miss_are_refused_by_name() {
    let cases: [(&str, Schema); 4] = [
        ("has no field id", schema_of(|builder| builder.add_text_field("name", STRING))),
        ("cut into words by the tokenizer default", schema_of(|builder| builder.add_text_field("id", TEXT))),
        ("is not indexed", schema_of(|builder| builder.add_text_field("id", STORED))),
        ("not text", schema_of(|builder| builder.add_u64_field("id", INDEXED))),
    ];
    for (expected, schema) in cases {
        let folder = tempfile::tempdir().unwrap();
        Index::create_in_dir(folder.path(), schema).unwrap();
        let error = TantivyTarget::open("search", &setting(folder.path(), "id")).await.err().unwrap();
        let TargetError::Misconfigured(text) = error else { panic!("{error:?}") };
        assert!(text.contains(expected) && text.contains("targets.search.entities.listing.field"), "{text}");
    }
}

#[tokio::test]
async fn check_finds_what_became_wrong_since_the_index_was_opened() {
    let (folder, _index) = index_with(&[&["1:A"]]);
    let target = open(&folder).await;
    assert!(target.check().await.unwrap().iter().all(|finding| finding.place.contains(".guard")));
    std::fs::remove_dir_all(folder.path()).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
    let analysed = schema_of(|builder| builder.add_text_field("id", TEXT));
    Index::create_in_dir(folder.path(), analysed).unwrap();

    let mut findings = target.check().await.unwrap();
    findings.retain(|finding| finding.severity == Severity::Fault);
    assert_eq!(findings.len(), 2, "{findings:?}");
    let error = target.apply(&batch(1, &[["1", "A"]])).await.unwrap_err();
    assert!(matches!(error, TargetError::Misconfigured(_)), "{error:?}");
}

#[tokio::test]
async fn an_index_is_made_where_there_is_none_and_check_says_that_it_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/search");
    let target = TantivyTarget::open("search", &setting(&path, "id")).await.unwrap();
    let findings = target.check().await.unwrap();
    let places = findings.iter().map(|finding| (finding.severity, finding.place.as_str()));
    let of_path: Vec<_> = places.filter(|(_, place)| !place.contains(".guard")).collect();
    assert_eq!(of_path, [(Severity::Warning, "targets.search.path")]);
    add_segments(&Index::open_in_dir(&path).unwrap(), &[&["1:A"]]);
    assert_eq!(target.apply(&batch(1, &[["1", "A"]])).await.unwrap(), [Effect::Removed { rows: 1 }]);
}

#[tokio::test]
async fn a_folder_of_other_files_does_not_become_an_index() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ledger.txt"), "ours").unwrap();
    let error = TantivyTarget::open("search", &setting(folder.path(), "id")).await.err().unwrap();
    assert!(matches!(error, TargetError::Misconfigured(_)), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn templates_that_give_records_one_id_are_found() {
    let id = |pieces: &[&str]| {
        let piece = |text: &&str| match text.parse() {
            Ok(part) => TemplatePiece::Part(part),
            Err(_) => TemplatePiece::Text((*text).to_owned()),
        };
        let document = Document {
            field: "id".into(),
            id: Template(pieces.iter().map(piece).collect()),
            guard: None,
            delete_on_deactivate: false,
        };
        let documents = [(Entity::new("listing"), document)].into_iter().collect();
        let setting = Setting { name: "search".into(), path: PathBuf::new(), documents };
        let findings = schema::findings(&setting, &self::schema());
        let of_id = findings.iter().filter(|finding| finding.place.contains(".id"));
        of_id.map(|finding| finding.severity).collect::<Vec<_>>()
    };
    assert_eq!(id(&["everything"]), [Severity::Fault]);
    assert_eq!(id(&["0", "1"]), [Severity::Warning]);
    assert_eq!(id(&["0", "-", "1"]), []);
    assert_eq!(id(&["listing-", "0"]), []);
}
