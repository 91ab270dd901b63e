//! Building the index of what an earlier process left.

use super::index::Slot;
use super::{BESIDE, DiskStore, on_disk, remove_file};
use crate::key::Name;
use std::collections::HashMap;
use std::fs::DirEntry;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A file beside its place that was not written to for this long is abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Goes through the directory, and removes what can't be used. Runs in a thread of its own, while the store is in
/// use: what has not been found yet is a miss.
pub(super) fn scan(store: &DiskStore) {
    remove_abandoned(&store.dir.join(BESIDE));
    for folder in 0..=u8::MAX {
        scan_folder(store, &store.dir.join(format!("{folder:02x}")));
    }
}

fn scan_folder(store: &DiskStore, folder: &Path) {
    let Ok(files) = std::fs::read_dir(folder) else {
        return;
    };
    let mut updated = HashMap::new();
    for file in files.flatten() {
        let Some((name, id, is_updated)) = file.file_name().to_str().and_then(Name::read) else {
            continue;
        };
        if is_updated {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            updated.insert(id, (name, length));
        } else {
            add(store, &name, id, &file);
        }
    }
    for (id, (name, length)) in updated {
        store.note_updated(&name, id, length);
    }
}

fn add(store: &DiskStore, name: &Name, id: u64, file: &DirEntry) {
    if store.index.slot(name).is_some_and(|slot| slot.id == id) {
        // Stored since the scan began.
        return;
    }
    let Ok(length) = file.metadata().map(|metadata| metadata.len()) else {
        return;
    };
    // The next ones are newer, independent of the clock.
    store.last_id.fetch_max(id, Ordering::Relaxed);
    let slot = Slot {
        variance: name.variance,
        id,
        size: on_disk(length),
        is_verified: false,
        is_checked: false,
        is_updated: false,
        hits: 0,
    };
    let (is_newest, removed) = store.index.found(name, slot);
    store.forget(&removed);
    if is_newest {
        store.admit(name, slot);
    } else {
        remove_file(&file.path());
    }
}

fn remove_abandoned(beside: &Path) {
    let Ok(files) = std::fs::read_dir(beside) else {
        return;
    };
    for file in files.flatten() {
        let name = file.file_name();
        // The number of the process comes first. One that lives may still be writing.
        let process = name.to_str().and_then(|name| name.split('-').next());
        let is_alive = process.is_some_and(|process| Path::new("/proc").join(process).exists());
        let age = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok());
        if !is_alive || age.is_some_and(|age| age > ABANDONED) {
            remove_file(&file.path());
        }
    }
}
