//! Whether a document is newer than the deletion that came for it (I3).
//!
//! Exists because a record that was listed again has the document of its name, and a late deletion would take
//! it. A guard is read from its column in each segment, and compared in the unit in which the field keeps it: a
//! document that was changed later within the same unit counts as equally old, and goes, as do documents
//! without a value. It may not change anything.

use tantivy::columnar::Column;
use tantivy::schema::{DateTimePrecision, FieldType, Schema};
use tantivy::{DateTime, DocId, SegmentReader};

use crate::config::target::FieldGuard;
use crate::domain::{Timestamp, timestamp::TimeFormat};

/// What is wrong with a guard's field, and what to do about it.
type Misfit = (String, String);

/// A guard's field, as the index keeps it.
pub(super) struct Guard {
    field: String,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Date(DateTimePrecision),
    Signed(Unit),
    Unsigned(Unit),
}

#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Millis,
}

/// The latest time that goes, in the unit of the guard's field.
#[derive(Clone, Copy)]
pub(super) struct Limit(i64);

/// A guard's values in one segment; `None` if no document of the segment has one.
pub(super) enum Values {
    Date(Option<Column<DateTime>>),
    Signed(Option<Column<i64>>),
    Unsigned(Option<Column<u64>>),
}

impl Guard {
    /// The guard in an index of this schema, or why it can't be one.
    pub(super) fn find(config: &FieldGuard, schema: &Schema) -> Result<Self, Misfit> {
        let name = &config.field;
        let Ok(field) = schema.get_field(name) else {
            let known: Vec<&str> =
                schema.fields().filter(|(_, entry)| entry.is_fast()).map(|(_, entry)| entry.name()).collect();
            return Err((
                format!("the index has no field {name}; no document could be told from a newer one"),
                format!("name the field of the upstream's modification time; FAST are: {}", known.join(", ")),
            ));
        };
        let entry = schema.get_field_entry(field);
        let kind = match entry.field_type() {
            FieldType::Date(options) => date(name, options.get_precision(), config.format)?,
            FieldType::I64(_) => Kind::Signed(unit(name, config.format)?),
            FieldType::U64(_) => Kind::Unsigned(unit(name, config.format)?),
            other => {
                return Err((
                    format!("field {name} holds {}, which is no time here", other.value_type().name()),
                    "name a FAST field of type date, i64 or u64".into(),
                ));
            }
        };
        if !entry.is_fast() {
            return Err((
                format!("field {name} is not FAST; the age of a document could not be read"),
                "make the field FAST and index the documents again, or leave the guard out".into(),
            ));
        }
        Ok(Self { field: name.clone(), kind })
    }

    pub(super) fn field(&self) -> &str {
        &self.field
    }

    /// A field keeps times cut to its precision, so the deletion's time is cut the same way: times that were
    /// equal before stay equal, and go.
    pub(super) fn limit(&self, at: Timestamp) -> Limit {
        Limit(match self.kind {
            Kind::Date(precision) => {
                let at = DateTime::from_timestamp_nanos(at.micros().saturating_mul(1_000));
                micros(at.truncate(precision))
            }
            Kind::Signed(Unit::Seconds) | Kind::Unsigned(Unit::Seconds) => at.seconds(),
            Kind::Signed(Unit::Millis) | Kind::Unsigned(Unit::Millis) => at.millis(),
        })
    }

    /// To be opened once a segment: opening costs more than many looks.
    pub(super) fn values(&self, segment: &SegmentReader) -> tantivy::Result<Values> {
        let columns = segment.fast_fields();
        Ok(match self.kind {
            Kind::Date(_) => Values::Date(columns.column_opt(&self.field)?),
            Kind::Signed(_) => Values::Signed(columns.column_opt(&self.field)?),
            Kind::Unsigned(_) => Values::Unsigned(columns.column_opt(&self.field)?),
        })
    }
}

impl Values {
    /// Whether any value of the document is beyond the limit.
    pub(super) fn newer(&self, document: DocId, Limit(limit): Limit) -> bool {
        match self {
            Self::Date(column) => any(column.as_ref(), document, |time| micros(time) > limit),
            Self::Signed(column) => any(column.as_ref(), document, |time| time > limit),
            // What no i64 holds is later than everything that one does.
            Self::Unsigned(column) => {
                any(column.as_ref(), document, |time| i64::try_from(time).map_or(true, |time| time > limit))
            }
        }
    }
}

fn any<T>(column: Option<&Column<T>>, document: DocId, beyond: impl Fn(T) -> bool) -> bool
where
    T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static,
{
    column.is_some_and(|column| column.values_for_doc(document).any(beyond))
}

/// Deletions are known to the microsecond, with further digits cut; so are dates that have more.
fn micros(time: DateTime) -> i64 {
    time.into_timestamp_nanos().div_euclid(1_000)
}

fn date(name: &str, precision: DateTimePrecision, format: Option<TimeFormat>) -> Result<Kind, Misfit> {
    match format {
        None | Some(TimeFormat::Iso8601) => Ok(Kind::Date(precision)),
        Some(TimeFormat::UnixSeconds | TimeFormat::UnixMillis) => Err((
            format!("field {name} holds dates, and the configuration says that it holds numbers"),
            "leave the format out".into(),
        )),
    }
}

fn unit(name: &str, format: Option<TimeFormat>) -> Result<Unit, Misfit> {
    match format {
        Some(TimeFormat::UnixSeconds) => Ok(Unit::Seconds),
        Some(TimeFormat::UnixMillis) => Ok(Unit::Millis),
        None | Some(TimeFormat::Iso8601) => Err((
            format!("field {name} holds numbers, and the configuration does not say what they count"),
            "add format = \"unix_seconds\" or \"unix_millis\"".into(),
        )),
    }
}
