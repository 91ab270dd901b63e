//! The origin that the generator is for itself.
//!
//! In a process of its own the origin would compete with the generator for the core that both
//! are pinned to, and the scheduler's time slices would be the latencies measured.

use crate::response::Head;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\n\
Content-Length: 48\r\nConnection: keep-alive\r\n\r\n\
The quick brown fox jumps over the lazy dog. 42\n";

/// Tokens from here on are the origin's.
pub(super) const TOKENS: u64 = 1 << 32;

pub(super) struct Origin {
    listener: TcpListener,
    connections: HashMap<u64, Exchange>,
    next: u64,
}

struct Exchange {
    stream: TcpStream,
    /// A request of which the end has not arrived yet.
    begun: Vec<u8>,
}

impl Origin {
    pub(super) fn new(address: SocketAddr, epoll: &Epoll) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, TOKENS))?;
        Ok(Self {
            listener,
            connections: HashMap::new(),
            next: TOKENS + 1,
        })
    }

    /// Handles the event of one of the origin's tokens.
    pub(super) fn handle(&mut self, token: u64, epoll: &Epoll) -> io::Result<()> {
        if token == TOKENS {
            return self.accept(epoll);
        }
        let Some(exchange) = self.connections.get_mut(&token) else {
            return Ok(());
        };
        if exchange.answer().is_err() {
            // Closing takes it out of epoll's set as well.
            self.connections.remove(&token);
        }
        Ok(())
    }

    fn accept(&mut self, epoll: &Epoll) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, self.next))?;
            self.connections.insert(
                self.next,
                Exchange {
                    stream,
                    begun: Vec::new(),
                },
            );
            self.next += 1;
        }
    }
}

impl Exchange {
    /// Reads once and answers every request that is complete. Answers are far smaller than a
    /// socket's buffer; a partial write is an error.
    fn answer(&mut self) -> io::Result<()> {
        let mut part = [0; 4096];
        let read = match self.stream.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        self.begun
            .extend_from_slice(part.get(..read).unwrap_or_default());
        while let Some(head) = Head::parse(&self.begun) {
            self.begun.drain(..head.len);
            if self.stream.write(ANSWER)? != ANSWER.len() {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}
