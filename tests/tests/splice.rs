//! Large bodies between plain sockets: their cost to the process. Alone in its binary, because it
//! counts the process's descriptors.

use pingora_tests::{FixedUpstream, Origin, eventually, proxy};

const LENGTH: usize = 8_000_000;
/// Descriptors of the pipes that workers keep, and of idle connections.
const KEPT: usize = 60;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[tokio::test]
async fn neither_whole_nor_interrupted_bodies_leak_descriptors() {
    let origin = Origin::well_behaved().await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    let before = descriptors();
    let request = format!("GET /length/{LENGTH} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut stay = proxy.connect().await;
    for _ in 0..40 {
        // Disconnects in the middle, while its pipe is not empty.
        let mut leave = proxy.connect().await;
        leave.send(&request).await;
        leave.bytes(100_000).await;
    }
    for _ in 0..5 {
        let answer = stay.ask(&request).await;
        assert_eq!(answer.body.len(), LENGTH);
    }
    let few = || descriptors() <= before + KEPT;
    eventually("connections and pipes are closed", few).await;
}
