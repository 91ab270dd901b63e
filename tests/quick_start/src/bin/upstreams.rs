//! The program of docs/load_balancing.md.

use async_trait::async_trait;
use pingora::lb::circuit::Breaker;
use pingora::lb::selection::PeakEwma;
use pingora::lb::{Tries, Upstreams};
use pingora::prelude::*;

struct LB(Upstreams<PeakEwma>);

#[async_trait]
impl ProxyHttp for LB {
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        self.0.peer(session, b"", tries)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        tries: &mut Tries,
        error: Box<Error>,
    ) -> Box<Error> {
        self.0.fail_to_connect(tries, error)
    }
}

fn main() {
    let mut my_server = Server::new(None).unwrap();
    my_server.bootstrap();

    let upstreams =
        LoadBalancer::try_from_iter(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]).unwrap();
    upstreams.backends().set_breaker(Breaker::new());
    let upstreams = Upstreams::new(upstreams).most_tries(3);

    let mut lb = http_proxy_service(&my_server.configuration, LB(upstreams));
    lb.add_tcp("0.0.0.0:6188");
    my_server.add_service(lb);
    my_server.run_forever();
}
