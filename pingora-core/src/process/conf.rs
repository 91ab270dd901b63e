//! The configuration of a server.

use super::Opt;
use crate::runtime::{RuntimeMetricsOpts, RuntimeMetricsPollTimeHistogramScale, RuntimeOpts};
use pingora_error::{Error, ErrorType, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Practically forever, in seconds: a bound that can be added to an instant.
const LONGEST: u64 = 365 * 24 * 3600;
/// The most threads or tasks that a service may start at once. More are a slip of the hand, which would end in an error
/// of the operating system that names no key.
const MOST_AT_ONCE: usize = 4096;

/// The configuration of a server: a YAML file whose keys are the names of these fields.
///
/// Every key is optional. Unknown keys are ignored, so a program can keep its own settings in the
/// same file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerConf {
    /// The version of the format. Default: 1, the only one.
    pub version: usize,
    /// Run in the background, like `-d`. Default: `false`.
    pub daemon: bool,
    /// The file that standard output and standard error are appended to while running in the background.
    /// Default: none; the output is lost, which is logged at the start.
    pub error_log: Option<String>,
    /// The file that the process id is written to while running in the background. Default:
    /// `/tmp/pingora.pid`.
    pub pid_file: String,
    /// The Unix socket over which listening sockets are handed to the next server. It must be the
    /// same for both. Default: `/tmp/pingora_upgrade.sock`.
    pub upgrade_sock: String,
    /// The user that a background server switches to once its sockets are bound. Default: no
    /// change.
    pub user: Option<String>,
    /// The group that a background server switches to once its sockets are bound. Default: no
    /// change.
    pub group: Option<String>,
    /// The working directory of a background server. Default: the one it was started in.
    pub working_directory: Option<PathBuf>,
    /// The number of threads of each service that does not set its own, up to 4,096. Default: the number of
    /// processor cores that this process may use.
    pub threads: usize,
    /// The number of tasks that accept connections, for each listening socket. Default: 1.
    pub listener_tasks_per_fd: usize,
    /// Whether the threads of a service take work from one another; see
    /// [`RuntimeOpts::work_stealing`]. Default: `true`.
    pub work_stealing: bool,
    /// Accepted for compatibility; has no effect. Default: `false`.
    pub runtime_enable_alt_timer: bool,
    /// A file of PEM certificates to trust in TLS connections to upstreams, instead of the system's.
    /// Default: none.
    pub ca_file: Option<String>,
    /// The maximum time that a shutdown waits for active requests, in seconds: it ends as soon as
    /// they are done. Default: 20.
    pub grace_period_seconds: Option<u64>,
    /// The maximum time that a shutdown then waits for work that can't be interrupted (blocking
    /// calls), in seconds. Default: 5.
    pub graceful_shutdown_timeout_seconds: Option<u64>,
    /// The IPv4 addresses to connect from. Default: the system's choice.
    pub client_bind_to_ipv4: Vec<String>,
    /// The IPv6 addresses to connect from. Default: the system's choice.
    pub client_bind_to_ipv6: Vec<String>,
    /// The maximum number of idle connections to upstreams that are kept for later requests.
    /// Default: 128.
    pub upstream_keepalive_pool_size: usize,
    /// The number of thread pools on which connections to upstreams are established. Default: none;
    /// they are established where they are used.
    pub upstream_connect_offload_threadpools: Option<usize>,
    /// The number of threads in each of these pools. Default: none.
    pub upstream_connect_offload_thread_per_pool: Option<usize>,
    /// The number of thread pools on which clients' TLS handshakes run. Default: none; they run
    /// where the connection is used.
    pub downstream_tls_offload_threadpools: Option<usize>,
    /// The number of threads in each of these pools. Default: none.
    pub downstream_tls_offload_thread_per_pool: Option<usize>,
    /// Whether the secrets of TLS connections to upstreams are written to the file that the
    /// environment variable `SSLKEYLOGFILE` names. For debugging only. Default: `false`.
    pub upstream_debug_ssl_keylog: bool,
    /// The number of times that a request may be tried at upstreams, including the first time; the first try
    /// is made in any case. Default: 16.
    pub max_retries: usize,
    /// The number of times, a second apart, that the two servers of an upgrade look for each other.
    /// Default: 60.
    pub upgrade_sock_connect_accept_max_retries: Option<usize>,
    /// See [`RuntimeOpts::max_blocking_threads`].
    pub max_blocking_threads: Option<usize>,
    /// See [`RuntimeOpts::blocking_threads_ttl`], in seconds.
    pub blocking_threads_ttl_seconds: Option<u64>,
    /// Accepted for compatibility; has no effect.
    pub fast_timeout_to_tokio_threshold_seconds: Option<u64>,
    /// See [`RuntimeMetricsOpts`]. Default: `false`.
    pub runtime_metrics_poll_time_histogram: bool,
    /// See [`RuntimeMetricsOpts`].
    pub runtime_metrics_poll_time_histogram_scale: Option<RuntimeMetricsPollTimeHistogramScale>,
    /// See [`RuntimeMetricsOpts`], in microseconds.
    pub runtime_metrics_poll_time_histogram_resolution_micros: Option<u64>,
    /// See [`RuntimeMetricsOpts`].
    pub runtime_metrics_poll_time_histogram_buckets: Option<usize>,
    /// Whether the process that starts a background server waits until it serves, and exits with code
    /// 1 if it does not. Default: `false`.
    pub daemon_wait_for_ready: bool,
    /// The time that it waits, in seconds; after that it exits with code 1. Default: 600.
    pub daemon_ready_timeout_seconds: Option<NonZeroU64>,
    /// Accepted for compatibility; has no effect, because the notification takes no time.
    pub daemon_notify_timeout_seconds: Option<NonZeroU64>,
}

