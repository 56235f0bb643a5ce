//! What is newer than its deletion stays, whatever the field that tells its age.

use tantivy::DateTime;
use tantivy::schema::{DateOptions, DateTimePrecision, FAST, INDEXED, NumericOptions};

use super::*;
use crate::config::target::FieldGuard;
use crate::domain::timestamp::TimeFormat;
use crate::targets::Severity;

/// 2024-11-19T21:25:27.869Z, in milliseconds.
const AT: i64 = 1_732_051_527_869;

type MakeField = fn(&mut SchemaBuilder) -> Field;

/// A kind of guard field: how it is made, how a time in milliseconds is written, and the format to name.
struct Sort {
    field: MakeField,
    add: fn(&mut TantivyDocument, Field, i64),
    format: Option<TimeFormat>,
    /// Milliseconds that the field tells apart.
    unit: i64,
}

fn dates(builder: &mut SchemaBuilder, precision: DateTimePrecision) -> Field {
    builder.add_date_field("updated_at", DateOptions::from(FAST).set_precision(precision))
}

const SORTS: [Sort; 6] = [
    Sort {
        field: |builder| dates(builder, DateTimePrecision::Seconds),
        add: |document, field, at| document.add_date(field, DateTime::from_timestamp_millis(at)),
        format: None,
        unit: 1_000,
    },
    Sort {
        field: |builder| dates(builder, DateTimePrecision::Milliseconds),
        add: |document, field, at| document.add_date(field, DateTime::from_timestamp_millis(at)),
        format: None,
        unit: 1,
    },
    Sort {
        field: |builder| dates(builder, DateTimePrecision::Nanoseconds),
        add: |document, field, at| {
            // Less than the microsecond to which deletions are known.
            document.add_date(field, DateTime::from_timestamp_nanos(at * 1_000_000 + 999));
        },
        format: Some(TimeFormat::Iso8601),
        unit: 1,
    },
    Sort {
        field: |builder| builder.add_i64_field("updated_at", FAST),
        add: |document, field, at| document.add_i64(field, at.div_euclid(1_000)),
        format: Some(TimeFormat::UnixSeconds),
        unit: 1_000,
    },
    Sort {
        field: |builder| builder.add_i64_field("updated_at", FAST | INDEXED),
        add: |document, field, at| document.add_i64(field, at),
        format: Some(TimeFormat::UnixMillis),
        unit: 1,
    },
    Sort {
        field: |builder| builder.add_u64_field("updated_at", FAST),
        add: |document, field, at| document.add_u64(field, u64::try_from(at).unwrap()),
        format: Some(TimeFormat::UnixMillis),
        unit: 1,
    },
];

const MILLIS: &Sort = &SORTS[4];

/// An index with one segment for each list of ids and times.
fn aged(sort: &Sort, segments: &[&[(&str, Option<i64>)]]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema_of(|builder| {
        (sort.field)(builder);
        builder.add_text_field("id", STRING)
    });
    let index = Index::create_in_dir(folder.path(), schema).unwrap();
    for documents in segments {
        add_aged(&index, sort, documents);
    }
    folder
}

fn add_aged(index: &Index, sort: &Sort, documents: &[(&str, Option<i64>)]) {
    let field = |name| index.schema().get_field(name).unwrap();
    let mut writer = writer(index);
    for (id, at) in documents {
        let mut document = TantivyDocument::new();
        document.add_text(field("id"), id);
        if let Some(at) = at {
            (sort.add)(&mut document, field("updated_at"), *at);
        }
        writer.add_document(document).unwrap();
    }
    writer.commit().unwrap();
}

fn guarded(path: &Path, format: Option<TimeFormat>) -> Tantivy {
    let mut setting = setting(path, "id");
    for document in setting.entities.values_mut() {
        document.guard = Some(FieldGuard { field: "updated_at".into(), format });
    }
    setting
}

async fn open_guarded(folder: &TempDir, sort: &Sort) -> TantivyTarget {
    TantivyTarget::open("search", &guarded(folder.path(), sort.format)).await.unwrap()
}

/// Deletions at `AT`, unless another time is given.
fn late(number: i64, keys: &[[&str; 2]]) -> Batch {
    let mut batch = batch(number, keys);
    for removal in &mut batch.removals {
        removal.at = Timestamp::from_millis(AT);
    }
    batch
}

