//! Limits on what peers may take of this process: keys of the configuration file in addition to
//! [`ServerConf`]'s.

use super::conf::{one_line, refused};
use super::{ServerConf, memory};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use pingora_error::Result;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The smallest allowed memory limit, in bytes.
const LEAST_MEMORY: u64 = 16 * 1024 * 1024;

/// Limits on what peers may take of this process. The fields are keys of the configuration file, in
/// addition to those of [`ServerConf`]; the file takes precedence over the program.
///
/// They apply to the whole process: if several servers run in one, the one that was started or
/// reloaded last determines them.
///
/// ```
/// use pingora_core::server::{Server, ServerBounds};
///
/// let mut bounds = ServerBounds::default();
/// bounds.memory_limit_bytes = Some(512 * 1024 * 1024);
/// bounds.connections_per_client = Some(1000);
/// let mut server = Server::new(None).unwrap();
/// server.set_bounds(bounds).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ServerBounds {
    /// The number of bytes that queues and buffers for peers may hold, over all connections. From half
    /// of it on, nothing is read for a peer that has not accepted its queued data; from three quarters
    /// on, new work is turned away, and the connection that holds most is closed if that does not help.
    /// Default: half of the memory of the machine or the control group, and at most a quarter of the
    /// address space if that is limited. At least 16 MiB; 0: no limit.
    pub memory_limit_bytes: Option<u64>,
    /// The number of concurrent connections from one client: one IPv4 address, or the 64 leading bits of
    /// an IPv6 one. Further ones are closed when they are accepted. Default: half of the files that the
    /// process may have open (`ulimit -n`), so that no single client can take all of them. Connections
    /// from this machine (loopback addresses and Unix sockets) are not counted. 0: no limit.
    pub connections_per_client: Option<usize>,
    /// The number of concurrent connections from all clients, to all endpoints of the process. Further ones
    /// are closed when they are accepted. Default: no limit, so the number of files that the process may
    /// have open is the bound (if no descriptor is left, connections are turned away as well). 0: no limit.
    pub connections: Option<usize>,
}

/// `usize::MAX`: no limit.
static CONNECTIONS: AtomicUsize = AtomicUsize::new(usize::MAX);
/// The number of connections that a bound refused.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// The maximum number of concurrent connections; `usize::MAX`: any number.
pub(crate) fn connections_in_all() -> usize {
    CONNECTIONS.load(Ordering::Relaxed)
}

/// A connection was closed because there were too many.
pub(crate) fn count_refused() {
    REFUSED.fetch_add(1, Ordering::Relaxed);
}

/// 0: not known yet; `usize::MAX`: no limit.
static CONNECTIONS_PER_CLIENT: AtomicUsize = AtomicUsize::new(0);

/// The maximum number of concurrent connections from one client; `usize::MAX`: any number.
pub(crate) fn connections_per_client() -> usize {
    match CONNECTIONS_PER_CLIENT.load(Ordering::Relaxed) {
        0 => {
            let limit = half_of_descriptors();
            CONNECTIONS_PER_CLIENT.store(limit, Ordering::Relaxed);
            limit
        }
        limit => limit,
    }
}

fn half_of_descriptors() -> usize {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft != RLIM_INFINITY => usize::try_from(soft / 2).unwrap_or(usize::MAX),
        _ => usize::MAX,
    }
    .max(1)
}

