//! Endpoints that are added and removed, and the end of a service.

use super::*;
use crate::listeners::{AcceptedSocket, OfClient, Transport};
use crate::services::Service as _;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Answers each line with the same line; the first letter selects additional actions.
#[derive(Default)]
struct Lines {
    rounds: AtomicUsize,
    cleaned: AtomicUsize,
    threads: Mutex<Vec<std::thread::ThreadId>>,
}

#[async_trait]
impl ServerApp for Lines {
    async fn process_new(
        self: &Arc<Self>,
        mut session: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut line = [0; 2];
        let mut shutdown = shutdown.clone();
        tokio::select! {
            read = session.read_exact(&mut line) => { read.ok()?; }
            _ = shutdown.wait_for(|begun| *begun) => return None,
        }
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.threads
            .lock()
            .unwrap()
            .push(std::thread::current().id());
        match line[0] {
            b'p' => panic!("as asked for"),
            // Work in progress, until its client sends more.
            b'w' => {
                session.read_exact(&mut line).await.ok()?;
            }
            _ => {}
        }
        session.write_all(&line).await.ok()?;
        (line[0] != b'q').then_some(session)
    }

    async fn cleanup(&self) {
        self.cleaned.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), line: &[u8; 2]) -> [u8; 2] {
    stream.write_all(line).await.unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

struct Running {
    addresses: Vec<SocketAddr>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(mut service: Service<Lines>) -> Self {
        let bound = service.bound_addresses();
        let (shutdown, watch) = watch::channel(false);
        let task = tokio::spawn(async move { service.start_service(None, watch, 1).await });
        Running {
            addresses: bound.wait().await.unwrap(),
            shutdown,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.send_replace(true);
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .expect("the service ends")
            .unwrap();
    }
}

fn lines() -> Service<Lines> {
    let mut service = Service::new("lines".into(), Lines::default());
    service.add_tcp("127.0.0.1:0");
    service
}

#[tokio::test]
async fn a_connection_is_served_until_the_application_keeps_it() {
    let running = Running::start(lines()).await;
    let mut client = running.connect().await;
    assert_eq!(&ask(&mut client, b"a\n").await, b"a\n");
    assert_eq!(&ask(&mut client, b"q\n").await, b"q\n");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_panic_ends_its_connection_alone() {
    let running = Running::start(lines()).await;
    let mut bystander = running.connect().await;
    ask(&mut bystander, b"a\n").await;
    let mut client = running.connect().await;
    client.write_all(b"p\n").await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    ask(&mut bystander, b"b\n").await;
    ask(&mut running.connect().await, b"c\n").await;
    drop(bystander);
    running.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_and_waits_for_work() {
    let running = Running::start(lines()).await;
    let mut idle = running.connect().await;
    ask(&mut idle, b"a\n").await;
    let mut busy = running.connect().await;
    busy.write_all(b"w\n").await.unwrap();
    // The service knows both: the second was accepted after the first, and this one after it.
    ask(&mut running.connect().await, b"q\n").await;

    running.shutdown.send_replace(true);
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "closed");
    while TcpStream::connect(running.addresses[0]).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!running.task.is_finished(), "work is under way");
    assert_eq!(&ask(&mut busy, b"q\n").await, b"q\n");
    running.stop().await;
}

#[tokio::test]
async fn cleanup_is_called_once_after_accepting() {
    let service = lines();
    let app = Arc::new(Lines::default());
    drop(service);
    // The application is moved into the service, so it is observed from inside another one.
    struct Watched(Arc<Lines>);
    #[async_trait]
    impl ServerApp for Watched {
        async fn process_new(self: &Arc<Self>, _: Stream, _: &ShutdownWatch) -> Option<Stream> {
            None
        }
        async fn cleanup(&self) {
            self.0.cleanup().await;
        }
        async fn drained(&self) {
            assert_eq!(self.0.cleaned.fetch_add(1, Ordering::Relaxed), 1);
        }
    }
    let mut service = Service::new("watched".into(), Watched(app.clone()));
    assert!(service.app_logic().is_some() && service.app_logic_mut().is_some());
    service.add_tcp("127.0.0.1:0");
    let (shutdown, watch) = watch::channel(false);
    shutdown.send_replace(true);
    service.start_service(None, watch, 3).await;
    assert_eq!(
        app.cleaned.load(Ordering::Relaxed),
        2,
        "cleaned, then drained"
    );
    assert!(service.app_logic().is_none());
    assert_eq!(service.listen_addresses().unwrap(), ["127.0.0.1:0"]);
}

#[tokio::test]
async fn unix_sockets_are_served_and_removed() {
    let path = std::env::temp_dir().join(format!("service-{}.sock", std::process::id()));
    let mut service = lines();
    service.add_uds(path.to_str().unwrap(), None);
    let running = Running::start(service).await;
    assert_eq!(running.addresses.len(), 1, "of TCP endpoints");
    let mut client = UnixStream::connect(&path).await.unwrap();
    ask(&mut client, b"a\n").await;
    running.stop().await;
    assert!(!path.exists());
}

#[derive(Debug, Default)]
struct Counting(AtomicUsize);

#[async_trait::async_trait]
impl ConnectionFilter for Counting {
    async fn should_accept(&self, _addr: Option<&SocketAddr>) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) > 0
    }
}