#[tokio::test]
async fn i3_newer_stays_and_equal_older_and_unknown_go_by_the_unit_of_the_field() {
    for (number, sort) in SORTS.iter().enumerate() {
        let next_unit = AT.div_euclid(sort.unit) * sort.unit + sort.unit;
        let folder = aged(
            sort,
            &[
                &[("1:newer", Some(next_unit)), ("1:equal", Some(AT)), ("1:same-unit", Some(next_unit - 1))],
                &[("1:older", Some(AT - sort.unit)), ("1:none", None), ("1:other", Some(0))],
                &[("1:alone", None)],
            ],
        );
        let target = open_guarded(&folder, sort).await;
        let keys = ["newer", "equal", "same-unit", "older", "none", "gone", "alone"];
        let batch = late(1, &keys.map(|key| ["1", key]));

        assert_eq!(target.weigh(&batch.removals).await.unwrap(), [0, 1, 1, 1, 1, 0, 1], "{number}");
        let removed = Effect::Removed { rows: 1 };
        let [equal, same, older, none, alone] = std::array::from_fn(|_| removed.clone());
        let effects = target.apply(&batch).await.unwrap();
        assert_eq!(effects, [Effect::Newer, equal, same, older, none, Effect::Absent, alone], "{number}");
        let ids = ["1:newer", "1:equal", "1:same-unit", "1:older", "1:none", "1:other", "1:alone"];
        assert_eq!(live_ids(&folder, &ids), [1, 0, 0, 0, 0, 1, 0], "{number}");
    }
}

#[tokio::test]
async fn i3_equal_times_before_1970_go_although_they_are_cut_the_other_way() {
    for sort in &SORTS[..5] {
        let folder = aged(sort, &[&[("1:A", Some(-1_500))]]);
        let mut batch = batch(1, &[["1", "A"]]);
        batch.removals[0].at = Timestamp::from_millis(-1_500);
        let effects = open_guarded(&folder, sort).await.apply(&batch).await.unwrap();
        assert_eq!(effects, [Effect::Removed { rows: 1 }]);
    }
}

#[tokio::test]
async fn i3_no_time_is_beyond_the_comparison() {
    for sort in &SORTS {
        let folder = aged(sort, &[&[("1:A", Some(0)), ("1:B", Some(0))]]);
        let mut batch = batch(1, &[["1", "A"], ["1", "B"]]);
        batch.removals[0].at = Timestamp::MIN;
        batch.removals[1].at = Timestamp::from_micros(i64::MAX);
        let effects = open_guarded(&folder, sort).await.apply(&batch).await.unwrap();
        assert_eq!(effects, [Effect::Newer, Effect::Removed { rows: 1 }]);
    }
}

#[tokio::test]
async fn i3_a_number_that_no_signed_one_holds_is_newer() {
    let sort = Sort {
        add: |document, field, _| document.add_u64(field, u64::MAX),
        format: SORTS[5].format,
        ..SORTS[5]
    };
    let folder = aged(&sort, &[&[("1:A", Some(0))]]);
    assert_eq!(
        open_guarded(&folder, &sort).await.apply(&late(1, &[["1", "A"]])).await.unwrap(),
        [Effect::Newer]
    );
}

#[tokio::test]
async fn i3_one_newer_document_of_an_id_keeps_all_of_them() {
    let documents: [&[(&str, Option<i64>)]; 3] = [
        &[("1:A", Some(AT - 1)), ("1:A", None), ("1:B", Some(AT))],
        &[("1:A", Some(AT + 1)), ("1:A", Some(AT))],
        &[("1:B", None)],
    ];
    let folder = aged(MILLIS, &documents);
    let effects =
        open_guarded(&folder, MILLIS).await.apply(&late(1, &[["1", "A"], ["1", "B"]])).await.unwrap();
    assert_eq!(effects, [Effect::Newer, Effect::Removed { rows: 2 }]);
    assert_eq!(live_ids(&folder, &["1:A", "1:B"]), [4, 0]);
}

