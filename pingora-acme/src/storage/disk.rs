//! Values in files.

use super::{Storage, StorageLock};
use async_trait::async_trait;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest value, in bytes; a certificate with its chain and key has a tenth of it.
const LONGEST: u64 = 256 * 1024;

/// Keeps values in files below a directory that only its owner can read.
///
/// A file is written beside its place, reaches the disk, and is renamed: after a crash there is the old value
/// or the new one. Locks are those of the kernel (`flock`), and free when their process has ended. All work is done on
/// the runtime's threads for blocking calls.
#[derive(Clone, Debug)]
pub struct DiskStorage {
    directory: PathBuf,
    shared: bool,
}

impl DiskStorage {
    /// Below `directory`, which is made if it is not there, with the permissions 0700. Blocks.
    ///
    /// # Errors
    /// Naming the directory, if it can't be made, or others may write there.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let naming = || format!("the directory {} for certificates", directory.display());
        let absolute =
            std::path::absolute(directory).or_err_with(ErrorType::FileOpenError, naming)?;
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&absolute)
            .or_err_with(ErrorType::FileCreateError, naming)?;
        let found = fs::metadata(&absolute).or_err_with(ErrorType::FileOpenError, naming)?;
        let mode = found.permissions().mode();
        if mode & 0o022 != 0 {
            let reason = format!("others may write there (mode {:o})", mode & 0o7777);
            return Error::e_explain(ErrorType::FileOpenError, format!("{}: {reason}", naming()));
        }
        Ok(DiskStorage {
            directory: absolute,
            shared: false,
        })
    }

    /// Says that the directory is on a file system that several hosts see, whose locks they share.
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// # Errors
    /// For an invalid key: it can't lead out of the directory.
    fn path(&self, key: &str) -> Result<PathBuf> {
        let part = |part: &str| {
            let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            !part.is_empty()
                && part.len() <= 255
                && !part.starts_with('.')
                && part.bytes().all(sound)
        };
        match key.split_once('/') {
            Some((kind, name)) if part(kind) && part(name) => {
                Ok(self.directory.join(kind).join(name))
            }
            _ => Error::e_explain(ErrorType::InternalError, format!("{key:?} is no key")),
        }
    }
}

/// Runs this on a thread that may block.
async fn blocking<T: Send + 'static>(
    path: PathBuf,
    doing: &'static str,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let shown = path.display().to_string();
    let context = || format!("{doing} {shown}");
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    let done = done.or_err_with(ErrorType::InternalError, context)?;
    done.or_err_with(ErrorType::FileWriteError, context)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut value = vec![];
    file.take(LONGEST + 1).read_to_end(&mut value)?;
    if value.len() as u64 > LONGEST {
        return Err(io::Error::other("it is too long"));
    }
    Ok(Some(value))
}

fn make_parent(path: &Path) -> io::Result<&Path> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)?;
    Ok(parent)
}

fn write(path: &Path, value: &[u8]) -> io::Result<()> {
    let parent = make_parent(path)?;
    // Names that begin with a dot are no keys. Each writer has one of its own.
    let beside = parent.join(format!(".new-{:016x}", fastrand::u64(..)));
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(value)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(parent)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn list(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries?,
    };
    let mut names = vec![];
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn try_lock(path: &Path) -> io::Result<Option<StorageLock>> {
    make_parent(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    // The file stays: removing it would let two have the lock.
    match Flock::lock(options.open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(StorageLock::new(lock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(e.into()),
    }
}

#[async_trait]
impl Storage for DiskStorage {
    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        blocking(self.path(key)?, "reading", read).await
    }

    async fn write(&self, key: &str, value: &[u8]) -> Result<()> {
        let value = value.to_vec();
        blocking(self.path(key)?, "writing", move |path| write(path, &value)).await
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let remove = |path: &Path| match fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        blocking(self.path(key)?, "removing", remove).await
    }

    async fn list(&self, kind: &str) -> Result<Vec<String>> {
        // Any name will do, to have the kind looked at.
        let mut path = self.path(&format!("{kind}/x"))?;
        path.pop();
        blocking(path, "listing", list).await
    }

    async fn try_lock(&self, key: &str) -> Result<Option<StorageLock>> {
        let key = format!("locks/{}", key.replace('/', "-"));
        blocking(self.path(&key)?, "locking", try_lock).await
    }

    fn is_shared(&self) -> bool {
        self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn values_are_kept_for_their_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        let storage = DiskStorage::open(&directory).unwrap();
        let key = "certificates/one.example";
        assert_eq!(storage.read(key).await.unwrap(), None);
        assert_eq!(storage.list("certificates").await.unwrap(), [""; 0]);
        storage.write(key, b"old").await.unwrap();
        storage.write(key, b"new").await.unwrap();
        assert_eq!(storage.read(key).await.unwrap().unwrap(), b"new");
        assert_eq!(storage.list("certificates").await.unwrap(), ["one.example"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("certificates")), 0o700);
        assert_eq!(mode(&directory.join(key)), 0o600);
        let beside = fs::read_dir(directory.join("certificates")).unwrap();
        assert_eq!(beside.count(), 1, "nothing is left beside it");
        storage.remove(key).await.unwrap();
        storage.remove(key).await.unwrap();
        assert_eq!(storage.read(key).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_write_that_fails_leaves_the_old_value() {
        let parent = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(parent.path()).unwrap();
        // A directory that is not empty stands in the place of the value.
        fs::create_dir_all(parent.path().join("certificates/one/x")).unwrap();
        assert!(storage.write("certificates/one", b"new").await.is_err());
        assert_eq!(storage.list("certificates").await.unwrap(), ["one"]);
        let left = fs::read_dir(parent.path().join("certificates")).unwrap();
        assert_eq!(left.count(), 1);
    }

    #[tokio::test]
    async fn keys_cant_lead_elsewhere() {
        let parent = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(parent.path().join("in")).unwrap();
        for key in [
            "",
            "a",
            "/a",
            "a/",
            "../a",
            "a/..",
            "a/.",
            "a/b/c",
            "a/../../b",
            "a/\0",
            "a/b c",
            "a/.new",
        ] {
            assert!(storage.read(key).await.is_err(), "{key:?}");
            assert!(storage.write(key, b"").await.is_err(), "{key:?}");
            assert!(storage.remove(key).await.is_err(), "{key:?}");
        }
        assert!(storage.list("..").await.is_err());
    }

    #[tokio::test]
    async fn a_lock_is_had_once() {
        let parent = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(parent.path()).unwrap();
        let other = DiskStorage::open(parent.path()).unwrap();
        let lock = storage.try_lock("certificates/one").await.unwrap();
        assert!(lock.is_some());
        for storage in [&storage, &other] {
            assert!(
                storage
                    .try_lock("certificates/one")
                    .await
                    .unwrap()
                    .is_none()
            );
        }
        assert!(other.try_lock("certificates/two").await.unwrap().is_some());
        drop(lock);
        assert!(other.try_lock("certificates/one").await.unwrap().is_some());
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("open");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = DiskStorage::open(&directory).unwrap_err().to_string();
        assert!(refused.contains("others may write"), "{refused}");
        fs::write(parent.path().join("file"), "").unwrap();
        assert!(DiskStorage::open(parent.path().join("file")).is_err());
    }
}
