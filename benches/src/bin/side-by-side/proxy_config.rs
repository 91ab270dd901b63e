//! The configurations of the C proxies.
//!
//! Each gets what its documentation recommends for speed and what the row needs, and nothing that
//! the others could not do: no cache outside of the rows about it, no kernel splicing, buffers as they are by default.

use crate::certificate::{CIPHER, Certificate};
use crate::rows::{Clients, Task};
use std::path::Path;

/// Idle upstream connections that may be kept.
const UPSTREAM_POOL: usize = 2048;

/// The parameters of a proxy's configuration.
pub(crate) struct Setting<'a> {
    /// Of the contender.
    pub(crate) name: &'a str,
    pub(crate) dir: &'a Path,
    /// A directory in memory.
    pub(crate) memory: &'a Path,
    pub(crate) port: u16,
    pub(crate) upstream_port: u16,
    pub(crate) workers: usize,
    /// Where the access log goes in rows with one.
    pub(crate) access_log: Option<&'a Path>,
    pub(crate) clients: Clients,
    pub(crate) upstream_h2c: bool,
    /// Whether connections are held back until they have brought something.
    pub(crate) deferred: bool,
    /// Cipher and versions of TLS are those of all contenders, not the program's own.
    pub(crate) alike: bool,
    pub(crate) task: Task,
    pub(crate) certificate: &'a Certificate,
}

/// The beginning of every nginx configuration here. `name` keeps instances apart.
pub(crate) fn nginx_common(dir: &Path, name: &str) -> String {
    // Started by root, the workers would turn into nobody and could not read the run's directory.
    let user = if nix::unistd::Uid::effective().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "{user}
daemon off;
pid {dir}/{name}.pid;
error_log stderr crit;
events {{
    worker_connections 19000;
    accept_mutex off;
}}",
        dir = dir.display()
    )
}

