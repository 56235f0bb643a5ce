//! The target on real indexes in temporary folders.

mod age;
mod opening;

use std::path::Path;

use tantivy::indexer::NoMergePolicy;
use tantivy::schema::{Field, STORED, STRING, Schema, SchemaBuilder, TEXT};
use tantivy::{Index, IndexWriter, TantivyDocument};
use tempfile::TempDir;

use super::*;
use crate::config::target::{Template, TemplatePiece};
use crate::domain::{Key, Timestamp};

const WRITER_BYTES: usize = 15_000_000;

fn schema() -> Schema {
    schema_of(|builder| {
        builder.add_text_field("title", TEXT);
        builder.add_text_field("id", STRING | STORED)
    })
}

fn schema_of(fields: impl FnOnce(&mut SchemaBuilder) -> Field) -> Schema {
    let mut builder = Schema::builder();
    fields(&mut builder);
    builder.build()
}

fn setting(path: &Path, field: &str) -> Tantivy {
    let id = Template(vec![TemplatePiece::Part(0), TemplatePiece::Text(":".into()), TemplatePiece::Part(1)]);
    let document = |delete_on_deactivate| Document {
        field: field.into(),
        id: id.clone(),
        guard: None,
        delete_on_deactivate,
    };
    let entities = [(Entity::new("listing"), document(false)), (Entity::new("deal"), document(true))]
        .into_iter()
        .collect();
    Tantivy { path: path.to_owned(), entities }
}

fn writer(index: &Index) -> IndexWriter {
    let writer: IndexWriter = index.writer_with_num_threads(1, WRITER_BYTES).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    writer
}

fn add(writer: &IndexWriter, id: &str) {
    let schema = writer.index().schema();
    let mut document = TantivyDocument::new();
    document.add_text(schema.get_field("id").unwrap(), id);
    writer.add_document(document).unwrap();
}

/// An index with one segment for each list of ids.
fn index_with(segments: &[&[&str]]) -> (TempDir, Index) {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create_in_dir(folder.path(), schema()).unwrap();
    add_segments(&index, segments);
    (folder, index)
}

fn add_segments(index: &Index, segments: &[&[&str]]) {
    let mut writer = writer(index);
    for ids in segments {
        for id in *ids {
            add(&writer, id);
        }
        writer.commit().unwrap();
    }
}

async fn open(folder: &TempDir) -> TantivyTarget {
    TantivyTarget::open("search", &setting(folder.path(), "id")).await.unwrap()
}

fn removal(entity: &str, parts: &[&str], action: Action) -> Removal {
    Removal {
        entity: Entity::new(entity),
        key: Key::new(parts.iter().map(ToString::to_string).collect()).unwrap(),
        action,
        at: Timestamp::from_seconds(0),
    }
}

fn batch(number: i64, keys: &[[&str; 2]]) -> Batch {
    Batch { number, removals: keys.iter().map(|key| removal("listing", key, Action::Delete)).collect() }
}

fn live_ids(folder: &TempDir, ids: &[&str]) -> Vec<u64> {
    let index = Index::open_in_dir(folder.path()).unwrap();
    let field = index.schema().get_field("id").unwrap();
    let of_any_age = |id: &&str| Wanted { term: Term::from_field_text(field, id), limit: None };
    let wanted: Vec<Wanted> = ids.iter().map(of_any_age).collect();
    let found = probe::live(&index.reader().unwrap().searcher(), &wanted.iter().collect::<Vec<_>>());
    found.unwrap().iter().map(|found| found.rows).collect()
}

fn payload(folder: &TempDir) -> Option<String> {
    Index::open_in_dir(folder.path()).unwrap().load_metas().unwrap().payload
}

fn codes(effects: &[Effect]) -> Vec<&str> {
    let code = |effect: &Effect| match effect {
        Effect::Failed(failure) => failure.code,
        other => panic!("not a failure: {other:?}"),
    };
    effects.iter().map(code).collect()
}

