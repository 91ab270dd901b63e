//! The code of `docs/quick_start.md` that is not part of the project at its end.

use env_logger::Env;
use pingora::prelude::*;

fn main() {
    env_logger::init_from_env(Env::default().default_filter_or("info"));
    let mut my_server = Server::new(None).unwrap();
    my_server.bootstrap();
    my_server.run_forever();
}

fn dependencies(
    my_server: &mut Server,
    background: impl pingora::services::ServiceWithDependents + 'static,
    lb: impl pingora::services::ServiceWithDependents + 'static,
) {
    let checked = my_server.add_service(background);
    let lb = my_server.add_service(lb);
    lb.add_dependency(checked);
}

mod health_checks {
    use env_logger::Env;
    use pingora::prelude::*;
    use std::sync::Arc;

    struct LB(Arc<LoadBalancer<RoundRobin>>);

    #[async_trait::async_trait]
    impl ProxyHttp for LB {
        type CTX = ();
        fn new_ctx(&self) {}

        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            let upstream = self.0.select(b"", 256).unwrap();
            Ok(Box::new(HttpPeer::new(upstream, false, String::new())))
        }
    }

    fn main() {
        env_logger::init_from_env(Env::default().default_filter_or("info"));
        let mut my_server = Server::new(None).unwrap();
        my_server.bootstrap();

        let mut upstreams =
            LoadBalancer::try_from_iter(["1.1.1.1:443", "1.0.0.1:443", "127.0.0.1:343"]).unwrap();

        let hc = TcpHealthCheck::new();
        upstreams.set_health_check(hc);
        upstreams.health_check_frequency = Some(std::time::Duration::from_secs(1));

        let background = background_service("health check", upstreams);
        let upstreams = background.task();

        let mut lb = http_proxy_service(&my_server.configuration, LB(upstreams));
        lb.add_tcp("0.0.0.0:6188");

        my_server.add_service(background);

        my_server.add_service(lb);
        my_server.run_forever();
    }
}
