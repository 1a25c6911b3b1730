//! A local store whose writes survive a power cut.
//!
//! It owns durability and put-if-absent on a file system: a file is written
//! beside its name, synced, linked or renamed to its name, and the directory
//! is synced. Where nobody looks for a name before the put returns, the file
//! is written under it: then the file's sync brings its name along, and one
//! commit of the file system's journal is waited for instead of two.
//! `object_store`'s own local store does everything else; it never syncs,
//! which is why this one exists.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

#[derive(Debug)]
pub struct Disk {
    inner: LocalFileSystem,
}

impl Disk {
    #[expect(clippy::new_without_default, reason = "opening a store is never a default")]
    pub fn new() -> Disk {
        Disk { inner: LocalFileSystem::new() }
    }
}

/// Marks a put under a name that is made for it and told to nobody before it is done. Other stores take no notice.
#[derive(Clone, Copy)]
struct NobodyReadsYet;

pub fn nobody_reads_yet() -> PutOptions {
    let mut options = PutOptions::default();
    options.extensions.insert(NobodyReadsYet);
    options
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk")
    }
}

impl Disk {
    /// A log keeps every version for weeks: of names up to the offset nothing but the name is looked at.
    fn list_after(&self, prefix: &Path, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let inner = self.inner.clone();
        let (prefix, offset) = (prefix.clone(), offset.clone());
        let listed = async move {
            let directory = inner.path_to_filesystem(&prefix)?;
            let after = offset.clone();
            let found = tokio::task::spawn_blocking(move || entries_after(&directory, &after)).await?;
            let (files, directories) = found.map_err(generic)?;
            let below = directories.into_iter().map(|path| inner.list_with_offset(Some(&path), &offset));
            let below = futures::stream::iter(below.collect::<Vec<_>>()).flatten();
            Ok::<_, Error>(futures::stream::iter(files.into_iter().map(Ok)).chain(below))
        };
        futures::stream::once(listed).try_flatten().boxed()
    }
}

