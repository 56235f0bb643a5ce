//! Secrets that upstreams gave us while we subscribed, and the subscriptions that are being made, in files beside the
//! journal that only their owner can read.
//!
//! A command that subscribes and the daemon that takes the handshake are two processes: what passes between them is
//! a file. A secret is kept whole or not at all, is on disk before the upstream hears that we have it, and is never
//! overwritten: whoever could replace one could send us deletions. Nothing of a secret is in a name, an error or a
//! log (I10).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use crate::config::Secret;
use crate::domain::Timestamp;

/// How long a subscription may be in the making, for a command that died meanwhile: a minute for the upstream's answer
/// and one for its handshake.
pub const PENDING: Duration = Duration::from_mins(2);
/// The parameter of the subscribed address that holds the word which the handshake has to say.
pub const HANDSHAKE_WORD: &str = "handshake";
/// Bytes of a secret in a header: known ones have 64.
pub const SECRET_BYTES_MAX: usize = 1_024;
/// Fewer could be tried out.
pub const SECRET_BYTES_MIN: usize = 8;
/// Characters of an event's name, which is part of a file's.
const EVENT_CHARS_MAX: usize = 128;

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{0:?} is not the name of an event: letters, digits, \"_\", \"-\" and \".\"")]
    Name(String),
    #[error(
        "there is a secret for {source_name} {event} already, which is never overwritten: unsubscribe first"
    )]
    Kept { source_name: String, event: String },
    #[error("a subscription to {source_name} {event} is being made already: wait until it has ended")]
    Pending { source_name: String, event: String },
    #[error("an offered secret has {0} bytes: fewer than {SECRET_BYTES_MIN} or more than {SECRET_BYTES_MAX}")]
    Length(usize),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
}

/// What came of a secret that an upstream offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is on disk now.
    Taken,
    /// It was there already: the upstream says it again.
    Known,
    /// Nobody is subscribing, or another secret is kept.
    Refused,
}

/// The secrets and pending subscriptions of one state.
#[derive(Clone, Debug)]
pub struct Vault {
    folder: PathBuf,
}

/// Changes when anything in a source's part of the vault does: seconds and nanoseconds of the change, and the folder.
pub type Version = (i64, i64, u64);

impl Vault {
    /// Beside the journal: `data/expunged.db` has `data/expunged.subscriptions`.
    #[must_use]
    pub fn beside(journal: &Path) -> Self {
        Self { folder: journal.with_extension("subscriptions") }
    }

    /// Opens the door for a handshake of this event, for [`PENDING`] from `now`. Whoever makes it has to say `word`,
    /// which nobody knows but the upstream that is told of it: anybody else could offer us a secret of his own.
    ///
    /// # Errors
    /// There is a secret already, or somebody else is subscribing.
    pub fn expect(&self, source: &str, event: &str, word: &str, now: Timestamp) -> Result<(), VaultError> {
        let (secret, pending) = (self.file(source, event, "secret")?, self.file(source, event, "pending")?);
        if secret.exists() {
            return Err(VaultError::Kept { source_name: source.to_owned(), event: event.to_owned() });
        }
        if self.awaited(source, event, now).is_some() {
            return Err(VaultError::Pending { source_name: source.to_owned(), event: event.to_owned() });
        }
        self.make_folder(source)?;
        remove(&pending)?;
        self.write_new(&pending, format!("{} {word}", now.plus(PENDING).micros()).as_bytes())
    }

    /// Whether a handshake of this event that says this word is awaited.
    #[must_use]
    pub fn expects(&self, source: &str, event: &str, word: &str, now: Timestamp) -> bool {
        let awaited = self.awaited(source, event, now);
        awaited.is_some_and(|awaited| bool::from(awaited.as_bytes().ct_eq(word.as_bytes())))
    }

    /// The word of the handshake that is awaited.
    fn awaited(&self, source: &str, event: &str, now: Timestamp) -> Option<String> {
        let text = String::from_utf8(read(&self.file(source, event, "pending").ok()?).ok()?).ok()?;
        let (until, word) = text.split_once(' ')?;
        (now < Timestamp::from_micros(until.parse().ok()?)).then(|| word.to_owned())
    }

    /// Shuts the door that [`Vault::expect`] opened.
    ///
    /// # Errors
    /// The file is still there.
    pub fn stop_expecting(&self, source: &str, event: &str) -> Result<(), VaultError> {
        remove(&self.file(source, event, "pending")?)
    }

