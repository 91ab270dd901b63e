//! The floor: a forwarder that moves bytes and understands none of them.
//!
//! Each client connection has an upstream connection of its own for as long as it lives. What a
//! proxy costs above this figure is what it does with a message; below it no proxy on the same
//! runtime can come. With `--splice` the bytes never enter user space.

#![allow(
    clippy::print_stderr,
    reason = "a command line program reports to its user"
)]

use clap::Parser;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Bytes asked for in one read.
const SCRATCH: usize = 256 * 1024;
/// Capacity of a pipe that bytes are spliced through.
const PIPE: i32 = 1024 * 1024;

#[derive(Parser)]
#[command(about = "Forwards TCP without looking at it")]
struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Move the bytes through a pipe, never through user space.
    #[arg(long)]
    splice: bool,
}

thread_local! {
    /// One buffer for all connections of a thread: it is borrowed inside one poll only.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut builder = match options.workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(options.workers.max(1))
        .enable_io()
        .build();
    match runtime.and_then(|runtime| runtime.block_on(serve(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("floor: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> io::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        // A connection that fails concerns only its client.
        tokio::spawn(async move {
            let _ = forward(client, options.upstream, options.splice).await;
        });
    }
}

async fn forward(mut client: TcpStream, upstream: SocketAddr, splice: bool) -> io::Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    if splice {
        let (mut up, mut down) = (Spliced::new()?, Spliced::new()?);
        return poll_fn(|cx| {
            let sent = up.poll(cx, &client, &mut upstream)?;
            let received = down.poll(cx, &upstream, &mut client)?;
            both(sent, received)
        })
        .await;
    }
    let (mut up, mut down) = (Copied::default(), Copied::default());
    poll_fn(|cx| {
        let sent = up.poll(cx, &mut client, &mut upstream)?;
        let received = down.poll(cx, &mut upstream, &mut client)?;
        both(sent, received)
    })
    .await
}

fn both(sent: Poll<()>, received: Poll<()>) -> Poll<io::Result<()>> {
    match (sent, received) {
        (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
        _ => Poll::Pending,
    }
}

/// One direction, by reading and writing.
#[derive(Default)]
struct Copied {
    /// The bytes that the other side did not take yet.
    leftover: Vec<u8>,
    end: bool,
    done: bool,
}

impl Copied {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> io::Result<Poll<()>> {
        match self.advance(cx, from, to) {
            Poll::Ready(result) => result.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        while !self.done {
            if !self.leftover.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.leftover))?;
                self.leftover.drain(..written);
            } else if self.end {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.done = true;
            } else {
                ready!(self.read_and_write(cx, from, to))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn read_and_write(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            self.end = read.is_empty();
            let written = match Pin::new(to).poll_write(cx, read)? {
                Poll::Ready(written) => written,
                Poll::Pending => 0,
            };
            self.leftover
                .extend_from_slice(read.get(written..).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }
}

/// One direction, through a pipe.
struct Spliced {
    pipe_out: OwnedFd,
    pipe_in: OwnedFd,
    in_pipe: usize,
    end: bool,
    done: bool,
}

impl Spliced {
    fn new() -> io::Result<Self> {
        let (pipe_out, pipe_in) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC)?;
        // Users without privilege may be over their quota of pipe pages: a small pipe works too.
        let _ = nix::fcntl::fcntl(&pipe_in, nix::fcntl::FcntlArg::F_SETPIPE_SZ(PIPE));
        Ok(Self {
            pipe_out,
            pipe_in,
            in_pipe: 0,
            end: false,
            done: false,
        })
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &mut TcpStream,
    ) -> io::Result<Poll<()>> {
        match self.advance(cx, from, to) {
            Poll::Ready(result) => result.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        while !self.done {
            if self.in_pipe > 0 {
                ready!(to.poll_write_ready(cx))?;
                let moved = to.try_io(Interest::WRITABLE, || {
                    splice(&self.pipe_out, &*to, self.in_pipe)
                });
                self.in_pipe -= without_block(moved)?.unwrap_or(0);
            } else if self.end {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.done = true;
            } else {
                ready!(from.poll_read_ready(cx))?;
                let moved = from.try_io(Interest::READABLE, || {
                    splice(from, &self.pipe_in, PIPE as usize)
                });
                if let Some(moved) = without_block(moved)? {
                    self.in_pipe = moved;
                    self.end = moved == 0;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn splice(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    len: usize,
) -> io::Result<usize> {
    let flags =
        nix::fcntl::SpliceFFlags::SPLICE_F_NONBLOCK | nix::fcntl::SpliceFFlags::SPLICE_F_MOVE;
    Ok(nix::fcntl::splice(from, None, to, None, len, flags)?)
}

/// `None` where the call would have blocked: the readiness was stale, poll again.
fn without_block(moved: io::Result<usize>) -> io::Result<Option<usize>> {
    match moved {
        Ok(moved) => Ok(Some(moved)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}
