//! `pingora-ketama`.

use pingora_ketama::{Bucket, Continuum, NodeIterator, Version};
use std::net::SocketAddr;

#[test]
fn the_items_of_ketama() {
    let buckets: Vec<Bucket> = (1..4)
        .map(|host| Bucket::new(SocketAddr::from(([192, 0, 2, host], 80)), 1))
        .collect();
    let continuum = Continuum::new(&buckets);
    let node: Option<SocketAddr> = continuum.node(b"key");
    let mut index: usize = continuum.node_idx(b"key");
    let mut nodes: NodeIterator<'_> = continuum.node_iter(b"key");
    let first: Option<&SocketAddr> = nodes.next();
    assert_eq!(first.copied(), node);
    assert_eq!(continuum.get_addr(&mut index).copied(), node);
    assert_eq!(continuum.get_addr(&mut index), nodes.next());

    let finer = Version::V2 {
        point_multiple: 500,
    };
    let finer = Continuum::new_with_version(&buckets, finer);
    assert_eq!(finer.node_iter(b"key").count(), 1500);
    assert_eq!(
        Continuum::new_with_version(&buckets, Version::V1).node(b"key"),
        node
    );
}