pub(crate) fn nginx(setting: &Setting<'_>) -> String {
    let Setting {
        name,
        dir,
        port,
        upstream_port,
        workers,
        access_log,
        clients,
        certificate,
        deferred,
        alike,
        task,
        memory,
        ..
    } = setting;
    let cache = if task.is_cached() {
        let place = if *task == Task::Cached { memory } else { dir };
        let place = place.display();
        format!(
            "proxy_cache_path {place}/nginx keys_zone=bench:16m max_size=256m inactive=1h use_temp_path=off;
    proxy_cache bench;
    open_file_cache max=16 inactive=1h;
    open_file_cache_valid 1h;"
        )
    } else {
        String::new()
    };
    let deferred = if *deferred { "deferred" } else { "" };
    // A listener with TLS offers HTTP/2 to whoever asks for it; one without speaks nothing else.
    let listen = match clients {
        Clients::Http1 => "",
        Clients::Http2 => "http2",
        Clients::Http1Tls | Clients::Http2Tls => "ssl http2",
    };
    let tls = if clients.tls() {
        let fixed = format!(
            "ssl_protocols TLSv1.2 TLSv1.3; ssl_conf_command Ciphersuites {CIPHER};
        ssl_session_tickets on;"
        );
        format!(
            "ssl_certificate {};
        ssl_certificate_key {};
        {}",
            certificate.chain.display(),
            certificate.key.display(),
            if *alike { &fixed } else { "" }
        )
    } else {
        String::new()
    };
    let common = nginx_common(dir, name);
    let (log, edits) = match access_log {
        None => ("access_log off;".to_string(), nginx_task(*task)),
        Some(path) if *task == Task::Logged => (
            format!("access_log {} combined buffer=64k;", path.display()),
            "",
        ),
        Some(path) => (
            format!(
                "log_format bench '$remote_addr \"$request\" $status $body_bytes_sent $request_time';
    access_log {} bench buffer=64k;",
                path.display()
            ),
            "location /private/ { return 403; }
        proxy_set_header X-Forwarded-Proto http;
        add_header X-Served-By bench;",
        ),
    };
    format!(
        "worker_processes {workers};
{common}
http {{
    {log}
    {cache}
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    proxy_max_temp_file_size 0;
    upstream origin {{
        server 127.0.0.1:{upstream_port};
        keepalive {UPSTREAM_POOL};
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{port} {listen} {deferred} backlog=4096;
        {tls}
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_set_header Connection \"\";
        {edits}
        location / {{ proxy_pass http://origin; }}
        location /echo {{
            proxy_pass http://origin;
            proxy_set_header Connection upgrade;
            proxy_set_header Upgrade websocket;
        }}
    }}
}}
",
        dir = dir.display()
    )
}

/// What nginx does to requests and responses in a row without a log.
fn nginx_task(task: Task) -> &'static str {
    match task {
        Task::Forward | Task::Realistic | Task::Logged => "",
        // Hits are sent from files.
        Task::Cached | Task::CachedOnDisk => "sendfile on; tcp_nopush on;",
        Task::Edits => {
            "location /private/ { return 403; }
        proxy_set_header X-Forwarded-Proto http;
        add_header X-Served-By bench;
        add_header X-Frame-Options DENY;"
        }
        Task::Gzip => "gzip on; gzip_comp_level 6; gzip_types application/json; gzip_proxied any;",
    }
}

/// HAProxy gives up keeping upstream connections when a quarter of its descriptors is in use; with
/// 10,000 clients that is so from the start, hence the `tune` lines.
pub(crate) fn haproxy(setting: &Setting<'_>) -> String {
    let Setting {
        port,
        upstream_port,
        workers,
        access_log,
        clients,
        upstream_h2c,
        certificate,
        deferred,
        alike,
        task,
        ..
    } = setting;
    let deferred = if *deferred { "defer-accept" } else { "" };
    let bind = match clients {
        Clients::Http1 => String::new(),
        Clients::Http2 => "proto h2".to_string(),
        Clients::Http1Tls | Clients::Http2Tls => format!(
            "ssl crt {} alpn h2,http/1.1",
            certificate.chain_and_key.display()
        ),
    };
    let fixed = format!(
        "ssl-default-bind-ciphersuites {CIPHER}
    ssl-default-bind-options ssl-min-ver TLSv1.2"
    );
    let fixed = if *alike { fixed.as_str() } else { "" };
    let server = if *upstream_h2c { "proto h2" } else { "" };
    // HAProxy logs to a descriptor or to syslog, never to a file: its stdout is the file.
    let (log, edits) = match access_log {
        None => ("", haproxy_task(*task)),
        // Its own formats lack these two fields, so they are captured.
        Some(_) if *task == Task::Logged => (
            "log stdout format raw local0
    log-format \"%ci - - [%trg] \\\"%HM %HU %HV\\\" %ST %B \\\"%[capture.req.hdr(0)]\\\" \\\"%[capture.req.hdr(1)]\\\"\"",
            "http-request capture req.hdr(Referer) len 256
    http-request capture req.hdr(User-Agent) len 256",
        ),
        Some(_) => (
            "log stdout format raw local0
    log-format \"%ci \\\"%HM %HU\\\" %ST %B %Ta\"",
            "http-request deny if { path_beg /private/ }
    http-request set-header X-Forwarded-Proto http
    http-response set-header X-Served-By bench",
        ),
    };
    format!(
        "global
    nbthread {workers}
    no strict-limits
    maxconn 19000
    tune.pool-low-fd-ratio 98
    tune.pool-high-fd-ratio 99
    tune.comp.maxlevel 6
    {fixed}
defaults
    mode http
    {log}
    option http-keep-alive
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    timeout tunnel 1h
frontend front
    bind 127.0.0.1:{port} backlog 4096 {deferred} {bind}
    {edits}
    default_backend origin
backend origin
    http-reuse always
    server origin 127.0.0.1:{upstream_port} {server} pool-max-conn {UPSTREAM_POOL} pool-purge-delay 1h
"
    )
}

/// What HAProxy does to requests and responses in a row without a log.
fn haproxy_task(task: Task) -> &'static str {
    match task {
        Task::Forward | Task::Realistic | Task::Logged | Task::Cached | Task::CachedOnDisk => "",
        Task::Edits => {
            "http-request deny if { path_beg /private/ }
    http-request set-header X-Forwarded-Proto http
    http-response set-header X-Served-By bench
    http-response set-header X-Frame-Options DENY"
        }
        // Its level of compression is that of the whole process, `tune.comp.maxlevel`.
        Task::Gzip => {
            "filter compression
    compression algo gzip
    compression type application/json"
        }
    }
}

/// Varnish passes requests with cookies on, unless told that they don't matter.
pub(crate) fn varnish(setting: &Setting<'_>) -> String {
    format!(
        "vcl 4.1;
backend default {{ .host = \"127.0.0.1\"; .port = \"{}\"; }}
sub vcl_recv {{ unset req.http.Cookie; }}
",
        setting.upstream_port
    )
}
