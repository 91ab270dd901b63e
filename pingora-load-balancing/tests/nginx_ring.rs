//! `Consistent` sends the same key to the same server as nginx's `hash … consistent`, weights and
//! servers that are down included, and `SmoothRoundRobin` goes in nginx's order: a real nginx is asked.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, Consistent, SmoothRoundRobin, UniqueIterator,
};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const KEYS: usize = 400;
/// Keys for servers of which only the names are asked for.
const MANY_KEYS: usize = 10_000;

/// A directory that goes away with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("nginx-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Nginx {
    child: Child,
    socket: PathBuf,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    fn start(directory: &Path, rings: &[Vec<Backend>]) -> Self {
        let socket = directory.join("front.sock");
        let config = directory.join("nginx.conf");
        fs::write(&config, configuration(directory, &socket, rings)).unwrap();
        // Where Debian puts it is not on everyone's path.
        let search_path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
        let child = Command::new("nginx")
            .env("PATH", search_path)
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs nginx (on Debian: apt-get install nginx)");
        let mut nginx = Nginx { child, socket };
        let begun = Instant::now();
        while UnixStream::connect(&nginx.socket).is_err() {
            let log = fs::read_to_string(directory.join("error.log")).unwrap_or_default();
            assert!(nginx.child.try_wait().unwrap().is_none(), "nginx: {log}");
            assert!(begun.elapsed() < Duration::from_secs(20), "nginx: {log}");
            thread::sleep(Duration::from_millis(10));
        }
        nginx
    }

    /// The name of the server that nginx chooses.
    fn ask(&self, ring: usize, key: &str) -> String {
        self.get(&format!("/{ring}?k={key}"))
    }

    fn get(&self, target: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let head = format!("GET {target} HTTP/1.0\r\nHost: ring\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        body.to_string()
    }

    /// The server that nginx chooses for each of the keys, on one connection and in batches. None of them
    /// need run: nginx says which one it has tried.
    fn names(&self, ring: usize, keys: &[String]) -> Vec<String> {
        let mut stream = BufReader::new(UnixStream::connect(&self.socket).unwrap());
        let mut names = Vec::with_capacity(keys.len());
        for batch in keys.chunks(100) {
            let mut heads = String::new();
            for key in batch {
                heads += &format!("HEAD /names{ring}?k={key} HTTP/1.1\r\nHost: ring\r\n\r\n");
            }
            stream.get_mut().write_all(heads.as_bytes()).unwrap();
            names.extend(batch.iter().map(|_| name_in_head(&mut stream)));
        }
        names
    }
}

/// Reads a head to its end, and returns the name in it.
fn name_in_head(reader: &mut impl BufRead) -> String {
    let (mut name, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
        match line.trim_end().split_once(": ") {
            Some(("X-Tried", tried)) => name = tried.to_string(),
            None if line.trim_end().is_empty() => return name,
            _ => {}
        }
    }
}

fn servers(ring: &[Backend]) -> String {
    let mut servers = String::new();
    for backend in ring {
        let kind = if backend.addr.as_unix().is_some() {
            "unix:"
        } else {
            ""
        };
        let (addr, weight) = (&backend.addr, backend.weight);
        servers += &format!("server {kind}{addr} weight={weight} max_fails=0;\n");
    }
    servers
}

fn configuration(directory: &Path, socket: &Path, rings: &[Vec<Backend>]) -> String {
    let directory = directory.display();
    let mut upstreams = String::new();
    let mut locations = String::new();
    for (number, ring) in rings.iter().enumerate() {
        let servers = servers(ring);
        upstreams += &format!("upstream ring{number} {{ hash $arg_k consistent; {servers} }}\n");
        upstreams += &format!("upstream turns{number} {{ {servers} }}\n");
        locations += &format!("location = /{number} {{ proxy_pass http://ring{number}; }}\n");
        locations += &format!(
            "location = /names{number} {{ proxy_pass http://ring{number}; proxy_next_upstream off; \
             add_header X-Tried $upstream_addr always; }}\n"
        );
        locations += &format!("location = /turns{number} {{ proxy_pass http://turns{number}; }}\n");
    }
    format!(
        "daemon off; master_process off; worker_processes 1;
        pid {directory}/nginx.pid; error_log {directory}/error.log;
        events {{ worker_connections 512; }}
        http {{
            access_log off; keepalive_requests 100000;
            client_body_temp_path {directory}/a; proxy_temp_path {directory}/b;
            fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d;
            scgi_temp_path {directory}/e;
            {upstreams}
            server {{ listen unix:{}; {locations} }}
        }}",
        socket.display()
    )
}

/// Answers every request with `name`.
fn serve<S: Read + Write>(connections: impl Iterator<Item = io::Result<S>>, name: &str) {
    for connection in connections {
        let mut reader = BufReader::new(connection.unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            line.clear();
        }
        let length = name.len();
        let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
        let _ = reader.get_mut().write_all(answer.as_bytes());
    }
}