#[tokio::test]
async fn i8_each_id_is_told_truly_and_only_its_documents_go() {
    let (folder, _index) = index_with(&[&["1:A", "1:B", "1:C"]]);
    let target = open(&folder).await;
    let batch = batch(1, &[["1", "C"], ["9", "Z"], ["1", "A"]]);

    assert_eq!(target.weigh(&batch.removals).await.unwrap(), [1, 0, 1]);
    let effects = target.apply(&batch).await.unwrap();
    assert_eq!(effects, [Effect::Removed { rows: 1 }, Effect::Absent, Effect::Removed { rows: 1 }]);
    assert_eq!(live_ids(&folder, &["1:A", "1:B", "1:C"]), [0, 1, 0]);
    assert_eq!(target.weigh(&batch.removals).await.unwrap(), [0, 0, 0]);
    assert_eq!(target.mirrored(&Entity::new("listing")).await.unwrap(), 1);
    assert_eq!(target.mirrored(&Entity::new("nothing")).await.unwrap(), 0);
}

#[tokio::test]
async fn documents_of_one_id_in_several_segments_all_go_and_are_counted() {
    let (folder, _index) = index_with(&[&["1:A", "1:A", "1:B"], &["1:A"], &["1:C", "1:B"]]);
    let target = open(&folder).await;
    assert_eq!(target.mirrored(&Entity::new("listing")).await.unwrap(), 6);
    let effects = target.apply(&batch(1, &[["1", "A"]])).await.unwrap();
    assert_eq!(effects, [Effect::Removed { rows: 3 }]);
    assert_eq!(live_ids(&folder, &["1:A", "1:B", "1:C"]), [0, 2, 1]);
}

#[tokio::test]
async fn one_id_may_have_more_documents_than_a_block_of_the_index_holds() {
    let many: Vec<&str> = [vec!["1:B"], vec!["1:A"; 300], vec!["1:C"]].concat();
    let (folder, _index) = index_with(&[&many]);
    let effects = open(&folder).await.apply(&batch(1, &[["1", "C"], ["1", "A"]])).await.unwrap();
    assert_eq!(effects, [Effect::Removed { rows: 1 }, Effect::Removed { rows: 300 }]);
    assert_eq!(live_ids(&folder, &["1:A", "1:B", "1:C"]), [0, 1, 0]);
}

#[tokio::test]
async fn i8_deleted_documents_that_no_merge_has_dropped_are_not_counted_again() {
    let (folder, index) = index_with(&[&["1:A", "1:A", "1:B", "1:C"], &["1:A", "1:D"]]);
    let mut other = writer(&index);
    other.delete_term(Term::from_field_text(index.schema().get_field("id").unwrap(), "1:A"));
    other.commit().unwrap();
    add(&other, "1:A");
    other.commit().unwrap();
    drop(other);

    let target = open(&folder).await;
    let effects = target.apply(&batch(1, &[["1", "A"]])).await.unwrap();
    assert_eq!(effects, [Effect::Removed { rows: 1 }]);
    assert_eq!(target.mirrored(&Entity::new("listing")).await.unwrap(), 3);
}

#[tokio::test]
async fn i2_a_batch_that_was_committed_before_a_crash_is_not_carried_out_again() {
    let (folder, index) = index_with(&[&["1:A", "1:B"]]);
    let batch = batch(7, &[["1", "A"], ["1", "Z"]]);
    open(&folder).await.apply(&batch).await.unwrap();
    assert_eq!(payload(&folder).as_deref(), Some("batch=7"));
    let opstamp = index.load_metas().unwrap().opstamp;

    let effects = open(&folder).await.apply(&batch).await.unwrap();
    assert_eq!(effects, [Effect::Absent, Effect::Absent]);
    assert_eq!(index.load_metas().unwrap().opstamp, opstamp, "nothing was committed again");
}

#[tokio::test]
async fn i12_a_document_that_is_there_under_a_committed_batch_is_never_told_as_gone() {
    let (folder, index) = index_with(&[&["1:A"]]);
    let batch = batch(7, &[["1", "A"]]);
    open(&folder).await.apply(&batch).await.unwrap();
    let mut importer = writer(&index);
    add(&importer, "1:A");
    let mut commit = importer.prepare_commit().unwrap();
    commit.set_payload("batch=7");
    commit.commit().unwrap();
    drop(importer);

    let effects = open(&folder).await.apply(&batch).await.unwrap();
    assert_eq!(codes(&effects), ["still_there"]);
    assert_eq!(live_ids(&folder, &["1:A"]), [1]);
}