    /// Keeps an offered secret, if one is expected with this word and none is kept.
    ///
    /// # Errors
    /// It is no secret, or could not be put on disk: then the upstream must not hear that we have it.
    pub fn offer(
        &self,
        source: &str,
        event: &str,
        word: &str,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<Offer, VaultError> {
        if !self.expects(source, event, word, now) {
            return Ok(Offer::Refused);
        }
        let bytes = secret.expose().len();
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes) {
            return Err(VaultError::Length(bytes));
        }
        let file = self.file(source, event, "secret")?;
        // Whole under another name first: a name that is there holds all of it, and linking never replaces one.
        let whole = self.file(source, event, "offered")?;
        remove(&whole)?;
        self.write_new(&whole, secret.expose())?;
        let linked = fs::hard_link(&whole, &file);
        remove(&whole)?;
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let same = read(&file).is_ok_and(|kept| kept == secret.expose());
                return Ok(if same { Offer::Known } else { Offer::Refused });
            }
            Err(error) => return Err(VaultError::File { path: file, error }),
        }
        self.flush_folder(source)?;
        Ok(Offer::Taken)
    }

    /// The secret that is kept for an event.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn secret(&self, source: &str, event: &str) -> Result<Option<Secret>, VaultError> {
        let file = self.file(source, event, "secret")?;
        match read(&file) {
            Ok(bytes) => Ok(Some(Secret::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(VaultError::File { path: file, error }),
        }
    }

    /// Events of a source with the secrets that are kept for them, in the order of their names.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn secrets(&self, source: &str) -> Result<Vec<(String, Secret)>, VaultError> {
        let folder = self.folder.join(source);
        let fault = |error| VaultError::File { path: folder.clone(), error };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault(error)),
        };
        let names: Vec<OsString> =
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>().map_err(fault)?;
        let mut events: Vec<String> = names
            .iter()
            .filter_map(|name| Some(name.to_str()?.strip_suffix(".secret")?.to_owned()))
            .collect();
        events.sort();
        let mut secrets = Vec::new();
        for event in events {
            // One that went in between is not kept any more.
            if let Some(secret) = self.secret(source, &event)? {
                secrets.push((event, secret));
            }
        }
        Ok(secrets)
    }

    /// Forgets the secret of an event; `false` if there was none.
    ///
    /// # Errors
    /// It is still there.
    pub fn forget(&self, source: &str, event: &str) -> Result<bool, VaultError> {
        let file = self.file(source, event, "secret")?;
        let kept = file.exists();
        remove(&file)?;
        Ok(kept)
    }

    /// Tells by one look whether a source's secrets may have changed; all zeroes while it never had any.
    #[must_use]
    pub fn version(&self, source: &str) -> Version {
        fs::metadata(self.folder.join(source))
            .map_or_else(|_| Version::default(), |folder| (folder.mtime(), folder.mtime_nsec(), folder.ino()))
    }

    fn file(&self, source: &str, event: &str, kind: &str) -> Result<PathBuf, VaultError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let named = event.len() <= EVENT_CHARS_MAX && event.bytes().all(plain);
        if !named || !event.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(VaultError::Name(event.chars().take(EVENT_CHARS_MAX).collect()));
        }
        Ok(self.folder.join(source).join(format!("{event}.{kind}")))
    }

    fn make_folder(&self, source: &str) -> Result<(), VaultError> {
        for path in [self.folder.clone(), self.folder.join(source)] {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .and_then(|()| self.hand_over(&path));
            made.map_err(|error| VaultError::File { path, error })?;
        }
        Ok(())
    }

    fn write_new(&self, file: &Path, bytes: &[u8]) -> Result<(), VaultError> {
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let written = new.and_then(|mut new| {
            new.write_all(bytes)?;
            self.hand_over(file)?;
            new.sync_all()
        });
        written.map_err(|error| VaultError::File { path: file.to_owned(), error })
    }

    /// What an administrator makes is the daemon's: it belongs to whom the state's folder belongs to.
    fn hand_over(&self, path: &Path) -> io::Result<()> {
        let parent = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let (state, ours) = (fs::metadata(parent.unwrap_or(Path::new(".")))?, fs::metadata(path)?);
        if state.uid() == ours.uid() {
            return Ok(());
        }
        chown(path, Some(state.uid()), Some(state.gid()))
    }

    /// A new name is on disk when its folder is.
    fn flush_folder(&self, source: &str) -> Result<(), VaultError> {
        let path = self.folder.join(source);
        let flushed = OpenOptions::new().read(true).open(&path).and_then(|folder| folder.sync_all());
        flushed.map_err(|error| VaultError::File { path, error })
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    OpenOptions::new().read(true).open(file)?.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn remove(file: &Path) -> Result<(), VaultError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(VaultError::File { path: file.to_owned(), error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