#[async_trait]
impl ObjectStore for Disk {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let target = self.inner.path_to_filesystem(location)?;
        let if_absent = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite if options.extensions.get::<NobodyReadsYet>().is_some() => {
                let written = tokio::task::spawn_blocking(move || put_unread(&target, &payload)).await?;
                return written.map(|()| PutResult { e_tag: None, version: None }).map_err(generic);
            }
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "put if unchanged".into(),
                    implementer: "disk".into(),
                });
            }
        };
        let written = tokio::task::spawn_blocking(move || put(&target, &payload, if_absent)).await?;
        match written {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(error) if if_absent && error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: location.to_string(), source: error.into() })
            }
            Err(error) => Err(generic(error)),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        let unfinished = unfinished(&target);
        let path = unfinished.clone();
        let file = tokio::task::spawn_blocking(move || create(&path)).await?.map_err(generic)?;
        Ok(Box::new(Growing { file: Arc::new(file), unfinished, target, written: Arc::default() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix {
            Some(prefix) if offset.parent().as_ref() == Some(prefix) => self.list_after(prefix, offset),
            _ => self.inner.list_with_offset(prefix, offset),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A file that grows beside its name, and gets it when it is whole and synced.
#[derive(Debug)]
struct Growing {
    file: Arc<File>,
    unfinished: PathBuf,
    target: PathBuf,
    /// Bytes of whole parts: one that failed is written again at the same place.
    written: Arc<AtomicU64>,
}

#[async_trait]
impl MultipartUpload for Growing {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (file, written) = (Arc::clone(&self.file), Arc::clone(&self.written));
        let write = move || {
            let mut at = written.load(Ordering::Relaxed);
            data.iter().try_for_each(|chunk| {
                file.write_all_at(chunk, at)?;
                at += chunk.len() as u64;
                io::Result::Ok(())
            })?;
            // One part after the other: nobody else has moved it.
            written.store(at, Ordering::Relaxed);
            io::Result::Ok(())
        };
        Box::pin(async move { tokio::task::spawn_blocking(write).await?.map_err(generic) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (file, unfinished, target) =
            (Arc::clone(&self.file), self.unfinished.clone(), self.target.clone());
        let name = move || {
            // In this order: under its name a file is whole, also after a power cut.
            file.sync_all()?;
            fs::rename(unfinished, &target)?;
            sync_directory(parent(&target))
        };
        tokio::task::spawn_blocking(name).await?.map_err(generic)?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let unfinished = self.unfinished.clone();
        tokio::task::spawn_blocking(move || fs::remove_file(unfinished)).await?.map_err(generic)
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // What was completed or aborted is not there any more.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// The files of a directory whose names sort after an offset, and all directories in it.
fn entries_after(directory: &FsPath, offset: &Path) -> io::Result<(Vec<ObjectMeta>, Vec<Path>)> {
    let after = offset.filename().unwrap_or_default().as_bytes();
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((files, directories)),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if entry.file_type()?.is_file() && (name <= after || is_unfinished(name)) {
            continue;
        }
        let there = match fs::metadata(entry.path()) {
            // Removed meanwhile, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            there => there?,
        };
        let location = Path::from_absolute_path(entry.path()).map_err(io::Error::other)?;
        if there.is_dir() {
            directories.push(location);
        } else if location > *offset {
            let (size, last_modified) = (there.len(), there.modified()?.into());
            files.push(ObjectMeta { location, last_modified, size, e_tag: None, version: None });
        }
    }
    Ok((files, directories))
}

/// Files that are not whole yet, ours and `object_store`'s, end in `#` and digits.
fn is_unfinished(name: &[u8]) -> bool {
    let suffix = name.iter().rposition(|&byte| byte == b'#').map(|at| &name[at + 1..]);
    suffix.is_some_and(|suffix| !suffix.is_empty() && suffix.iter().all(u8::is_ascii_digit))
}

fn put(target: &FsPath, payload: &PutPayload, if_absent: bool) -> io::Result<()> {
    let unfinished = unfinished(target);
    let mut file = create(&unfinished)?;
    let outcome = write_synced(&mut file, payload).and_then(|()| {
        if if_absent { fs::hard_link(&unfinished, target) } else { fs::rename(&unfinished, target) }
    });
    if if_absent || outcome.is_err() {
        // The name is either linked by now or not wanted: a leftover hurts nobody.
        let _ = fs::remove_file(&unfinished);
    }
    outcome?;
    sync_directory(parent(target))
}

/// A name for what is not whole yet: a suffix of `#` and digits keeps it out of listings. No other
/// process has the same, also where all of them, in their containers, have the same id.
fn unfinished(target: &FsPath) -> PathBuf {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut unfinished = target.as_os_str().to_owned();
    unfinished.push(format!("#{}{}", *PROCESS, COUNTER.fetch_add(1, Ordering::Relaxed)));
    PathBuf::from(unfinished)
}

/// A put under a name that nobody reads yet.
fn put_unread(target: &FsPath, payload: &PutPayload) -> io::Result<()> {
    let mut file = create(target)?;
    let outcome = write_synced(&mut file, payload);
    if outcome.is_err() {
        // The orphan cleaner looks after it, too.
        let _ = fs::remove_file(target);
    }
    outcome?;
    sync_directory(parent(target))
}

fn create(path: &FsPath) -> io::Result<File> {
    match File::create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directories(parent(path))?;
            File::create(path)
        }
        other => other,
    }
}

fn write_synced(file: &mut File, payload: &PutPayload) -> io::Result<()> {
    for chunk in payload {
        file.write_all(chunk)?;
    }
    file.sync_all()
}

/// Creates a directory and what is missing above it; each new name is synced.
fn create_directories(directory: &FsPath) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    create_directories(parent(directory))?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(parent(directory)),
    }
}

fn sync_directory(directory: &FsPath) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether this user may create files in a directory.
///
/// # Errors
/// The system's reason, where it has one: permissions, a read-only file system.
#[expect(unsafe_code, reason = "std has no access(2)")]
pub fn may_write(directory: &FsPath) -> io::Result<()> {
    let Ok(name) = CString::new(directory.as_os_str().as_encoded_bytes()) else { return Ok(()) };
    // SAFETY: the name is a C string that outlives the call.
    match unsafe { libc::access(name.as_ptr(), libc::W_OK | libc::X_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes that this user can still write on a directory's file system; `None` where it does not tell.
#[expect(unsafe_code, reason = "std has no statvfs(3)")]
pub fn free_bytes(directory: &FsPath) -> Option<u64> {
    let name = CString::new(directory.as_os_str().as_encoded_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the name is a C string that outlives the call, and the struct is plain numbers,
    // valid as zeroes and written by the call.
    let found = unsafe {
        if libc::statvfs(name.as_ptr(), found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    // Virtual file systems say zero of everything.
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

fn parent(path: &FsPath) -> &FsPath {
    path.parent().unwrap_or(FsPath::new("/"))
}

fn generic(error: io::Error) -> Error {
    Error::Generic { store: "disk", source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;

    #[tokio::test]
    async fn of_many_racing_creators_exactly_one_wins() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let target =
                Path::from_absolute_path(directory.path().join(format!("new/{round}.json"))).unwrap();
            let racers: Vec<_> = (0..8)
                .map(|racer| {
                    let target = target.clone();
                    tokio::spawn(async move {
                        let body = format!("racer {racer}");
                        Disk::new().put_opts(&target, body.into(), PutMode::Create.into()).await
                    })
                })
                .collect();
            let mut winners = Vec::new();
            for (racer, task) in racers.into_iter().enumerate() {
                match task.await.unwrap() {
                    Ok(_) => winners.push(racer),
                    Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
                }
            }
            assert_eq!(winners.len(), 1);
            let body = Disk::new().get(&target).await.unwrap().bytes().await.unwrap();
            assert_eq!(body, format!("racer {}", winners[0]));
        }
        let prefix = Path::from_absolute_path(directory.path()).unwrap();
        let listed: Vec<_> = Disk::new().list(Some(&prefix)).try_collect().await.unwrap();
        assert_eq!(listed.len(), 20, "no unfinished file is left or listed");
    }

    #[tokio::test]
    async fn an_upload_of_parts_is_absent_until_complete_and_after_an_abort() {
        let directory = tempfile::tempdir().unwrap();
        let target = Path::from_absolute_path(directory.path().join("a/b/file.parquet")).unwrap();
        let disk = Disk::new();
        let mut upload = disk.put_multipart(&target).await.unwrap();
        upload.put_part("one".into()).await.unwrap();
        assert!(matches!(disk.head(&target).await, Err(Error::NotFound { .. })));
        upload.abort().await.unwrap();
        drop(disk.put_multipart(&target).await.unwrap());
        assert_eq!(fs::read_dir(directory.path().join("a/b")).unwrap().count(), 0);
        let mut upload = disk.put_multipart(&target).await.unwrap();
        upload.put_part("one ".into()).await.unwrap();
        upload.put_part("two".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(disk.get(&target).await.unwrap().bytes().await.unwrap(), "one two");
    }

    #[tokio::test]
    async fn a_listing_from_an_offset_is_the_rest_of_the_whole_one() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("a table/_delta_log");
        for name in [
            "1.json",
            "2.json",
            "2.checkpoint.parquet",
            "3.json",
            "3.json#7",
            "_last_checkpoint",
            "x/y/1.json",
        ] {
            let file = log.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, name).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", log.join("9.json")).unwrap();
        std::os::unix::fs::symlink("3.json", log.join("4.json")).unwrap();
        let (disk, prefix) = (Disk::new(), Path::from_absolute_path(&log).unwrap());
        for offset in ["0", "2", "2.json", "3.json", "~"] {
            let offset = prefix.clone().join(offset);
            let names = |listed: Vec<ObjectMeta>| {
                let mut names: Vec<_> = listed.into_iter().map(|file| (file.location, file.size)).collect();
                names.sort();
                names
            };
            let whole: Vec<_> = disk.list(Some(&prefix)).try_collect().await.unwrap();
            let rest = whole.into_iter().filter(|file| file.location > offset).collect();
            let listed = disk.list_with_offset(Some(&prefix), &offset).try_collect().await.unwrap();
            assert_eq!(names(listed), names(rest), "from {offset}");
        }
        let nowhere = prefix.clone().join("nowhere");
        let offset = nowhere.clone().join("1");
        let listed: Vec<_> = disk.list_with_offset(Some(&nowhere), &offset).try_collect().await.unwrap();
        assert!(listed.is_empty());
    }
}