#[tokio::test]
async fn a_foreign_payload_is_no_batch_and_is_replaced() {
    let (folder, index) = index_with(&[&["1:A"]]);
    let mut importer = writer(&index);
    let mut commit = importer.prepare_commit().unwrap();
    commit.set_payload("imported up to 2024-05-16");
    commit.commit().unwrap();
    drop(importer);

    let effects = open(&folder).await.apply(&batch(1, &[["1", "A"]])).await.unwrap();
    assert_eq!(effects, [Effect::Removed { rows: 1 }]);
    assert_eq!(payload(&folder).as_deref(), Some("batch=1"));
}

#[tokio::test]
async fn a_batch_of_nothing_commits_nothing() {
    let (folder, index) = index_with(&[&["1:A"]]);
    let opstamp = index.load_metas().unwrap().opstamp;
    let target = open(&folder).await;
    assert_eq!(target.apply(&batch(1, &[["1", "Z"]])).await.unwrap(), [Effect::Absent]);
    assert_eq!(target.apply(&batch(2, &[])).await.unwrap(), []);
    assert_eq!(index.load_metas().unwrap().opstamp, opstamp);
}

#[tokio::test]
async fn an_index_that_another_writer_holds_is_unavailable_until_it_is_free() {
    let (folder, index) = index_with(&[&["1:A"]]);
    let other = writer(&index);
    add(&other, "1:B");
    let target = open(&folder).await;
    let batch = batch(1, &[["1", "A"]]);

    let error = target.apply(&batch).await.unwrap_err();
    let TargetError::Unavailable(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("another writer has the index"), "{text}");
    assert!(text.contains(".tantivy-writer.lock"), "{text}");
    assert_eq!(live_ids(&folder, &["1:A"]), [1]);
    assert_eq!(target.mirrored(&Entity::new("listing")).await.unwrap(), 1, "reading needs no lock");

    drop(other);
    assert_eq!(target.apply(&batch).await.unwrap(), [Effect::Removed { rows: 1 }]);
    let locked_out: tantivy::Result<IndexWriter> = index.writer_with_num_threads(1, WRITER_BYTES);
    assert!(locked_out.is_err(), "the lock is kept while batches follow");

    target.rest().await;
    let importer: tantivy::Result<IndexWriter> = index.writer_with_num_threads(1, WRITER_BYTES);
    drop(importer.expect("the lock was given back"));
    drop(target);
    writer(&index);
}

#[tokio::test]
async fn an_index_that_was_rebuilt_in_its_place_is_opened_again_before_anything_is_deleted() {
    let (folder, _index) = index_with(&[&["1:A", "1:B"]]);
    let target = open(&folder).await;
    target.apply(&batch(1, &[["1", "A"]])).await.unwrap();

    let parked = tempfile::tempdir().unwrap();
    std::fs::rename(folder.path(), parked.path().join("old")).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
    let other_order = schema_of(|builder| {
        builder.add_text_field("id", STRING | STORED);
        builder.add_text_field("title", STRING)
    });
    add_segments(&Index::create_in_dir(folder.path(), other_order).unwrap(), &[&["1:A", "1:B", "1:C"]]);

    let effects = target.apply(&batch(2, &[["1", "B"], ["1", "Z"]])).await.unwrap();
    assert_eq!(effects, [Effect::Removed { rows: 1 }, Effect::Absent]);
    assert_eq!(live_ids(&folder, &["1:A", "1:B", "1:C"]), [1, 0, 1]);
}

#[tokio::test]
async fn an_index_of_the_same_schema_that_was_moved_into_place_keeps_its_documents() {
    let (folder, _index) = index_with(&[&["1:A"]]);
    let target = open(&folder).await;
    target.apply(&batch(1, &[["1", "A"]])).await.unwrap();
    let parked = tempfile::tempdir().unwrap();
    std::fs::rename(folder.path(), parked.path().join("old")).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
    add_segments(&Index::create_in_dir(folder.path(), schema()).unwrap(), &[&["1:A", "1:B"]]);

    assert_eq!(target.apply(&batch(2, &[["1", "A"]])).await.unwrap(), [Effect::Removed { rows: 1 }]);
    assert_eq!(live_ids(&folder, &["1:A", "1:B"]), [0, 1]);
}

