//! The index in its folder: opened, locked, changed in one commit, and opened afresh when it was replaced.
//!
//! Exists to keep every call of Tantivy's writer in one place. It decides nothing about removals. Everything
//! here blocks, and belongs on a blocking thread.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::directory::error::{LockError, OpenDirectoryError};
use tantivy::directory::{INDEX_WRITER_LOCK, MmapDirectory};
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::schema::{Field, Schema};
use tantivy::{
    Directory, Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, SegmentMeta, TantivyError, Term,
};

use super::super::TargetError;
use super::any_of::AnyOf;
use super::guard::Guard;
use super::probe::{Found, Wanted};
use super::{Setting, probe, schema};
use crate::config::target::Document;
use crate::domain::Entity;

/// Memory of the index writer, bytes: the least that Tantivy accepts. It is for documents that are added,
/// and none are added here.
const WRITER_MEMORY_BYTES: usize = 15_000_000;
/// A segment of which more than one document in so many is deleted is written anew, so that what was deleted
/// also leaves the disk.
const DELETED_DOCUMENTS_OF: u64 = 5;
/// Mark of our commits in the index's metadata, before the batch's number.
const BATCH_MARK: &str = "batch=";

/// The place of an index, and the index while it is open.
pub(super) struct SearchIndex {
    setting: Arc<Setting>,
    open: Option<OpenIndex>,
}

/// An index whose schema fits the configuration.
pub(super) struct OpenIndex {
    setting: Arc<Setting>,
    index: Index,
    reader: IndexReader,
    names: BTreeMap<Entity, Names>,
    writer: Option<Writer>,
}

/// Where an entity's documents have their name, and their age.
pub(super) struct Names {
    pub(super) field: Field,
    pub(super) guard: Option<Arc<Guard>>,
}

/// The only writer of the index, and by which file it is that.
struct Writer {
    writer: IndexWriter,
    lock: FileId,
}

/// Device and inode: which file a path means at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl SearchIndex {
    /// Opens the index in its folder, or creates a minimal one where there is none.
    pub(super) fn open_or_create(setting: Arc<Setting>) -> Result<Self, TargetError> {
        let path = &setting.path;
        std::fs::create_dir_all(path).map_err(|error| io_error(path, &error))?;
        let directory = MmapDirectory::open(path).map_err(|error| fault(path, &error.into()))?;
        if !Index::exists(&directory).map_err(|error| fault(path, &error.into()))? {
            refuse_foreign_folder(path)?;
            Index::create(directory, schema::minimal(&setting), IndexSettings::default())
                .map_err(|error| fault(path, &error))?;
        }
        let open = OpenIndex::open(&setting)?;
        Ok(Self { setting, open: Some(open) })
    }

    /// The index as it is on disk now; opened again if another one took its place.
    pub(super) fn current(&mut self) -> Result<&mut OpenIndex, TargetError> {
        let kept = match self.open.take() {
            Some(open) if open.is_current()? => open,
            _ => OpenIndex::open(&self.setting)?,
        };
        if kept.writer.is_none() {
            // Otherwise nobody but us can have written since, and our own commits are shown to the reader.
            kept.reload()?;
        }
        Ok(self.open.insert(kept))
    }

    /// The same, with the index's writer lock held.
    pub(super) fn writable(&mut self) -> Result<&mut OpenIndex, TargetError> {
        if self.current()?.writer.is_none() {
            // Opened again, since the list of files is read when an index is opened, and the writer writes it.
            let mut open = OpenIndex::open(&self.setting)?;
            open.writer = Some(Writer::take(&self.setting.path, &open.index)?);
            open.reload()?;
            self.open = Some(open);
        }
        self.open.as_mut().ok_or_else(|| TargetError::Unavailable("the index is closed".into()))
    }

    pub(super) fn schema_on_disk(&self) -> Result<Schema, TargetError> {
        let path = &self.setting.path;
        Ok(Index::open_in_dir(path).map_err(|error| fault(path, &error))?.schema())
    }

    /// Writes segments anew that hold many deleted documents, and gives the writer's lock back. Waited for, so
    /// that nothing of it goes on when the lock is free.
    pub(super) fn rest(&mut self) -> Result<(), TargetError> {
        let Some(mut open) = self.open.take_if(|open| open.writer.is_some()) else { return Ok(()) };
        if !open.is_current()? {
            return Ok(());
        }
        let Some(Writer { mut writer, .. }) = open.writer.take() else { return Ok(()) };
        let segments = open.index.searchable_segment_metas().map_err(|error| open.fault(&error))?;
        let worn: Vec<_> = segments.iter().filter(|segment| is_worn(segment)).map(SegmentMeta::id).collect();
        if !worn.is_empty() {
            writer.merge(&worn).wait().map_err(|error| open.fault(&error))?;
        }
        writer.wait_merging_threads().map_err(|error| open.fault(&error))
    }

    /// Gives up the writer with all that was not committed, and its lock.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

