//! Backends from a file.

use super::ServiceDiscovery;
use crate::registry::lock;
use crate::selection::{Priority, Zone};
use crate::{Backend, MaxInFlight};
use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::future::Future;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// The default of [`FileDiscovery::look_every`].
const LOOK: Duration = Duration::from_secs(1);
/// The minimum pause between two checks: a period of zero must not keep a thread busy.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// A larger file is an error, because it would be kept in memory as a whole.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Backends from a file with one per line, which is watched for changes.
///
/// ```text
/// # address      options
/// 10.0.0.1:80    weight=2
/// 10.0.0.2:80    zone=berlin max_in_flight=100
/// /run/app.sock  priority=1
/// ```
///
/// The address is `IP:PORT`, or the path of a Unix socket (`/path` or `unix:path`) without blanks. Options
/// are `weight` (1 by default; 0 drains), `priority` ([`Priority`]), `zone` ([`Zone`]) and `max_in_flight`
/// ([`MaxInFlight`]). Empty lines, and what follows a `#` at the beginning of a word, are ignored.
///
/// A file that is not complete and correct is not used at all, and the last good set stays: if it can't be read,
/// is empty, does not end with a newline, changes while it is read, is larger than 4 MiB, or if any line is
/// invalid or repeats an address. A file that is truncated between two lines can't be distinguished from a
/// complete one, so write a new file next to it and rename that, which is atomic. To have no backends, give them
/// weight 0.
///
/// As a background service, the balancer checks the file once a second, without blocking its thread, and
/// reads it once its time, size or inode has changed and has stayed the same until the next check. It
/// needs no [`update_frequency`](crate::LoadBalancer::update_frequency).
///
/// ```no_run
/// use pingora_load_balancing::discovery::FileDiscovery;
/// use pingora_load_balancing::prelude::*;
/// use pingora_load_balancing::Backends;
///
/// let set = Backends::new(FileDiscovery::new("/etc/proxy/backends"));
/// let balancer = LoadBalancer::<RoundRobin>::from_backends(set);
/// ```
#[derive(Debug)]
pub struct FileDiscovery {
    path: Arc<Path>,
    look_every: Duration,
    /// The file as it was last read, whether it was valid or not.
    read: Mutex<Option<Version>>,
}

/// The metadata that shows whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl FileDiscovery {
    /// The backends of the file at `path`. If it is valid now, they are known from the start; this
    /// reads the file once, which blocks the thread. Otherwise the set stays empty until the file is
    /// valid.
    pub fn new(path: impl Into<PathBuf>) -> Box<Self> {
        Box::new(FileDiscovery {
            path: path.into().into(),
            look_every: LOOK,
            read: Mutex::default(),
        })
    }

    /// Sets how often a background service checks the file; at most every 10 ms.
    pub fn look_every(mut self: Box<Self>, period: Duration) -> Box<Self> {
        self.look_every = period.max(SHORTEST_LOOK);
        self
    }

    fn note(&self, version: Option<Version>) {
        *lock(&self.read) = version;
    }

    /// Returns once the file differs from the one that was read, and no longer changes.
    async fn until_changed(&self) {
        let mut before = *lock(&self.read);
        loop {
            tokio::time::sleep(self.look_every).await;
            let now = look(self.path.clone()).await;
            let at_rest = now == before;
            before = now;
            // A file that has disappeared is not read: there is nothing to learn from it.
            if at_rest && now.is_some() && now != *lock(&self.read) {
                return;
            }
        }
    }
}

/// `None`: there is no such file.
async fn look(path: Arc<Path>) -> Option<Version> {
    let looked = spawn_blocking(move || fs::metadata(path).ok().map(|found| version(&found)));
    looked.await.ok().flatten()
}

fn version(found: &fs::Metadata) -> Version {
    Version {
        modified: (found.mtime(), found.mtime_nsec()),
        size: found.len(),
        inode: found.ino(),
    }
}

/// The version of the file, as far as it is known, and its backends.
fn read(path: &Path) -> (Option<Version>, Result<BTreeSet<Backend>>) {
    let mut known = None;
    let mut listed = || {
        let context = || format!("the list of backends {}", path.display());
        let failed = |e| Error::because(ErrorType::FileReadError, context(), e);
        let file = fs::File::open(path).map_err(failed)?;
        let before = file
            .metadata()
            .map(|found| version(&found))
            .map_err(failed)?;
        known = Some(before);
        let mut bytes = Vec::new();
        let mut bounded = (&file).take(LARGEST + 1);
        bounded.read_to_end(&mut bytes).map_err(failed)?;
        let after = file
            .metadata()
            .map(|found| version(&found))
            .map_err(failed)?;
        if before != after || bytes.len() as u64 != after.size {
            let what = format!("{} changes while it is read, or is too large", context());
            return Error::e_explain(ErrorType::FileReadError, what);
        }
        let text = String::from_utf8(bytes).or_err_with(ErrorType::FileReadError, context)?;
        parse(&text).map_err(|what| {
            let what = format!("{}: {what}", context());
            Error::explain(ErrorType::FileReadError, what)
        })
    };
    let listed = listed();
    (known, listed)
}