#[tokio::test]
async fn i3_a_newer_document_that_was_deleted_keeps_nothing() {
    let folder = aged(MILLIS, &[&[("1:A", Some(AT + 1)), ("1:B", Some(AT))]]);
    let index = Index::open_in_dir(folder.path()).unwrap();
    let mut importer = writer(&index);
    importer.delete_term(Term::from_field_text(index.schema().get_field("id").unwrap(), "1:A"));
    importer.commit().unwrap();
    drop(importer);
    add_aged(&index, MILLIS, &[("1:A", Some(AT))]);
    let searcher = index.reader().unwrap().searcher();
    let first = &searcher.segment_readers()[0];
    assert_eq!((first.max_doc(), first.num_docs()), (2, 1), "the deleted document is still in its segment");

    let effects = open_guarded(&folder, MILLIS).await.apply(&late(1, &[["1", "A"]])).await.unwrap();
    assert_eq!(effects, [Effect::Removed { rows: 1 }]);
}

#[tokio::test]
async fn i3_two_keys_with_one_id_are_judged_each_by_its_own_time() {
    for newest_first in [true, false] {
        let folder = aged(MILLIS, &[&[("1:2:3", Some(AT))]]);
        let target = open_guarded(&folder, MILLIS).await;
        let mut batch = late(1, &[["1:2", "3"], ["1", "2:3"]]);
        let old = usize::from(newest_first);
        batch.removals[old].at = Timestamp::from_millis(AT - 1);
        let mut weights = [1, 1];
        weights[old] = 0;
        assert_eq!(target.weigh(&batch.removals).await.unwrap(), weights);
        let effects = target.apply(&batch).await.unwrap();
        assert_eq!(effects[old], Effect::Newer);
        assert_eq!(effects[1 - old], Effect::Removed { rows: 1 });
    }
    let folder = aged(MILLIS, &[&[("1:2:3", Some(AT + 1))]]);
    let effects =
        open_guarded(&folder, MILLIS).await.apply(&late(1, &[["1:2", "3"], ["1", "2:3"]])).await.unwrap();
    assert_eq!(effects, [Effect::Newer, Effect::Newer]);
    assert_eq!(live_ids(&folder, &["1:2:3"]), [1]);
}

#[tokio::test]
async fn i3_a_batch_that_comes_again_leaves_what_was_listed_again_since_its_commit() {
    let folder = aged(MILLIS, &[&[("1:A", Some(AT)), ("1:B", Some(AT)), ("1:C", Some(AT + 1))]]);
    let batch = late(7, &[["1", "A"], ["1", "B"], ["1", "C"]]);
    let removed = || Effect::Removed { rows: 1 };
    let effects = open_guarded(&folder, MILLIS).await.apply(&batch).await.unwrap();
    assert_eq!(effects, [removed(), removed(), Effect::Newer]);

    let effects = open_guarded(&folder, MILLIS).await.apply(&batch).await.unwrap();
    assert_eq!(effects, [Effect::Absent, Effect::Absent, Effect::Newer]);
    // The importer's commit takes the batch's number away: the batch is carried out again, and harms nothing.
    add_aged(&Index::open_in_dir(folder.path()).unwrap(), MILLIS, &[("1:A", Some(AT + 1))]);
    assert_eq!(payload(&folder), None);
    let effects = open_guarded(&folder, MILLIS).await.apply(&batch).await.unwrap();
    assert_eq!(effects, [Effect::Newer, Effect::Absent, Effect::Newer]);
    assert_eq!(live_ids(&folder, &["1:A", "1:B", "1:C"]), [1, 0, 1]);
}

#[tokio::test]
async fn a_batch_of_newer_records_commits_nothing() {
    let folder = aged(MILLIS, &[&[("1:A", Some(AT + 1))]]);
    let effects = open_guarded(&folder, MILLIS).await.apply(&late(1, &[["1", "A"]])).await.unwrap();
    assert_eq!(effects, [Effect::Newer]);
    assert_eq!(payload(&folder), None);
}

#[tokio::test]
async fn i3_thousands_of_ids_over_many_segments_are_judged_one_by_one() {
    let ids: Vec<String> = (0..3_000).map(|number| format!("1:{number}")).collect();
    let documents: Vec<(&str, Option<i64>)> =
        ids.iter().zip(0..).map(|(id, number)| (id.as_str(), Some(AT + number % 3 - 1))).collect();
    let folder = aged(MILLIS, &documents.chunks(700).collect::<Vec<_>>());
    let keys: Vec<[&str; 2]> = ids.iter().rev().map(|id| ["1", &id[2..]]).collect();
    let effects = open_guarded(&folder, MILLIS).await.apply(&late(1, &keys)).await.unwrap();
    let expected = |number: usize| if number % 3 == 2 { Effect::Newer } else { Effect::Removed { rows: 1 } };
    assert_eq!(effects, (0..3_000).rev().map(expected).collect::<Vec<_>>());
}