impl OpenIndex {
    fn open(setting: &Arc<Setting>) -> Result<Self, TargetError> {
        let path = &setting.path;
        let index = Index::open_in_dir(path).map_err(|error| fault(path, &error))?;
        let schema = index.schema();
        if let Some(faults) = schema::faults(&schema::findings(setting, &schema)) {
            return Err(TargetError::Misconfigured(format!("index {}: {faults}", path.display())));
        }
        let names = setting
            .documents
            .iter()
            .map(|(entity, document)| Ok((entity.clone(), Names::find(document, &schema)?)))
            .collect::<tantivy::Result<_>>()
            .map_err(|error| fault(path, &error))?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(|error| fault(path, &error))?;
        Ok(Self { setting: Arc::clone(setting), index, reader, names, writer: None })
    }

    /// Whether the folder still holds this index. A rebuilt index that was moved into its place has another
    /// schema, or another lock file than ours; writing on would mix the two.
    fn is_current(&self) -> Result<bool, TargetError> {
        let lock_is_ours = match &self.writer {
            None => true,
            Some(writer) => lock_id(&self.setting.path)? == Some(writer.lock),
        };
        let on_disk = self.index.load_metas().map_err(|error| self.fault(&error))?;
        Ok(lock_is_ours && on_disk.schema == self.index.schema())
    }

    /// How the entity's documents are named, and in which fields.
    pub(super) fn document(&self, entity: &Entity) -> Option<(&Document, &Names)> {
        Some((self.setting.documents.get(entity)?, self.names.get(entity)?))
    }

    pub(super) fn live_documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// Live documents of each id, and whether one is newer than it may be.
    pub(super) fn live(&self, wanted: &[&Wanted]) -> Result<Vec<Found>, TargetError> {
        probe::live(&self.reader.searcher(), wanted).map_err(|error| self.fault(&error))
    }

    /// Number of the batch that the last commit carries; `None` if the last commit is not ours.
    pub(super) fn committed_batch(&self) -> Result<Option<i64>, TargetError> {
        let payload = self.index.load_metas().map_err(|error| self.fault(&error))?.payload;
        Ok(payload.as_deref().and_then(|text| text.strip_prefix(BATCH_MARK)?.parse().ok()))
    }

    /// Deletes the documents of `terms` and commits, under the batch's number.
    ///
    /// An error may come after the commit, if it could not be made durable or be looked at. The batch is told
    /// by its number then, and only looked at when it comes again.
    pub(super) fn delete(&mut self, terms: &[Term], batch: i64) -> Result<(), TargetError> {
        let Some(Writer { writer, .. }) = &mut self.writer else {
            return Err(TargetError::Unavailable("the index is not locked for writing".into()));
        };
        let deletion = writer.delete_query(Box::new(AnyOf::new(terms.to_vec())));
        let committed = deletion.and_then(|_| writer.prepare_commit()).and_then(|mut prepared| {
            prepared.set_payload(&format!("{BATCH_MARK}{batch}"));
            prepared.commit()
        });
        committed.map_err(|error| self.fault(&error))?;
        self.settle()
    }

    /// Makes the last commit survive a power cut, and shows it to the reader. Tantivy syncs the folder before
    /// it moves the metadata into place, and not after.
    pub(super) fn settle(&self) -> Result<(), TargetError> {
        self.index.directory().sync_directory().map_err(|error| self.fault(&error.into()))?;
        self.reload()
    }

