//! Reloading, and other signals that do not end the server.

use super::tests::{in_thread, told};
use super::*;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// A configuration file for one test; removed at the end.
struct File(std::path::PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reload-{}-{n}.yaml", std::process::id());
        let file = File(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn opt(&self) -> Opt {
        Opt {
            conf: Some(self.0.display().to_string()),
            ..Opt::default()
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let limited = async { tokio::time::timeout(Duration::from_secs(10), future).await };
    runtime.unwrap().block_on(limited).expect("in time")
}

#[test]
fn a_reload_reads_the_file_and_runs_the_hooks() {
    let file = File::new("max_retries: 1\nmine: {limit: 3}\n");
    let seen = Arc::<StdMutex<Vec<usize>>>::default();
    let defaults = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 77,
        ..ServerConf::default()
    };
    let mut server = Server::with_defaults(file.opt(), defaults).unwrap();
    assert_eq!(server.configuration.max_retries, 1);
    let noted = seen.clone();
    server.on_reload("retries", move |reload| {
        let noted = noted.clone();
        async move {
            let text = std::fs::read_to_string(reload.file.unwrap()).unwrap();
            assert!(
                text.contains("mine"),
                "the program's own settings are there too"
            );
            let configuration = reload.configuration;
            assert_eq!(configuration.upstream_keepalive_pool_size, 77);
            noted.lock().unwrap().push(configuration.max_retries);
            Ok(())
        }
    });
    let handle = server.reload_handle();
    let (tell, args) = told();
    let running = in_thread(server, args);
    file.write("max_retries: 2\nmine: 1\n");
    block_on(handle.reload()).unwrap();

    file.write("max_retries: several\nmine: 1\n");
    let error = block_on(handle.reload()).unwrap_err().to_string();
    assert!(
        error.contains("max_retries: ") && error.contains("line 1"),
        "{error}"
    );
    file.write("threads: 0\n");
    let error = block_on(handle.reload()).unwrap_err().to_string();
    assert!(error.contains("threads: must be at least 1"), "{error}");
    assert_eq!(*seen.lock().unwrap(), [2], "no hook ran");

    file.write("max_retries: 3\nmine: 1\n");
    block_on(handle.reload()).unwrap();
    assert_eq!(*seen.lock().unwrap(), [2, 3]);
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();
    assert!(block_on(handle.reload()).is_err(), "nobody is there");
}

#[test]
fn a_hook_that_fails_is_named_and_the_server_runs_on() {
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    let committed = Arc::<AtomicUsize>::default();
    let count = committed.clone();
    server.add_reload_hook(ReloadHook::in_two_steps("careful", move |_| {
        let count = count.clone();
        async move {
            Ok(move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
        }
    }));
    let good = Arc::<std::sync::atomic::AtomicBool>::default();
    let is_good = good.clone();
    server.on_reload("blocklist", move |_| {
        let good = is_good.load(Ordering::Relaxed);
        async move {
            if good {
                Ok(())
            } else {
                Error::e_explain(ErrorType::FileReadError, "line 3 makes no sense")
            }
        }
    });
    let handle = server.reload_handle();
    let (tell, args) = told();
    let running = in_thread(server, args);
    let error = block_on(handle.reload()).unwrap_err().to_string();
    assert!(
        error.contains("blocklist: line 3 makes no sense"),
        "{error}"
    );
    assert_eq!(committed.load(Ordering::Relaxed), 0, "nothing has changed");
    good.store(true, Ordering::Relaxed);
    block_on(handle.reload()).unwrap();
    assert_eq!(committed.load(Ordering::Relaxed), 1);
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();
}

#[test]
fn signals_are_handed_to_the_user() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let mut server = Server::new(None).unwrap();
    server.on_signal(SignalKind::window_change(), move || {
        sender.send(()).unwrap();
        async {}
    });
    let handle = server.reload_handle();
    let (tell, args) = told();
    let running = in_thread(server, args);
    // Answered only once the server handles signals.
    block_on(handle.reload()).unwrap();
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGWINCH).unwrap();
    block_on(received.recv()).unwrap();
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();

    let mut server = Server::new(None).unwrap();
    server.on_signal(SignalKind::from_raw(9), || async {});
    let error = server.try_run(told().1).unwrap_err().to_string();
    assert!(error.contains("can't listen for the signal 9"), "{error}");
}

#[tokio::test]
async fn a_future_of_the_programs_own_stops_the_server() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = Server::new(None).unwrap();
    let serving = tokio::spawn(server.serve(RunArgs::until(async move {
        let _ = stopped.await;
    })));
    tokio::task::yield_now().await;
    assert!(!serving.is_finished());
    drop(stop);
    serving.await.unwrap().unwrap();
}
