//! Options as the kernel reports them, and connecting with them.

use super::*;
use crate::protocols::l4::ConnectErrorExt;
use std::net::TcpListener;

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

#[tokio::test]
async fn options_are_what_they_were_set_to() {
    let (listener, addr) = listen();
    let stream = connect(&addr, None).await.unwrap();
    let fd = stream.as_raw_fd();
    set_recv_buf(fd, 32 * 1024).unwrap();
    set_snd_buf(fd, 32 * 1024).unwrap();
    assert!(get_recv_buf(fd).unwrap() >= 32 * 1024);
    assert!(get_snd_buf(fd).unwrap() >= 32 * 1024);
    set_dscp(fd, 10).unwrap();
    assert_eq!(
        sys::get_int(fd, libc::IPPROTO_IP, libc::IP_TOS).unwrap(),
        40
    );
    assert_eq!(set_dscp(fd, 64).unwrap_err().etype, ErrorType::SocketError);
    let keepalive = TcpKeepalive {
        idle: Duration::from_millis(1500),
        interval: Duration::from_millis(10),
        count: 3,
        user_timeout: Duration::from_secs(9),
    };
    set_tcp_keepalive(&stream, &keepalive).unwrap();
    let option = |name| sys::get_int(fd, libc::IPPROTO_TCP, name).unwrap();
    assert_eq!(option(libc::TCP_KEEPIDLE), 1);
    assert_eq!(option(libc::TCP_KEEPINTVL), 1, "the kernel takes no zero");
    assert_eq!(option(libc::TCP_KEEPCNT), 3);
    assert_eq!(option(libc::TCP_USER_TIMEOUT), 9000);
    set_tcp_fastopen_backlog(listener.as_raw_fd(), 16).unwrap();
    assert_eq!(get_original_dest(fd).unwrap(), None);
    assert!(get_tcp_info(fd).is_ok() && get_socket_cookie(fd).is_ok());
    assert!(get_tcp_info(-1).is_err());
    assert_eq!(
        set_recv_buf(-1, 1).unwrap_err().etype,
        ErrorType::SocketError
    );
}

#[tokio::test]
async fn a_connection_leaves_from_where_it_is_bound_to() {
    let (_listener, addr) = listen();
    let bind_to = BindTo::from("127.0.0.9:0".parse::<std::net::SocketAddr>().unwrap());
    let stream = connect(&addr, Some(&bind_to)).await.unwrap();
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.9");
}

#[tokio::test]
async fn a_local_address_that_is_not_ours_is_an_error() {
    let (_listener, addr) = listen();
    let bind_to = BindTo::from("192.0.2.1:0".parse::<std::net::SocketAddr>().unwrap());
    let e = connect(&addr, Some(&bind_to)).await.unwrap_err();
    assert_eq!(e.etype, ErrorType::BindError);
    assert_eq!(e.connect_local_addr(), bind_to.addr);
    assert!(e.to_string().contains("192.0.2.1"), "{e}");
}

#[tokio::test]
async fn ports_come_from_the_range_until_it_is_used_up() {
    let (_listener, addr) = listen();
    // The port is taken: the range contains no free one.
    let (taken, taken_addr) = listen();
    let port = taken_addr.port();
    let mut bind_to = BindTo::from("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap());
    bind_to.set_port_range(Some((port, port))).unwrap();
    let e = connect(&addr, Some(&bind_to)).await.unwrap_err();
    assert!(range_is_unusable(&e), "{e}");
    bind_to.set_fallback(true);
    let stream = connect(&addr, Some(&bind_to)).await.unwrap();
    assert_ne!(stream.local_addr().unwrap().port(), port);
    drop(taken);
}

#[tokio::test]
async fn a_refusal_says_so() {
    let (listener, addr) = listen();
    drop(listener);
    let e = connect(&addr, None).await.unwrap_err();
    assert_eq!(e.etype, ErrorType::ConnectRefused);
    assert!(e.to_string().contains(&addr.to_string()), "{e}");
    let e = e.more_context("around it");
    assert_eq!(e.connect_local_addr(), None);
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_is_no_route() {
    let e = connect_uds(Path::new("/nonexistent/socket"))
        .await
        .unwrap_err();
    assert_eq!(e.etype, ErrorType::ConnectNoRoute);
}