fn tcp_server(weight: usize) -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let backend = Backend::new_with_weight(&name, weight).unwrap();
    thread::spawn(move || serve(listener.incoming(), &name));
    backend
}

fn unix_server(path: &Path, weight: usize) -> Backend {
    let listener = UnixListener::bind(path).unwrap();
    let name = path.display().to_string();
    let backend = Backend::new_with_weight(&name, weight).unwrap();
    thread::spawn(move || serve(listener.incoming(), &name));
    backend
}

#[test]
fn the_same_key_goes_to_the_same_server_as_in_nginx() {
    let directory = Directory::new("ring");
    let dead = directory.0.join("dead.sock").display().to_string();
    let rings = [
        vec![tcp_server(1), tcp_server(1), tcp_server(1)],
        vec![tcp_server(1), tcp_server(2), tcp_server(7), tcp_server(3)],
        vec![unix_server(&directory.0.join("a.sock"), 2), tcp_server(3)],
        // One that is down: its keys go where nginx sends them.
        vec![
            Backend::new_with_weight(&dead, 3).unwrap(),
            tcp_server(1),
            tcp_server(2),
            tcp_server(1),
        ],
    ];
    let nginx = Nginx::start(&directory.0, &rings);
    for (number, ring) in rings.iter().enumerate() {
        let selector = Arc::new(Consistent::build(
            &ring.iter().cloned().collect::<BTreeSet<_>>(),
        ));
        let mut used = BTreeSet::new();
        for key in (0..KEYS).map(|n| format!("key-{n}")) {
            let mut candidates = UniqueIterator::new(selector.iter(key.as_bytes()), 256);
            let ours = std::iter::from_fn(|| candidates.get_next())
                .map(|backend| backend.addr.to_string())
                .find(|addr| *addr != dead)
                .unwrap();
            assert_eq!(
                nginx.ask(number, &key),
                ours,
                "ring {number}, key {key}: {ring:?}"
            );
            used.insert(ours);
        }
        let alive = ring.iter().filter(|b| b.addr.to_string() != dead).count();
        assert_eq!(used.len(), alive, "every server has keys");
    }
}

/// No server has these addresses: to be chosen is all that they are for.
fn absent_server(host: usize, weight: usize) -> Backend {
    Backend::new_with_weight(&format!("127.0.1.{host}:1"), weight).unwrap()
}

#[test]
fn ten_thousand_keys_go_where_nginx_sends_them_by_several_weightings() {
    let directory = Directory::new("keys");
    let weightings: [&[usize]; 5] = [
        &[1, 1, 1, 1, 1],
        &[1, 2, 3, 4],
        &[10, 1],
        &[7, 3, 5, 1, 1, 2, 8, 4],
        &[1; 50],
    ];
    let rings = weightings.map(|weights| {
        let servers = weights.iter().enumerate();
        Vec::from_iter(servers.map(|(host, weight)| absent_server(host + 1, *weight)))
    });
    let nginx = Nginx::start(&directory.0, &rings);
    let keys: Vec<String> = (0..MANY_KEYS).map(|n| format!("key-{n}")).collect();
    for (number, ring) in rings.iter().enumerate() {
        let selector = Arc::new(Consistent::build(&ring.iter().cloned().collect()));
        let ours = keys.iter().map(|key| {
            let mut candidates = selector.iter(key.as_bytes());
            candidates.next().unwrap().addr.to_string()
        });
        let theirs = nginx.names(number, &keys);
        let differing = ours.zip(&theirs).filter(|(ours, theirs)| ours != *theirs);
        assert_eq!(differing.count(), 0, "ring {number}: {ring:?}");
    }
}

#[test]
fn turns_come_in_the_same_order_as_in_nginx() {
    let directory = Directory::new("turns");
    let sets = [
        &[1, 1, 1][..],
        &[5, 1, 1],
        &[4, 3, 2, 1],
        &[1, 2, 3],
        &[10, 20, 5],
    ];
    let sets = sets.map(|weights| {
        let servers = weights.iter().map(|weight| tcp_server(*weight));
        // nginx goes by the order of the configuration, we by address.
        Vec::from_iter(servers.collect::<BTreeSet<_>>())
    });
    let nginx = Nginx::start(&directory.0, &sets);
    for (number, set) in sets.iter().enumerate() {
        let selector = Arc::new(SmoothRoundRobin::build(&set.iter().cloned().collect()));
        for turn in 0..40 {
            let ours = selector.iter(b"").next().unwrap().addr.to_string();
            let theirs = nginx.get(&format!("/turns{number}"));
            assert_eq!(theirs, ours, "turn {turn} of {set:?}");
        }
    }
}
