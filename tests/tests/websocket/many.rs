//! Ten thousand messages through a hundred tunnels: none is lost, doubled or out of order.

use super::{Echo, Opened, PAIRS, Socket, hear, open, open_http2};
use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use pingora_tests::http2::Http2Client;
use pingora_tests::{PATIENCE, Version};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_tungstenite::tungstenite::Message;

const TUNNELS: usize = 100;
const MESSAGES: usize = 100;
/// Streams of one connection.
const SHARING: usize = 25;

/// Message `number` of a tunnel; the lengths pass the limits at which frames change their form.
fn message(tunnel: usize, number: usize) -> Message {
    let length = [1, 125, 126, 1000, 20][number % 5];
    let mut text = format!("{tunnel}/{number} ");
    text.extend(std::iter::repeat_n('.', length));
    Message::text(text)
}

/// A hundred tunnels, and the connections that carry them.
async fn tunnels(version: Version, proxy: SocketAddr) -> (Vec<Socket>, Vec<Http2Client>) {
    let (mut sockets, mut clients) = (Vec::new(), Vec::new());
    while sockets.len() < TUNNELS {
        let opened: Result<Opened, u16> = match version {
            Version::H1 => open(version, proxy, "/chat").await,
            Version::H2 => {
                if sockets.len().is_multiple_of(SHARING) {
                    clients.push(Http2Client::to(proxy).await);
                }
                open_http2(clients.last().unwrap(), "/chat").await
            }
        };
        sockets.push(
            opened
                .unwrap_or_else(|status| panic!("refused with {status}"))
                .socket,
        );
    }
    (sockets, clients)
}

/// Sends all at once, and meanwhile hears what comes back; `all` counts what all tunnels have heard.
async fn converse(tunnel: usize, socket: Socket, all: &AtomicUsize) -> Socket {
    let (mut says, mut hears) = socket.split();
    let saying = async {
        for number in 0..MESSAGES {
            says.feed(message(tunnel, number)).await.unwrap();
        }
        says.flush().await.unwrap();
    };
    let hearing = async {
        for number in 0..MESSAGES {
            let heard = hears.next().await.expect("the tunnel lives").unwrap();
            assert_eq!(heard, message(tunnel, number));
            all.fetch_add(1, Ordering::SeqCst);
        }
    };
    tokio::join!(saying, hearing);
    says.reunite(hears).unwrap()
}

/// How many looks in a row find nothing new before it is believed that nothing comes: a minute in all, because a
/// process may get next to nothing of a busy machine.
const LOOKS: usize = 6;

/// Returns once no tunnel hears anything any more: how long one of them waits for its turn depends on the
/// machine.
async fn stands_still(all: &AtomicUsize) -> usize {
    let (mut before, mut looks) = (0, 0);
    while looks < LOOKS {
        tokio::time::sleep(PATIENCE).await;
        let heard = all.load(Ordering::SeqCst);
        looks = if heard == before { looks + 1 } else { 0 };
        before = heard;
    }
    before
}

async fn none_is_lost(down: Version, up: Version) {
    let (echo, proxy) = Echo::behind_a_proxy(up).await;
    let (sockets, clients) = tunnels(down, proxy.address()).await;
    let all = AtomicUsize::new(0);
    let conversations = sockets
        .into_iter()
        .enumerate()
        .map(|(tunnel, socket)| converse(tunnel, socket, &all));
    let sockets = tokio::select! {
        sockets = join_all(conversations) => sockets,
        heard = stands_still(&all) => panic!("{down:?} to {up:?}: nothing comes after {heard}"),
    };
    assert_eq!(all.into_inner(), TUNNELS * MESSAGES);
    for mut socket in sockets {
        socket.close(None).await.unwrap();
        // Nothing comes twice.
        let end = hear(&mut socket).await.unwrap().unwrap();
        assert_eq!(end, Message::Close(None), "{down:?} to {up:?}");
    }
    echo.is_left().await;
    drop(clients);
}

#[tokio::test]
async fn of_ten_thousand_messages_none_is_lost() {
    for (down, up) in PAIRS {
        none_is_lost(down, up).await;
    }
}