    fn reload(&self) -> Result<(), TargetError> {
        self.reader.reload().map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &TantivyError) -> TargetError {
        fault(&self.setting.path, error)
    }
}

impl Names {
    fn find(document: &Document, schema: &Schema) -> tantivy::Result<Self> {
        let guard = document.guard.as_ref().map(|guard| Guard::find(guard, schema)).transpose();
        let guard = guard.map_err(|(what, _)| TantivyError::SchemaError(what))?;
        Ok(Self { field: schema.get_field(&document.field)?, guard: guard.map(Arc::new) })
    }
}

impl Writer {
    fn take(path: &Path, index: &Index) -> Result<Self, TargetError> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(WRITER_MEMORY_BYTES)
            .build();
        let writer: IndexWriter = index.writer_with_options(options).map_err(|error| fault(path, &error))?;
        // No merge behind our back: one that ends after another index was moved into this place would write
        // its own list of files over that one's. See `rest`.
        writer.set_merge_policy(Box::new(NoMergePolicy));
        // An interrupted commit leaves its list of deleted documents behind, under the name that the next
        // commit wants: Tantivy would refuse that one, and every later one.
        writer.garbage_collect_files().wait().map_err(|error| fault(path, &error))?;
        let lock = lock_id(path)?.ok_or_else(|| {
            TargetError::Unavailable(format!("index {} was moved away while it was opened", path.display()))
        })?;
        Ok(Self { writer, lock })
    }
}

/// Whether a segment is worth writing anew for what was deleted from it.
fn is_worn(segment: &SegmentMeta) -> bool {
    let deleted = u64::from(segment.num_deleted_docs());
    deleted * DELETED_DOCUMENTS_OF > u64::from(segment.max_doc())
}

fn lock_path(path: &Path) -> PathBuf {
    path.join(&INDEX_WRITER_LOCK.filepath)
}

/// The lock file that the folder holds. An inode is not used again while we hold it open.
fn lock_id(path: &Path) -> Result<Option<FileId>, TargetError> {
    let lock = lock_path(path);
    match std::fs::metadata(&lock) {
        Ok(metadata) => Ok(Some(FileId(metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&lock, &error)),
    }
}

/// A mistyped path must not become an index among somebody's files. Hidden ones are what an interrupted
/// creation leaves.
fn refuse_foreign_folder(path: &Path) -> Result<(), TargetError> {
    let entries = std::fs::read_dir(path).map_err(|error| io_error(path, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| io_error(path, &error))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            return Err(TargetError::Misconfigured(format!(
                "folder {} holds files but no index; name the index's folder, or an empty one",
                path.display()
            )));
        }
    }
    Ok(())
}

fn io_error(path: &Path, error: &std::io::Error) -> TargetError {
    TargetError::Unavailable(format!("{}: {error}", path.display()))
}

/// What Tantivy's errors mean to the applier. Texts of damaged files are not repeated: they may hold anything.
fn fault(path: &Path, error: &TantivyError) -> TargetError {
    let place = path.display();
    match error {
        TantivyError::LockFailure(LockError::LockBusy, _) => TargetError::Unavailable(format!(
            "another writer has the index: {} is locked; let that process end or release the index",
            lock_path(path).display()
        )),
        TantivyError::DataCorruption(_) => {
            TargetError::Misconfigured(format!("index {place} is damaged; restore or rebuild it"))
        }
        TantivyError::IncompatibleIndex(_)
        | TantivyError::SchemaError(_)
        | TantivyError::FieldNotFound(_)
        | TantivyError::InvalidArgument(_)
        | TantivyError::MissingPlugin(_)
        | TantivyError::ConflictingPlugins(_)
        | TantivyError::UnexpectedPlugin(_)
        | TantivyError::OpenDirectoryError(OpenDirectoryError::NotADirectory(_)) => {
            TargetError::Misconfigured(format!("index {place}: {error}"))
        }
        _ => TargetError::Unavailable(format!("index {place}: {error}")),
    }
}