#[tokio::test]
async fn an_index_that_vanished_is_unavailable_and_not_made_anew() {
    let (folder, _index) = index_with(&[&["1:A"]]);
    let target = open(&folder).await;
    std::fs::remove_dir_all(folder.path()).unwrap();
    let error = target.apply(&batch(1, &[["1", "A"]])).await.unwrap_err();
    assert!(matches!(error, TargetError::Unavailable(_)), "{error:?}");
    assert!(!folder.path().exists());
}

#[tokio::test]
async fn a_deactivation_removes_the_document_only_where_that_is_configured() {
    let (folder, _index) = index_with(&[&["1:A", "2:B"]]);
    let target = open(&folder).await;
    let removals = vec![
        removal("listing", &["1", "A"], Action::Deactivate),
        removal("deal", &["2", "B"], Action::Deactivate),
    ];
    assert_eq!(target.weigh(&removals).await.unwrap(), [0, 1]);
    let effects = target.apply(&Batch { number: 1, removals }).await.unwrap();
    assert_eq!(codes(&effects[..1]), ["deactivation"]);
    assert_eq!(effects[1], Effect::Removed { rows: 1 });
    assert_eq!(live_ids(&folder, &["1:A", "2:B"]), [1, 0]);
}

#[tokio::test]
async fn i6_a_record_that_cannot_be_named_does_not_stop_the_others() {
    let (folder, _index) = index_with(&[&["1:A"]]);
    let target = open(&folder).await;
    let removals = vec![
        removal("listing", &["1"], Action::Delete),
        removal("stranger", &["1", "A"], Action::Delete),
        removal("listing", &["1", "A"], Action::Delete),
    ];
    let effects = target.apply(&Batch { number: 1, removals }).await.unwrap();
    assert_eq!(codes(&effects[..2]), ["key_parts", "entity"]);
    assert_eq!(effects[2], Effect::Removed { rows: 1 });
}

#[tokio::test]
async fn i8_two_keys_with_one_id_do_not_count_its_document_twice() {
    let (folder, _index) = index_with(&[&["1:2:3"]]);
    let target = open(&folder).await;
    let batch = batch(1, &[["1:2", "3"], ["1", "2:3"], ["9", "9"]]);
    assert_eq!(target.weigh(&batch.removals).await.unwrap(), [1, 0, 0]);
    let effects = target.apply(&batch).await.unwrap();
    assert_eq!(effects, [Effect::Removed { rows: 1 }, Effect::Absent, Effect::Absent]);
}

#[tokio::test]
async fn i11_ids_are_matched_byte_for_byte() {
    let ids = ["7:W 1", "7:w 1", "7:W 1 ", "07:W 1", "7:\u{e9}", "7:e\u{301}"];
    let (folder, _index) = index_with(&[&ids]);
    let target = open(&folder).await;
    target.apply(&batch(1, &[["7", "W 1"], ["7", "\u{e9}"]])).await.unwrap();
    assert_eq!(live_ids(&folder, &ids), [0, 1, 1, 1, 0, 1]);
}

#[test]
fn a_commit_that_failed_left_nothing_and_can_be_tried_again() {
    let (folder, index) = index_with(&[&["1:A", "1:B"]]);
    let Tantivy { path, entities } = setting(folder.path(), "id");
    let setting = Arc::new(Setting { name: "search".into(), path, documents: entities });
    let id = [Term::from_field_text(index.schema().get_field("id").unwrap(), "1:A")];
    let (metadata, parked) = (folder.path().join("meta.json"), folder.path().join(".parked"));

    let mut search = SearchIndex::open_or_create(setting).unwrap();
    let open = search.writable().unwrap();
    std::fs::rename(&metadata, &parked).unwrap();
    std::fs::create_dir(&metadata).unwrap();
    assert!(matches!(open.delete(&id, 1), Err(TargetError::Unavailable(_))));
    search.close();
    std::fs::remove_dir(&metadata).unwrap();
    std::fs::rename(&parked, &metadata).unwrap();
    assert_eq!(live_ids(&folder, &["1:A", "1:B"]), [1, 1]);
    assert_eq!(payload(&folder), None);

    search.writable().unwrap().delete(&id, 1).unwrap();
    assert_eq!(live_ids(&folder, &["1:A", "1:B"]), [0, 1]);
}