#[tokio::test]
async fn fields_that_tell_no_age_are_refused_by_name_and_by_check() {
    let (seconds, dates) = (Some(TimeFormat::UnixSeconds), None);
    let cases: [(&str, Option<TimeFormat>, MakeField); 8] = [
        ("has no field updated_at", dates, |builder| builder.add_date_field("at", FAST)),
        ("holds Str", dates, |builder| builder.add_text_field("updated_at", STRING | FAST)),
        ("holds F64", seconds, |builder| builder.add_f64_field("updated_at", FAST)),
        ("is not FAST", dates, |builder| builder.add_date_field("updated_at", INDEXED)),
        ("is not FAST", seconds, |builder| {
            builder.add_u64_field("updated_at", NumericOptions::default().set_stored())
        }),
        ("does not say what they count", dates, |builder| builder.add_i64_field("updated_at", FAST)),
        ("does not say what they count", Some(TimeFormat::Iso8601), |builder| {
            builder.add_u64_field("updated_at", FAST)
        }),
        ("holds dates", seconds, |builder| builder.add_date_field("updated_at", FAST)),
    ];
    for (expected, format, field) in cases {
        let schema = schema_of(|builder| {
            field(builder);
            builder.add_text_field("id", STRING)
        });
        let folder = tempfile::tempdir().unwrap();
        let target =
            TantivyTarget::open("search", &guarded(&folder.path().join("made"), format)).await.unwrap();
        std::fs::remove_dir_all(folder.path().join("made")).unwrap();
        std::fs::create_dir(folder.path().join("made")).unwrap();
        Index::create_in_dir(folder.path().join("made"), schema).unwrap();

        let findings = target.check().await.unwrap();
        let of_guard =
            findings.iter().find(|finding| finding.place == "targets.search.entities.listing.guard");
        assert_eq!(
            of_guard.map(|finding| finding.severity),
            Some(Severity::Fault),
            "{expected}: {findings:?}"
        );
        let again = TantivyTarget::open("search", &guarded(&folder.path().join("made"), format)).await;
        let Err(TargetError::Misconfigured(text)) = again else { panic!("{expected} was opened") };
        assert!(text.contains(expected) && text.contains("entities.listing.guard"), "{text}");
    }
}

#[tokio::test]
async fn an_index_that_is_made_here_has_the_guard_that_it_is_asked_for() {
    for format in [None, Some(TimeFormat::UnixSeconds)] {
        let folder = tempfile::tempdir().unwrap();
        let target = TantivyTarget::open("search", &guarded(folder.path(), format)).await.unwrap();
        let findings = target.check().await.unwrap();
        assert_eq!(findings.len(), 1, "only that it is empty: {findings:?}");
    }
}

#[tokio::test]
async fn a_field_cannot_be_both_the_name_and_the_age() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = guarded(folder.path(), None);
    for document in config.entities.values_mut() {
        document.guard = Some(FieldGuard { field: "id".into(), format: None });
    }
    let error = TantivyTarget::open("search", &config).await.err().unwrap();
    assert!(matches!(error, TargetError::Misconfigured(_)), "{error:?}");
}

#[tokio::test]
async fn check_warns_of_an_index_without_a_guard() {
    let (folder, _index) = index_with(&[&["1:A"]]);
    let findings = open(&folder).await.check().await.unwrap();
    let places: Vec<_> = findings.iter().map(|finding| (finding.severity, finding.place.as_str())).collect();
    let guard = |place| (Severity::Warning, place);
    assert_eq!(
        places,
        [guard("targets.search.entities.deal.guard"), guard("targets.search.entities.listing.guard")]
    );
    assert!(findings[0].what.contains("listed again"), "{findings:?}");
}

#[tokio::test]
async fn check_warns_of_a_guard_that_looks_like_the_time_of_our_own_copying() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = guarded(folder.path(), None);
    for document in config.entities.values_mut() {
        document.guard = Some(FieldGuard { field: "Indexed_at".into(), format: None });
    }
    let findings = TantivyTarget::open("search", &config).await.unwrap().check().await.unwrap();
    let says =
        |finding: &Finding| finding.place.ends_with("listing.guard") && finding.what.contains("shield");
    assert!(
        findings.iter().any(|finding| finding.severity == Severity::Warning && says(finding)),
        "{findings:?}"
    );
}
