//! The code of `docs/operation.md`.

use pingora::server::{Health, Server};

fn health_endpoints(server: &mut Server, database_works: fn() -> bool) {
    let health = Health::of(server)
        .dependency("database", database_works)
        .shared();
    server.add_service(health.service("127.0.0.1:8081"));
}