/// The backends of a complete and correct file; otherwise the reason why it is invalid.
fn parse(text: &str) -> std::result::Result<BTreeSet<Backend>, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("it breaks off within its last line".into());
    }
    let mut lines: HashMap<SocketAddr, usize> = HashMap::new();
    let mut backends = BTreeSet::new();
    for (line, number) in text.lines().zip(1..) {
        let said = line_of(line).map_err(|what| format!("line {number}: {what}"))?;
        let Some(backend) = said else {
            continue;
        };
        if let Some(earlier) = lines.insert(backend.addr.clone(), number) {
            let address = &backend.addr;
            return Err(format!(
                "line {number}: {address} stands in line {earlier}, too"
            ));
        }
        backends.insert(backend);
    }
    if backends.is_empty() {
        return Err("it lists none".into());
    }
    Ok(backends)
}

fn line_of(line: &str) -> std::result::Result<Option<Backend>, String> {
    let mut words = line
        .split_whitespace()
        .take_while(|word| !word.starts_with('#'));
    let Some(address) = words.next() else {
        return Ok(None);
    };
    let mut backend = Backend::new(address).map_err(|_| format!("no address: {address:?}"))?;
    let mut seen: Vec<&str> = Vec::new();
    for word in words {
        let (option, value) = word
            .split_once('=')
            .ok_or_else(|| format!("neither an option nor a comment: {word:?}"))?;
        if seen.contains(&option) {
            return Err(format!("the option {option:?} twice"));
        }
        seen.push(option);
        let no_number = |_| format!("the value of {word:?} is not a number that fits");
        match option {
            // Larger values would be useless: weights are proportions.
            "weight" => backend.weight = value.parse::<u32>().map_err(no_number)? as usize,
            "priority" => {
                backend
                    .ext
                    .insert(Priority(value.parse().map_err(no_number)?));
            }
            "max_in_flight" => {
                let most = value.parse::<u32>().map_err(no_number)? as usize;
                backend.ext.insert(MaxInFlight(most));
            }
            "zone" if !value.is_empty() => {
                backend.ext.insert(Zone::new(value));
            }
            _ => return Err(format!("not an option: {word:?}")),
        }
    }
    Ok(Some(backend))
}

#[async_trait]
impl ServiceDiscovery for FileDiscovery {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let path = self.path.clone();
        let reading = spawn_blocking(move || read(&path)).await;
        let (version, listed) = reading.or_err(ErrorType::InternalError, "reading a list")?;
        self.note(version);
        Ok((listed?, HashMap::new()))
    }

    fn known(&self) -> Option<BTreeSet<Backend>> {
        let (version, listed) = read(&self.path);
        self.note(version);
        listed.ok()
    }

    fn changed(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
        Some(Box::pin(self.until_changed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_address_and_its_options() {
        let text = "# all\n\n 10.0.0.1:80\tweight=0 # drains\n[::1]:80 zone=a\n\
            /run/a#b priority=2 max_in_flight=7\n";
        let listed: Vec<Backend> = parse(text).unwrap().into_iter().collect();
        let found = |address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            listed.iter().find(|b| b.addr == address).unwrap()
        };
        assert_eq!(listed.len(), 3);
        assert_eq!(found("10.0.0.1:80").weight, 0);
        assert_eq!(found("[::1]:80").weight, 1);
        assert_eq!(found("[::1]:80").ext.get(), Some(&Zone::new("a")));
        assert_eq!(found("/run/a#b").ext.get(), Some(&Priority(2)));
        assert_eq!(found("/run/a#b").ext.get(), Some(&MaxInFlight(7)));
    }

    #[test]
    fn one_bad_line_spoils_the_file() {
        for (bad, why) in [
            ("", "lists none"),
            ("\n# nothing\n", "lists none"),
            ("1.1.1.1:1\n1.1.1.2:8", "breaks off"),
            ("1.1.1.1:1\n1.1.1\n", r#"line 2: no address: "1.1.1""#),
            ("localhost:80\n", "no address"),
            (
                "1.1.1.1:1\n\n1.1.1.1:1 weight=2\n",
                "line 3: 1.1.1.1:1 stands in line 1",
            ),
            ("1.1.1.1:1 weight=-1\n", "not a number"),
            ("1.1.1.1:1 weight=4294967296\n", "not a number"),
            ("1.1.1.1:1 weight=\n", "not a number"),
            ("1.1.1.1:1 weight=1 weight=2\n", "twice"),
            ("1.1.1.1:1 zone=\n", "not an option"),
            ("1.1.1.1:1 down\n", "neither"),
            ("1.1.1.1:1 slow=1\n", "not an option"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }
}