#[tokio::test]
async fn a_filter_closes_connections_before_the_application_sees_them() {
    let mut service = lines();
    service.set_connection_filter(Arc::new(Counting::default()));
    let running = Running::start(service).await;
    let mut first = running.connect().await;
    assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
    let mut second = running.connect().await;
    assert_eq!(&ask(&mut second, b"q\n").await, b"q\n");
    running.stop().await;
}

#[tokio::test]
async fn endpoints_come_and_go_while_the_service_runs() {
    let path = std::env::temp_dir().join(format!("control-{}.sock", std::process::id()));
    let uds = path.to_str().unwrap();
    let mut service = lines();
    let (control, bound) = (service.listener_control(), service.bound_addresses());
    let running = Running::start(service).await;
    let mut kept = running.connect().await;
    ask(&mut kept, b"a\n").await;

    let added = control.add(ListenerConfig::tcp("127.0.0.1:0")).await;
    let added = added.unwrap().unwrap();
    assert_eq!(bound.get().unwrap(), [running.addresses[0], added]);
    ask(&mut TcpStream::connect(added).await.unwrap(), b"q\n").await;
    assert_eq!(control.add(ListenerConfig::uds(uds)).await.unwrap(), None);
    ask(&mut UnixStream::connect(&path).await.unwrap(), b"q\n").await;
    let taken = control.add(ListenerConfig::tcp(added.to_string())).await;
    assert!(
        taken
            .unwrap_err()
            .to_string()
            .contains("lines: can't listen on")
    );

    let first = running.addresses[0].to_string();
    assert!(control.remove(&first).await.unwrap());
    assert!(TcpStream::connect(running.addresses[0]).await.is_err());
    assert!(!control.remove(&first).await.unwrap(), "gone already");
    assert!(control.remove(uds).await.unwrap());
    assert!(!path.exists());
    assert!(control.remove(&added.to_string()).await.unwrap());
    assert!(bound.get().unwrap().is_empty());
    assert_eq!(&ask(&mut kept, b"b\n").await, b"b\n", "stays open");

    let again = control.add(ListenerConfig::tcp("127.0.0.1:0")).await;
    ask(
        &mut TcpStream::connect(again.unwrap().unwrap()).await.unwrap(),
        b"q\n",
    )
    .await;
    running.stop().await;
    assert!(
        control
            .add(ListenerConfig::tcp("127.0.0.1:0"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_service_without_endpoints_waits_for_them() {
    let mut service = Service::new("empty".into(), Lines::default());
    let control = service.listener_control();
    let waiting = tokio::spawn({
        let control = control.clone();
        async move { control.add(ListenerConfig::tcp("127.0.0.1:0")).await }
    });
    let running = Running::start(service).await;
    let address = waiting.await.unwrap().unwrap().unwrap();
    ask(&mut TcpStream::connect(address).await.unwrap(), b"q\n").await;
    running.stop().await;
}

#[tokio::test]
async fn nobody_is_served_before_the_service_has_warmed_up() {
    for outcome in ["good", "bad", "panic"] {
        let mut service = lines();
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        service.set_warm_up(move |app: Arc<Lines>| async move {
            finished.await.unwrap();
            assert_eq!(app.rounds.fetch_add(100, Ordering::Relaxed), 0);
            assert_ne!(outcome, "panic");
            match outcome {
                "good" => Ok(()),
                _ => Error::e_explain(ErrorType::InternalError, "as asked for"),
            }
        });
        let bound = service.bound_addresses();
        let (shutdown, watch) = watch::channel(false);
        let (ready, mut is_ready) = watch::channel(false);
        let ready = ServiceReadyNotifier::new(ready);
        let task = tokio::spawn(async move {
            service
                .start_with_ready_notifier(None, watch, 1, ready)
                .await;
        });
        let address = bound.wait().await.unwrap()[0];
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"q\n").await.unwrap();
        tokio::task::yield_now().await;
        assert!(!*is_ready.borrow_and_update());
        finish.send(()).unwrap();
        is_ready.wait_for(|ready| *ready).await.unwrap();
        let mut answer = [0; 2];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"q\n", "{outcome}");
        shutdown.send_replace(true);
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_shutdown_ends_the_warm_up() {
    let mut service = lines();
    service.set_warm_up(|_| std::future::pending());
    let running = Running::start(service).await;
    running.stop().await;
}

#[test]
fn a_group_of_sockets_that_share_an_address_is_taken_over_whole() {
    let options = TcpSocketOptions {
        so_reuseport: Some(true),
        ..TcpSocketOptions::default()
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut old = Service::new("old".into(), Lines::default());
    for _ in 0..3 {
        old.add_tcp_with_settings(&address, options.clone());
    }
    let mut fds = Fds::new();
    old.prepare(&mut fds).unwrap();

    let mut handed_over = Fds::new();
    for endpoint in &old.endpoints {
        let copy = endpoint.socket.fd.try_clone().unwrap().into_raw_fd();
        handed_over.add(endpoint.socket.name.clone(), copy);
    }
    let mut new = Service::new("new".into(), Lines::default());
    new.add_tcp_with_settings(&address, options);
    new.prepare(&mut handed_over).unwrap();
    assert_eq!(new.endpoints.len(), 3);
    assert!(handed_over.close_orphans().is_empty());
}

#[tokio::test]
async fn a_service_that_cannot_listen_says_so_and_ends() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut service = Service::new("taken".into(), Lines::default());
    service.add_tcp(&taken.local_addr().unwrap().to_string());
    let bound = service.bound_addresses();
    let (_shutdown, watch) = watch::channel(false);
    service.start_service(None, watch, 1).await;
    drop(service);
    assert!(bound.wait().await.is_err());
}

#[test]
fn an_error_at_the_start_names_service_and_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut service = Service::new("front door".into(), Lines::default());
    service.add_tcp(&address);
    let error = service.prepare(&mut Fds::new()).unwrap_err();
    let message = error.context.as_ref().unwrap().as_str();
    assert!(
        message.starts_with(&format!("front door: can't listen on {address}: ")),
        "{message}"
    );
}

#[test]
fn without_work_stealing_every_thread_serves_and_keeps_its_connections() {
    let options = RuntimeOpts {
        work_stealing: false,
        ..RuntimeOpts::default()
    };
    let runtime = crate::runtime::Runtime::new("pinned", 2, &options).unwrap();
    let app = Arc::new(Lines::default());
    struct Shared(Arc<Lines>);
    #[async_trait]
    impl ServerApp for Shared {
        async fn process_new(self: &Arc<Self>, s: Stream, w: &ShutdownWatch) -> Option<Stream> {
            self.0.process_new(s, w).await
        }
    }
    let mut service = Service::new("pinned".into(), Shared(app.clone()));
    service.add_tcp("127.0.0.1:0");
    let bound = service.bound_addresses();
    let (shutdown, watch) = watch::channel(false);
    let task = runtime
        .handle()
        .spawn(async move { service.start_service(None, watch, 2).await });
    let address = bound.wait_blocking(Duration::from_secs(5)).unwrap()[0];
    let clients = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    clients.block_on(async {
        for _ in 0..8 {
            let mut client = TcpStream::connect(address).await.unwrap();
            let before = app.threads.lock().unwrap().len();
            for _ in 0..3 {
                ask(&mut client, b"a\n").await;
            }
            let threads = app.threads.lock().unwrap();
            assert!(threads[before..].windows(2).all(|pair| pair[0] == pair[1]));
        }
        shutdown.send_replace(true);
        task.await.unwrap();
    });
    let threads = app.threads.lock().unwrap();
    let distinct: std::collections::HashSet<_> = threads.iter().collect();
    assert_eq!(distinct.len(), 2);
    runtime.shutdown(Duration::from_secs(5));
}

/// The cost of every idle connection apart from its socket.
#[tokio::test]
async fn the_task_of_a_connection_is_small() {
    let (_, shutdown) = watch::channel(false);
    let transport = Arc::new(Transport::plain());
    let accepted = AcceptedSocket {
        fd: std::fs::File::open("/dev/null").unwrap().into(),
        peer: None,
    };
    let live = Connections::default().enter(OfClient::unlimited());
    let task = Service::serve(
        accepted,
        transport,
        Arc::new(Lines::default()),
        shutdown,
        live,
    );
    let size = size_of_val(&task);
    assert!(size <= 512, "{size} bytes");
}

#[cfg(feature = "openssl")]
mod tls {
    use super::*;
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::PKey;
    use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};
    use openssl::x509::X509Builder;

    /// An untrusted certificate and its key, as files.
    fn certificate() -> [String; 2] {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut builder = X509Builder::new().unwrap();
        builder.set_pubkey(&key).unwrap();
        builder
            .set_not_before(&Asn1Time::days_from_now(0).unwrap())
            .unwrap();
        builder
            .set_not_after(&Asn1Time::days_from_now(1).unwrap())
            .unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let pem = [
            ("cert", builder.build().to_pem().unwrap()),
            ("key", key.private_key_to_pem_pkcs8().unwrap()),
        ];
        pem.map(|(name, pem)| {
            let file = format!("listening-{}-{name}.pem", std::process::id());
            let path = std::env::temp_dir().join(file);
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_string()
        })
    }

    #[tokio::test]
    async fn connections_are_served_over_tls() {
        let [cert, key] = certificate();
        let mut service = Service::new("tls".into(), Lines::default());
        service.add_tls("127.0.0.1:0", &cert, &key).unwrap();
        for path in [cert, key] {
            std::fs::remove_file(path).unwrap();
        }
        let running = Running::start(service).await;

        let mut plain = running.connect().await;
        plain.write_all(b"a\nno handshake").await.unwrap();
        let mut alert = vec![];
        let _ = plain.read_to_end(&mut alert).await;
        assert_ne!(alert.get(..2), Some(&b"a\n"[..]));

        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_verify(SslVerifyMode::NONE);
        let ssl = Ssl::new(&context.build()).unwrap();
        let stream = running.connect().await;
        let stream = crate::protocols::l4::stream::Stream::from(stream);
        let mut client = crate::protocols::tls::SslStream::new(ssl, stream).unwrap();
        client.connect().await.unwrap();
        assert_eq!(&ask(&mut client, b"q\n").await, b"q\n");
        running.stop().await;
    }
}

/// Greets every client, and records what it receives.
#[derive(Default)]
struct Greets(Arc<Mutex<Vec<Vec<u8>>>>);

#[async_trait]
impl ServerApp for Greets {
    async fn process_new(
        self: &Arc<Self>,
        mut session: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        session.write_all(b"hello").await.ok()?;
        let mut told = Vec::new();
        session.read_to_end(&mut told).await.ok()?;
        self.0.lock().unwrap().push(told);
        None
    }
}

/// Held back or not, a connection is served in the end, whatever the client does first.
#[tokio::test]
async fn who_says_nothing_is_served_after_a_moment() {
    for defers in [false, true] {
        let app = Greets::default();
        let heard = app.0.clone();
        let mut service = Service::new("greets".into(), app);
        service.add_listener(ListenerConfig::tcp("127.0.0.1:0").defer_accept(defers));
        let bound = service.bound_addresses();
        let (_shutdown, watch) = watch::channel(false);
        let task = tokio::spawn(async move { service.start_service(None, watch, 1).await });
        let address = bound.wait().await.unwrap()[0];

        let mut greeting = [0; 5];
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut speaking = TcpStream::connect(address).await.unwrap();
        speaking.write_all(b"first").await.unwrap();
        speaking.shutdown().await.unwrap();
        speaking.read_exact(&mut greeting).await.unwrap();
        // Closed without sending anything: the end is readable, too.
        let mut closing = TcpStream::connect(address).await.unwrap();
        closing.shutdown().await.unwrap();
        closing.read_exact(&mut greeting).await.unwrap();
        let limit = Duration::from_secs(10);
        let greeted = tokio::time::timeout(limit, silent.read_exact(&mut greeting)).await;
        greeted.unwrap().unwrap();
        silent.write_all(b"late").await.unwrap();
        drop(silent);
        let all = || heard.lock().unwrap().len() == 3;
        tokio::time::timeout(limit, async {
            while !all() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        let mut heard = heard.lock().unwrap().clone();
        heard.sort();
        assert_eq!(heard, [&b""[..], b"first", b"late"]);
        task.abort();
    }
}