impl Default for ServerConf {
    fn default() -> Self {
        ServerConf {
            version: 1,
            daemon: false,
            error_log: None,
            pid_file: "/tmp/pingora.pid".into(),
            upgrade_sock: "/tmp/pingora_upgrade.sock".into(),
            user: None,
            group: None,
            working_directory: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            listener_tasks_per_fd: 1,
            work_stealing: true,
            runtime_enable_alt_timer: false,
            ca_file: None,
            grace_period_seconds: None,
            graceful_shutdown_timeout_seconds: None,
            client_bind_to_ipv4: vec![],
            client_bind_to_ipv6: vec![],
            upstream_keepalive_pool_size: 128,
            upstream_connect_offload_threadpools: None,
            upstream_connect_offload_thread_per_pool: None,
            downstream_tls_offload_threadpools: None,
            downstream_tls_offload_thread_per_pool: None,
            upstream_debug_ssl_keylog: false,
            max_retries: 16,
            upgrade_sock_connect_accept_max_retries: None,
            max_blocking_threads: None,
            blocking_threads_ttl_seconds: None,
            fast_timeout_to_tokio_threshold_seconds: None,
            runtime_metrics_poll_time_histogram: false,
            runtime_metrics_poll_time_histogram_scale: None,
            runtime_metrics_poll_time_histogram_resolution_micros: None,
            runtime_metrics_poll_time_histogram_buckets: None,
            daemon_wait_for_ready: false,
            daemon_ready_timeout_seconds: None,
            daemon_notify_timeout_seconds: None,
        }
    }
}

impl ServerConf {
    /// Reads a configuration file and [validates](ServerConf::validate) it.
    ///
    /// # Errors
    /// One line that names the file, the key and the reason.
    pub fn load_from_yaml<P: AsRef<Path> + Display>(path: P) -> Result<Self> {
        let text = std::fs::read_to_string(&path)
            .map_err(|e| refused(&format!("{path}: can't be read: {e}")))?;
        ServerConf::parse(&text).map_err(|reason| refused(&format!("{path}: {reason}")))
    }

    /// Reads the configuration file that the command line names, or uses the defaults if it names
    /// none, and then applies the command line.
    ///
    /// # Errors
    /// See [`ServerConf::load_from_yaml`].
    pub fn load_yaml_with_opt_override(opt: &Opt) -> Result<Self> {
        let mut conf = match &opt.conf {
            Some(path) => ServerConf::load_from_yaml(path)?,
            None => ServerConf::default(),
        };
        conf.merge_with_opt(opt);
        Ok(conf)
    }

