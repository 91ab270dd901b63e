//! The origins behind the proxies.

use crate::Failure;
use crate::contender::{free_port, wait_until_answering};
use crate::environment;
use crate::process::Process;
use crate::rows::Clients;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

/// The small body: 48 bytes.
const SMALL: &str = "The quick brown fox jumps over the lazy dog. 42\\n";

pub(crate) struct Origins {
    pub(crate) nginx: Process,
    pub(crate) nginx_port: u16,
    /// The same nginx, where it speaks HTTP/2 in cleartext.
    pub(crate) h2c_port: u16,
    pub(crate) sink: Process,
    pub(crate) sink_port: u16,
    /// Where WebSockets are echoed.
    pub(crate) echo: Process,
    pub(crate) echo_port: u16,
    /// Where the open-loop generator is an origin while it runs.
    pub(crate) generator_port: u16,
}

impl Origins {
    /// Starts nginx with the bodies of all rows, and the sink for uploads.
    pub(crate) fn start(dir: &Path, cores: &str) -> Result<Self, Failure> {
        let (nginx_port, h2c_port) = (free_port()?, free_port()?);
        let (sink_port, generator_port) = (free_port()?, free_port()?);
        let echo_port = free_port()?;
        let www = dir.join("www");
        std::fs::create_dir_all(&www)?;
        let cached = www.join("cached");
        std::fs::create_dir_all(&cached)?;
        std::fs::write(cached.join("1k"), vec![b'x'; 1024])?;
        std::fs::write(cached.join("100k"), vec![b'x'; 100 * 1024])?;
        std::fs::write(cached.join("10m"), vec![b'x'; 10 * 1024 * 1024])?;
        std::fs::write(www.join("100k"), vec![b'x'; 100 * 1024])?;
        std::fs::write(www.join("100k.json"), json())?;
        std::fs::write(www.join("10m"), vec![b'x'; 10 * 1024 * 1024])?;
        let config = dir.join("origin.conf");
        std::fs::write(&config, nginx_config(nginx_port, h2c_port, dir))?;
        let log = dir.join("origin.log");
        let args = [
            OsString::from("-p"),
            dir.into(),
            "-e".into(),
            log.clone().into(),
            "-c".into(),
            config.into(),
        ];
        let nginx = Path::new("nginx");
        let mut nginx = Process::start_with(nginx, &args, cores, &log, Stdio::null())?;
        let listen = format!("127.0.0.1:{sink_port}");
        let args = ["sink", "--listen", &listen];
        let load = environment::binary("load")?;
        let mut sink = Process::start(&load, &args, cores, &dir.join("sink.log"))?;
        wait_until_answering(&mut nginx, nginx_port, Clients::Http1, false)?;
        wait_until_answering(&mut sink, sink_port, Clients::Http1, false)?;
        let listen = format!("127.0.0.1:{echo_port}");
        let args = ["echo-origin", "--listen", &listen];
        let echo = Process::start(&load, &args, cores, &dir.join("echo-origin.log"))?;
        Ok(Self {
            nginx,
            nginx_port,
            h2c_port,
            sink,
            sink_port,
            echo,
            echo_port,
            generator_port,
        })
    }
}

/// 100 KB of JSON as an interface returns it: names repeat, values don't.
fn json() -> String {
    let mut text = String::from("[");
    let mut number = 1_u32;
    while text.len() < 100 * 1024 {
        // A small generator, so that every run compresses the same.
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (id, price) = (number >> 8, number % 10_000);
        text += &format!(
            "{{\"id\":{id},\"name\":\"item {id:x}\",\"price\":{price},\"tags\":[\"new\",\"stock-{}\"]}},",
            number % 97
        );
    }
    text + "null]"
}

/// Small bodies from memory, large ones by sendfile, connections that never end by themselves.
fn nginx_config(port: u16, h2c_port: u16, dir: &Path) -> String {
    let common = crate::proxy_config::nginx_common(dir, "origin");
    format!(
        "worker_processes 1;
{common}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16 inactive=1h;
    open_file_cache_valid 1h;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    default_type text/plain;
    types {{ application/json json; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{h2c_port} http2 backlog=4096;
        root www;
        location /cached/ {{
            add_header Cache-Control max-age=86400;
            add_header X-Number $request_id;
        }}
        location = / {{ return 200 \"{SMALL}\"; }}
    }}
}}
"
    )
}