impl ServerBounds {
    /// Reads these keys from a configuration in YAML; other keys are ignored.
    ///
    /// # Errors
    /// One line that names the key and the reason.
    pub fn from_yaml(text: &str) -> Result<Self> {
        Self::parse(text).map_err(|reason| refused(&format!("configuration: {reason}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let read: Option<ServerBounds> = serde_yaml::from_str(text).map_err(|e| one_line(&e))?;
        let bounds = read.unwrap_or_default();
        bounds.fault().map_or(Ok(bounds), Err)
    }

    /// Reads a configuration file over `self`: keys that are missing in the file keep their value.
    pub(crate) fn overruled_by(&self, path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| refused(&format!("{path}: can't be read: {e}")))?;
        let file = Self::parse(&text).map_err(|reason| refused(&format!("{path}: {reason}")))?;
        Ok(ServerBounds {
            memory_limit_bytes: file.memory_limit_bytes.or(self.memory_limit_bytes),
            connections_per_client: file.connections_per_client.or(self.connections_per_client),
            connections: file.connections.or(self.connections),
        })
    }

    /// Checks constraints that the types don't express.
    pub(crate) fn validate(&self) -> Result<()> {
        match self.fault() {
            Some(fault) => Err(refused(&fault)),
            None => Ok(()),
        }
    }

    /// The first fault, as `key: reason`.
    fn fault(&self) -> Option<String> {
        let memory = self.memory_limit_bytes.unwrap_or(0);
        (1..LEAST_MEMORY).contains(&memory).then(|| {
            format!(
                "memory_limit_bytes: must be at least {LEAST_MEMORY} (16 MiB), or 0 for no limit"
            )
        })
    }

    /// The number of bytes that peers currently make this process hold, as counted against
    /// [`memory_limit_bytes`](Self::memory_limit_bytes).
    pub fn memory_in_use() -> usize {
        memory::held()
    }

    /// The number of connections that were closed as soon as they were accepted, because there were too
    /// many: in total, of their client, or of their endpoint.
    pub fn connections_refused() -> u64 {
        REFUSED.load(Ordering::Relaxed)
    }

    /// Puts these bounds into force.
    pub(crate) fn put_into_force(&self) {
        let memory = match self.memory_limit_bytes {
            None => Some(memory::default_limit()),
            Some(0) => None,
            Some(bytes) => Some(usize::try_from(bytes).unwrap_or(usize::MAX)),
        };
        memory::set_limit(memory);
        let connections = match self.connections_per_client {
            None => half_of_descriptors(),
            Some(0) => usize::MAX,
            Some(most) => most,
        };
        CONNECTIONS_PER_CLIENT.store(connections, Ordering::Relaxed);
        let in_all = self.connections.filter(|most| *most > 0);
        CONNECTIONS.store(in_all.unwrap_or(usize::MAX), Ordering::Relaxed);
    }
}

impl ServerConf {
    /// The configuration keys that belong to [`ServerBounds`].
    pub(super) const BOUNDS: [&'static str; 3] = [
        "memory_limit_bytes",
        "connections_per_client",
        "connections",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_keys_beside_those_of_the_server() {
        let text =
            "threads: 2\nmemory_limit_bytes: 104857600\nconnections_per_client: 9\nmine: 1\n";
        let bounds = ServerBounds::from_yaml(text).unwrap();
        assert_eq!(bounds.memory_limit_bytes, Some(100 * 1024 * 1024));
        assert_eq!(bounds.connections_per_client, Some(9));
        assert_eq!(
            ServerBounds::from_yaml("").unwrap(),
            ServerBounds::default()
        );
        let rows = [
            (
                "memory_limit_bytes: 1000\n",
                "memory_limit_bytes: must be at least",
            ),
            (
                "memory_limit_bytes: -1\n",
                "memory_limit_bytes: invalid type",
            ),
            (
                "connections_per_client: many\n",
                "connections_per_client: invalid type",
            ),
        ];
        for (text, expected) in rows {
            let error = ServerBounds::from_yaml(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(ServerBounds::from_yaml("memory_limit_bytes: 0\n").is_ok());
    }

    #[test]
    fn the_keys_are_known_to_those_who_list_unknown_ones() {
        let keys = serde_yaml::to_value(ServerBounds::default()).unwrap();
        let keys: Vec<_> = keys.as_mapping().unwrap().keys().cloned().collect();
        assert_eq!(keys, ServerConf::BOUNDS);
        let text = "memory_limit_bytes: 0\nconnections_per_clients: 9\n";
        let unknown = ServerConf::unknown_keys(text).unwrap();
        let near = Some("connections_per_client".to_string());
        assert_eq!(unknown, [("connections_per_clients".to_string(), near)]);
    }

    #[test]
    fn the_file_overrules_the_program() {
        let path = std::env::temp_dir().join(format!("bounds-{}.yaml", std::process::id()));
        let path = path.to_str().unwrap();
        std::fs::write(path, "connections_per_client: 5\n").unwrap();
        let program = ServerBounds {
            memory_limit_bytes: Some(0),
            connections_per_client: Some(7),
            connections: Some(100),
        };
        let bounds = program.overruled_by(path).unwrap();
        assert_eq!(
            (bounds.memory_limit_bytes, bounds.connections_per_client),
            (Some(0), Some(5))
        );
        assert_eq!(bounds.connections, Some(100));
        std::fs::write(path, "connections_per_client: -5\n").unwrap();
        let error = program.overruled_by(path).unwrap_err().to_string();
        assert!(
            error.contains(path) && error.contains("connections_per_client"),
            "{error}"
        );
        std::fs::remove_file(path).unwrap();
    }
}
