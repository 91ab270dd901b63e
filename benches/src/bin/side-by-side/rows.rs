//! The rows of the measurement.

use crate::Failure;
use crate::contender::Kind;

/// A browser's fields beside Host.
const BROWSER: [&str; 11] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://bench.test/articles/2024/an-earlier-page.html",
    "Cookie: session=0f6c1d2e3b4a59687786a5b4c3d2e1f0; theme=dark; consent=yes",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Priority: u=0, i",
];

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) work: Work,
}

#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Requests in a closed loop by wrk or h2load; the figure is CPU time per request.
    Requests(Requests),
    /// A TLS connection for each request; CPU time per connection.
    Handshakes {
        connections: usize,
        resumed: bool,
        alike: bool,
    },
    /// Request bodies of one size in a closed loop; CPU time per request.
    Uploads { connections: usize, bytes: u64 },
    /// Messages of 70 bytes that an origin sends back, in a closed loop on connections that have switched to
    /// WebSocket; CPU time per message.
    Echo { connections: usize },
    /// Growth of memory per connection that made one request and stays open.
    Idle {
        connections: usize,
        clients: Clients,
    },
    /// The 99th percentile of latency.
    Latency { connections: usize, rate: Rate },
}

/// How often requests arrive.
#[derive(Clone, Copy)]
pub(crate) enum Rate {
    /// At 80 % of the rate at which the same generator saturates the contender.
    Own,
    /// So many a second, for all contenders.
    Fixed(u32),
}

/// What the proxy does beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Forward,
    /// Four phases and three more header fields.
    Edits,
    /// Header edits, a body filter and an access log.
    Realistic,
    /// An access log in the combined format, for the contenders that are there to write one.
    Logged,
    /// Compression at level 6.
    Gzip,
    /// Responses come from a cache in memory.
    Cached,
    /// Responses come from a cache in a directory on a disk.
    CachedOnDisk,
}

impl Task {
    /// Whether responses come from a cache.
    pub(crate) fn is_cached(self) -> bool {
        matches!(self, Task::Cached | Task::CachedOnDisk)
    }
}

/// What the proxy speaks with its clients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// HTTP/1.1 in cleartext.
    Http1,
    /// HTTP/1.1 over TLS.
    Http1Tls,
    /// HTTP/2 in cleartext, with prior knowledge (RFC 9113 section 3.3).
    Http2,
    /// HTTP/2 over TLS.
    Http2Tls,
}

