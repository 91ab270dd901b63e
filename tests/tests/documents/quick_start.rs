//! The code of `docs/quick_start.md` that is not part of the project at its end.

use pingora::prelude::*;

fn main() {
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
