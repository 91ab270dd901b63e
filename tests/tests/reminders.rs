//! Things that were created but do not run. In a separate process, because every server that becomes ready
//! warns about all of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::health_check::TcpHealthCheck;
use pingora::lb::selection::RoundRobin;
use pingora::lb::{Backend, Backends, LoadBalancer};
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora_tests::{keep_log, log_lines, logged};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Runs `server` until a line with this text is logged, and returns the line.
async fn warning_of(server: Server, text: &str) -> String {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(RunArgs::until(async {
        let _ = stopped.await;
    })));
    let line = logged(text).await;
    drop(stop);
    serving.await.unwrap().unwrap();
    line
}

fn server() -> Server {
    keep_log();
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    Server::new_with_opt_and_conf(None::<Opt>, conf)
}

/// Does nothing until the end.
struct Idle;

#[async_trait]
impl BackgroundService for Idle {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let _ = shutdown.wait_for(|begun| *begun).await;
    }
}

/// Must be queried.
struct Asked;

#[async_trait]
impl ServiceDiscovery for Asked {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((BTreeSet::new(), HashMap::new()))
    }
}

#[tokio::test]
async fn what_was_made_and_does_not_run_is_named() {
    let mut server = server();
    let forgotten = background_service("forgotten", Idle);
    let task = {
        let dropped = background_service("forgotten and dropped", Idle);
        dropped.task()
    };
    drop(background_service("given up", Idle));
    server.add_service(background_service("running", Idle));
    let mut checked = LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:1"]).unwrap();
    checked.set_health_check(TcpHealthCheck::new());
    let unasked = LoadBalancer::<RoundRobin>::from_backends(Backends::new(Box::new(Asked)));
    let mut well = LoadBalancer::<RoundRobin>::from_backends(Backends::new(Box::new(Asked)));
    well.set_health_check(TcpHealthCheck::new());
    let well = background_service("well", well);
    let (held, unasked) = (Arc::new(checked), Arc::new(unasked));
    server.add_service(well);

    let line = warning_of(server, "\"forgotten\" was made but not added").await;
    assert!(line.starts_with("WARN"), "{line}");
    logged("\"forgotten and dropped\"").await;
    for text in ["\"running\" was", "\"well\" was", "\"given up\" was"] {
        assert!(log_lines(text).is_empty(), "{text}");
    }
    assert_eq!(
        log_lines("a health check was set but does not run").len(),
        1
    );
    assert_eq!(log_lines("its discovery was not asked").len(), 1);
    drop((forgotten, task, held, unasked));
}