impl Clients {
    pub(crate) fn tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    pub(crate) fn http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Requests {
    pub(crate) clients: Clients,
    /// HTTP/2 in cleartext to the origin.
    pub(crate) upstream_h2c: bool,
    /// The C proxies hold connections back until they have brought something, as we do by default.
    pub(crate) deferred: bool,
    pub(crate) connections: usize,
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [&'static str],
    /// Further connections that stay open and silent.
    pub(crate) held: usize,
    pub(crate) workers: usize,
    /// Proxy, load and origin share all cores.
    pub(crate) all_cores: bool,
    pub(crate) task: Task,
    /// All contenders use the same cipher and versions of TLS, instead of their defaults.
    pub(crate) alike: bool,
}

const SMALL: Requests = Requests {
    clients: Clients::Http1,
    upstream_h2c: false,
    deferred: false,
    connections: 32,
    path: "/",
    headers: &[],
    held: 0,
    workers: 1,
    all_cores: false,
    task: Task::Forward,
    alike: false,
};

/// As many connections as h2load has in each HTTP/2 row, with `load::STREAMS` streams on each.
const HTTP2: Requests = Requests {
    clients: Clients::Http2Tls,
    connections: 8,
    ..SMALL
};

const fn held(open: usize) -> Work {
    let active = if open < 32 { open } else { 32 };
    Work::Requests(Requests {
        connections: active,
        held: open - active,
        ..SMALL
    })
}

const fn workers(workers: usize, connections: usize) -> Work {
    Work::Requests(Requests {
        workers,
        connections,
        all_cores: true,
        ..SMALL
    })
}

const fn cached(path: &'static str) -> Work {
    Work::Requests(Requests {
        path,
        headers: &BROWSER,
        task: Task::Cached,
        ..SMALL
    })
}

pub(crate) const ROWS: [Row; 40] = [
    Row {
        name: "small",
        title: "32 connections, 48 B body, hardly any headers",
        work: Work::Requests(SMALL),
    },
    Row {
        name: "browser",
        title: "32 connections, 12 browser headers",
        work: Work::Requests(Requests {
            headers: &BROWSER,
            ..SMALL
        }),
    },
    Row {
        name: "conns-512",
        title: "512 connections",
        work: Work::Requests(Requests {
            connections: 512,
            ..SMALL
        }),
    },
    Row {
        name: "body-100k",
        title: "100 KB body, 32 connections",
        work: Work::Requests(Requests {
            path: "/100k",
            ..SMALL
        }),
    },
    Row {
        name: "body-10m",
        title: "10 MB body, 4 connections",
        work: Work::Requests(Requests {
            path: "/10m",
            connections: 4,
            ..SMALL
        }),
    },
    Row {
        name: "upload-10m",
        title: "10 MB upload, 4 connections",
        work: Work::Uploads {
            connections: 4,
            bytes: 10 * 1024 * 1024,
        },
    },
    Row {
        name: "upload-1m",
        title: "1 MB upload, 16 connections",
        work: Work::Uploads {
            connections: 16,
            bytes: 1024 * 1024,
        },
    },
    Row {
        name: "upload-100k",
        title: "100 KB upload, 32 connections",
        work: Work::Uploads {
            connections: 32,
            bytes: 100 * 1024,
        },
    },
    Row {
        name: "gzip",
        title: "100 KB of JSON, gzip at level 6, 16 connections",
        work: Work::Requests(Requests {
            path: "/100k.json",
            headers: &["Accept-Encoding: gzip"],
            connections: 16,
            task: Task::Gzip,
            ..SMALL
        }),
    },
    Row {
        name: "cache-hit-1k",
        title: "1 KB from the cache in memory, 32 connections, 12 browser headers",
        work: cached("/cached/1k"),
    },
    Row {
        name: "cache-hit-100k",
        title: "100 KB from the cache in memory, 32 connections, 12 browser headers",
        work: cached("/cached/100k"),
    },
    Row {
        name: "cache-disk-10m",
        title: "10 MB from the cache on a disk, 4 connections",
        work: Work::Requests(Requests {
            connections: 4,
            path: "/cached/10m",
            task: Task::CachedOnDisk,
            ..SMALL
        }),
    },
    Row {
        name: "websocket",
        title: "WebSocket, 70 B messages echoed by the origin, 32 connections",
        work: Work::Echo { connections: 32 },
    },
    Row {
        name: "new-connection",
        title: "a new client connection per request",
        work: Work::Requests(Requests {
            headers: &["Connection: close"],
            ..SMALL
        }),
    },
    Row {
        name: "new-connection-deferred",
        title: "the same, and the C proxies accept as we do",
        work: Work::Requests(Requests {
            headers: &["Connection: close"],
            deferred: true,
            ..SMALL
        }),
    },
    Row {
        name: "realistic",
        title: "browser headers, header edits, body filter, access log",
        work: Work::Requests(Requests {
            headers: &BROWSER,
            task: Task::Realistic,
            ..SMALL
        }),
    },
    Row {
        name: "logged",
        title: "browser with and without metrics and an access log",
        work: Work::Requests(Requests {
            headers: &BROWSER,
            task: Task::Logged,
            ..SMALL
        }),
    },
    Row {
        name: "edits",
        title: "four phases, three header fields inserted",
        work: Work::Requests(Requests {
            task: Task::Edits,
            ..SMALL
        }),
    },
    Row {
        name: "idle",
        title: "memory per idle connection, 4,000 of them",
        work: Work::Idle {
            connections: 4000,
            clients: Clients::Http1,
        },
    },
    Row {
        name: "open-10",
        title: "10 open connections, all active",
        work: held(10),
    },
    Row {
        name: "open-100",
        title: "100 open connections, 32 active",
        work: held(100),
    },
    Row {
        name: "open-1000",
        title: "1,000 open connections, 32 active",
        work: held(1000),
    },
    Row {
        name: "open-10000",
        title: "10,000 open connections, 32 active",
        work: held(10_000),
    },
    Row {
        name: "workers-1",
        title: "1 worker, all programs on all cores",
        work: workers(1, 32),
    },
    Row {
        name: "workers-2",
        title: "2 workers, all programs on all cores",
        work: workers(2, 32),
    },
    Row {
        name: "workers-2-1000",
        title: "2 workers, 1,000 connections, all programs on all cores",
        work: workers(2, 1000),
    },
    Row {
        name: "latency",
        title: "p99 at 80 % of the contender's own saturation",
        work: Work::Latency {
            connections: 64,
            rate: Rate::Own,
        },
    },
    Row {
        name: "latency-fixed",
        title: "p99 at 20,000 requests a second",
        work: Work::Latency {
            connections: 64,
            rate: Rate::Fixed(20_000),
        },
    },
    Row {
        name: "tls-browser",
        title: "HTTP/1.1 over TLS, 32 connections, 12 browser headers",
        work: Work::Requests(Requests {
            clients: Clients::Http1Tls,
            headers: &BROWSER,
            ..SMALL
        }),
    },
    Row {
        name: "tls-browser-alike",
        title: "the same, all with TLS 1.3 and one cipher",
        work: Work::Requests(Requests {
            clients: Clients::Http1Tls,
            headers: &BROWSER,
            alike: true,
            ..SMALL
        }),
    },
    Row {
        name: "tls-handshake",
        title: "a full TLS handshake per request, P-256",
        work: Work::Handshakes {
            connections: 16,
            resumed: false,
            alike: false,
        },
    },
    Row {
        name: "tls-handshake-alike",
        title: "the same, all with TLS 1.3 and one cipher",
        work: Work::Handshakes {
            connections: 16,
            resumed: false,
            alike: true,
        },
    },
    Row {
        name: "tls-resumed",
        title: "a resumed TLS 1.3 handshake per request",
        work: Work::Handshakes {
            connections: 16,
            resumed: true,
            alike: true,
        },
    },
    Row {
        name: "tls-idle",
        title: "memory per idle TLS connection, 2,000 of them",
        work: Work::Idle {
            connections: 2000,
            clients: Clients::Http1Tls,
        },
    },
    Row {
        name: "h2-idle",
        title: "memory per idle HTTP/2 connection over TLS, 2,000 of them",
        work: Work::Idle {
            connections: 2000,
            clients: Clients::Http2Tls,
        },
    },
    Row {
        name: "h2-tls",
        title: "HTTP/2 over TLS, 8 connections with 32 streams",
        work: Work::Requests(HTTP2),
    },
    Row {
        name: "h2-tls-alike",
        title: "the same, all with TLS 1.3 and one cipher",
        work: Work::Requests(Requests {
            alike: true,
            ..HTTP2
        }),
    },
    Row {
        name: "h2-browser",
        title: "the same with 12 browser headers",
        work: Work::Requests(Requests {
            headers: &BROWSER,
            ..HTTP2
        }),
    },
    Row {
        name: "h2c",
        title: "HTTP/2 in cleartext, 8 connections with 32 streams",
        work: Work::Requests(Requests {
            clients: Clients::Http2,
            ..HTTP2
        }),
    },
    Row {
        name: "h2-upstream",
        title: "32 connections of HTTP/1.1, HTTP/2 in cleartext to the origin",
        work: Work::Requests(Requests {
            upstream_h2c: true,
            headers: &BROWSER,
            ..SMALL
        }),
    },
];

/// An error where a name chooses nothing.
pub(crate) fn check(chosen: &[String]) -> Result<(), Failure> {
    let names = ROWS.map(|row| row.name).join(", ");
    let unknown = chosen.iter().find(|name| {
        !ROWS
            .iter()
            .any(|row| row.is_chosen(std::slice::from_ref(*name)))
    });
    match unknown {
        None => Ok(()),
        Some(name) => Err(format!("no row is called {name}; there are {names}").into()),
    }
}

impl Row {
    /// Whether `--rows` names it.
    pub(crate) fn is_chosen(&self, chosen: &[String]) -> bool {
        chosen.is_empty()
            || chosen.iter().any(|name| {
                let rest = self.name.strip_prefix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
    }

    pub(crate) fn unit(&self) -> &'static str {
        match self.work {
            Work::Requests(_) | Work::Uploads { .. } => "µs CPU/request",
            Work::Echo { .. } => "µs CPU/message",
            Work::Handshakes { .. } => "µs CPU/connection",
            Work::Idle { .. } => "KiB/connection",
            Work::Latency { .. } => "µs p99",
        }
    }

    /// What the proxy speaks with its clients.
    pub(crate) fn clients(&self) -> Clients {
        match self.work {
            Work::Requests(requests) => requests.clients,
            Work::Handshakes { .. } => Clients::Http1Tls,
            Work::Idle { clients, .. } => clients,
            _ => Clients::Http1,
        }
    }

    /// The program beside those of this package that makes the load.
    pub(crate) fn generator(&self) -> Option<&'static str> {
        match self.work {
            Work::Requests(requests) if requests.clients.http2() => Some("h2load"),
            Work::Requests(_) => Some("wrk"),
            _ => None,
        }
    }

    pub(crate) fn deferred(&self) -> bool {
        matches!(self.work, Work::Requests(requests) if requests.deferred)
    }

    /// Whether all contenders use the same cipher and versions of TLS.
    pub(crate) fn alike(&self) -> bool {
        match self.work {
            Work::Requests(requests) => requests.alike,
            Work::Handshakes { alike, .. } => alike,
            _ => false,
        }
    }

    /// What the proxy does beside forwarding.
    pub(crate) fn task(&self) -> Task {
        match self.work {
            Work::Requests(requests) => requests.task,
            _ => Task::Forward,
        }
    }

    fn upstream_h2c(&self) -> bool {
        matches!(self.work, Work::Requests(requests) if requests.upstream_h2c)
    }

    /// Whether the row means something for a contender, and the contender can do it.
    pub(crate) fn suits(&self, kind: Kind) -> bool {
        match (kind, self.work) {
            // The others have no cache in memory, or another one than a user would choose.
            (kind, _) if self.task() == Task::Cached => {
                matches!(kind, Kind::Nginx | Kind::Varnish | Kind::Ours)
            }
            (kind, _) if self.task() == Task::CachedOnDisk => {
                matches!(kind, Kind::Nginx | Kind::Ours)
            }
            (kind, _) if self.task() == Task::Logged => {
                kind.logs()
                    || matches!(
                        kind,
                        Kind::Nginx | Kind::Haproxy | Kind::Ours | Kind::Uncounted
                    )
            }
            (Kind::Varnish | Kind::Uncounted, _) => false,
            (kind, _) if kind.logs() => false,
            (Kind::OursRustls, _) => self.clients().tls(),
            (Kind::Floor | Kind::FloorSplice, _)
                if self.clients() != Clients::Http1 || self.upstream_h2c() =>
            {
                false
            }
            // Version 1.22, which is what distributions have, speaks HTTP/1 with upstreams.
            (Kind::Nginx, _) if self.upstream_h2c() => false,
            // One upstream connection per client: what closes or idles on one side does so on
            // the other, and with 10,000 it runs out of descriptors.
            (Kind::Floor, Work::Requests(r)) => {
                r.held == 0 && r.task == Task::Forward && !self.name.starts_with("new-connection")
            }
            (Kind::Floor, Work::Idle { .. } | Work::Echo { .. }) => false,
            (Kind::FloorSplice, _) => matches!(self.name, "body-10m" | "upload-10m" | "upload-1m"),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_name_or_by_what_stands_before_the_dash() {
        let chosen = |filter: &[&str]| -> Vec<&str> {
            let filter: Vec<String> = filter.iter().map(ToString::to_string).collect();
            ROWS.iter()
                .filter(|row| row.is_chosen(&filter))
                .map(|row| row.name)
                .collect()
        };
        assert_eq!(chosen(&[]).len(), ROWS.len());
        assert_eq!(
            chosen(&["small", "workers"]),
            ["small", "workers-1", "workers-2", "workers-2-1000"]
        );
        assert_eq!(chosen(&["open-10"]), ["open-10"]);
        assert_eq!(
            chosen(&["h2", "h2c"]),
            [
                "h2-idle",
                "h2-tls",
                "h2-tls-alike",
                "h2-browser",
                "h2c",
                "h2-upstream"
            ]
        );
        assert!(chosen(&["op"]).is_empty());
    }
}