    /// The defaults. Never `None`.
    pub fn new() -> Option<Self> {
        Some(ServerConf::default())
    }

    /// The defaults with the command line applied. Never `None`.
    pub fn new_with_opt_override(opt: &Opt) -> Option<Self> {
        let mut conf = ServerConf::default();
        conf.merge_with_opt(opt);
        Some(conf)
    }

    /// Reads a configuration and [validates](ServerConf::validate) it. Text without any key means
    /// the defaults.
    ///
    /// # Errors
    /// One line that names the key and the reason.
    pub fn from_yaml(conf_str: &str) -> Result<Self> {
        ServerConf::parse(conf_str).map_err(|reason| refused(&format!("configuration: {reason}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        // A file without keys (empty, or comments only) is parsed as a null document.
        let conf: Option<ServerConf> = serde_yaml::from_str(text).map_err(|e| one_line(&e))?;
        let conf = conf.unwrap_or_default();
        match conf.fault() {
            None => Ok(conf),
            Some(fault) => Err(fault),
        }
    }

    /// The configuration as YAML, every key included.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_default()
    }

    /// Checks constraints that the types don't express.
    ///
    /// # Errors
    /// One line that names the key and the reason.
    pub fn validate(self) -> Result<Self> {
        match self.fault() {
            None => Ok(self),
            Some(fault) => Err(refused(&format!("configuration: {fault}"))),
        }
    }

    /// The first fault, as `key: reason`.
    fn fault(&self) -> Option<String> {
        if self.version != 1 {
            return Some(format!("version: {} is not known, 1 is", self.version));
        }
        for (key, value) in [
            ("threads", self.threads),
            ("listener_tasks_per_fd", self.listener_tasks_per_fd),
            (
                "max_blocking_threads",
                self.max_blocking_threads.unwrap_or(1),
            ),
        ] {
            if value == 0 {
                return Some(format!("{key}: must be at least 1"));
            }
        }
        for (key, value) in self.started_at_once() {
            if value > MOST_AT_ONCE {
                return Some(format!("{key}: must be at most {MOST_AT_ONCE}"));
            }
        }
        for (key, value) in [
            ("pid_file", &self.pid_file),
            ("upgrade_sock", &self.upgrade_sock),
        ] {
            if value.is_empty() {
                return Some(format!("{key}: must not be empty"));
            }
        }
        for address in &self.client_bind_to_ipv4 {
            if address.parse::<Ipv4Addr>().is_err() {
                return Some(format!(
                    "client_bind_to_ipv4: `{address}` is not an IPv4 address"
                ));
            }
        }
        for address in &self.client_bind_to_ipv6 {
            if address.parse::<Ipv6Addr>().is_err() {
                return Some(format!(
                    "client_bind_to_ipv6: `{address}` is not an IPv6 address"
                ));
            }
        }
        None
    }

    /// How many threads and tasks a service starts at once, by the key that says so.
    fn started_at_once(&self) -> [(&'static str, usize); 4] {
        let product = |pools: Option<usize>, threads: Option<usize>| {
            let (pools, threads) = pools.zip(threads).unwrap_or_default();
            pools.saturating_mul(threads)
        };
        [
            ("threads", self.threads),
            ("listener_tasks_per_fd", self.listener_tasks_per_fd),
            (
                "upstream_connect_offload_threadpools times upstream_connect_offload_thread_per_pool",
                product(
                    self.upstream_connect_offload_threadpools,
                    self.upstream_connect_offload_thread_per_pool,
                ),
            ),
            (
                "downstream_tls_offload_threadpools times downstream_tls_offload_thread_per_pool",
                product(
                    self.downstream_tls_offload_threadpools,
                    self.downstream_tls_offload_thread_per_pool,
                ),
            ),
        ]
    }

    /// The number of thread pools to connect on and of threads in each; `None` unless both are set
    /// and not zero.
    pub fn upstream_connect_offload_threadpool(&self) -> Option<(usize, usize)> {
        pools(
            self.upstream_connect_offload_threadpools,
            self.upstream_connect_offload_thread_per_pool,
        )
    }

    /// The number of thread pools for clients' TLS handshakes and of threads in each; `None` unless
    /// both are set and not zero.
    pub fn downstream_tls_offload_threadpool(&self) -> Option<(usize, usize)> {
        pools(
            self.downstream_tls_offload_threadpools,
            self.downstream_tls_offload_thread_per_pool,
        )
    }

    /// How the runtimes of services are built.
    pub fn runtime_opts(&self) -> RuntimeOpts {
        RuntimeOpts {
            work_stealing: self.work_stealing,
            max_blocking_threads: self.max_blocking_threads,
            blocking_threads_ttl: self.blocking_threads_ttl_seconds.map(Duration::from_secs),
            metrics: RuntimeMetricsOpts {
                poll_time_histogram: self.runtime_metrics_poll_time_histogram,
                poll_time_histogram_scale: self.runtime_metrics_poll_time_histogram_scale,
                poll_time_histogram_resolution: self
                    .runtime_metrics_poll_time_histogram_resolution_micros
                    .map(Duration::from_micros),
                poll_time_histogram_buckets: self.runtime_metrics_poll_time_histogram_buckets,
            },
        }
    }

    /// Applies the command line: `-d` turns [`ServerConf::daemon`] on.
    pub fn merge_with_opt(&mut self, opt: &Opt) {
        self.daemon |= opt.daemon;
    }

    /// The maximum time to wait for active requests.
    pub(crate) fn grace_period(&self) -> Duration {
        Duration::from_secs(self.grace_period_seconds.unwrap_or(20).min(LONGEST))
    }

    /// The time for which idle connections may send one more request after another server has taken
    /// over. Part of the grace period is reserved for answering the last of them.
    pub(crate) fn upgrade_quiet_time(&self) -> Duration {
        let grace = self.grace_period();
        grace - (grace / 4).min(Duration::from_secs(5))
    }

    /// The time that the two servers of an upgrade wait for each other.
    pub(crate) fn handover_timeout(&self) -> Duration {
        let retries = self.upgrade_sock_connect_accept_max_retries;
        let seconds = retries.map_or(60, |r| u64::try_from(r).unwrap_or(u64::MAX));
        // A bound that can be added to an instant.
        Duration::from_secs(seconds.clamp(1, 24 * 3600))
    }

    /// The time that the starting process waits for its background server.
    pub(crate) fn daemon_ready_timeout(&self) -> Duration {
        let seconds = self.daemon_ready_timeout_seconds;
        // A bound that can be added to an instant.
        Duration::from_secs(seconds.map_or(600, |s| s.get()).min(24 * 3600))
    }

    /// The maximum time to wait for work that can't be interrupted.
    pub(crate) fn shutdown_timeout(&self) -> Duration {
        let seconds = self.graceful_shutdown_timeout_seconds.unwrap_or(5);
        Duration::from_secs(seconds.min(LONGEST))
    }
}

fn pools(pools: Option<usize>, threads: Option<usize>) -> Option<(usize, usize)> {
    pools.zip(threads).filter(|(p, t)| *p > 0 && *t > 0)
}

/// The whole message goes into the context, with no cause below it, so it remains one line even if
/// the error is shown by `unwrap()`.
pub(super) fn refused(message: &str) -> pingora_error::BError {
    Error::explain(ErrorType::FileReadError, message.to_string()).into_in()
}

/// The parser's message on one line, in terms of YAML and not of Rust.
pub(super) fn one_line(error: &serde_yaml::Error) -> String {
    let text = error.to_string().replace(['\n', '\r'], " ");
    text.replace(
        "expected struct ServerConf",
        "expected a list of `key: value`",
    )
    .replace("expected usize", "expected a whole number, 0 or more")
    .replace("expected u64", "expected a whole number, 0 or more")
    .replace(
        "expected a nonzero u64",
        "expected a whole number, 1 or more",
    )
    .replace("expected a boolean", "expected true or false")
    .replace("expected a sequence", "expected a list")
}

#[cfg(test)]
#[path = "conf_tests.rs"]
mod tests;
