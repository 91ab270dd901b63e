//! A name server whose answers are written by hand, over UDP and TCP.
#![allow(dead_code, unreachable_pub, reason = "every test takes what it needs")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;

/// The longest answer that is sent over UDP.
const LONGEST_DATAGRAM: usize = 1_232;
const NO_SUCH_NAME: u8 = 3;

#[derive(Clone)]
enum Answer {
    Records(Vec<(u16, u32, Vec<u8>)>),
    Fails(u8),
    Silence,
}

#[derive(Default)]
struct Zone {
    answers: HashMap<(String, u16), Answer>,
    questions: HashMap<(String, u16), usize>,
    by_tcp: usize,
}

pub struct NameServer {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: [JoinHandle<()>; 2],
}

impl NameServer {
    pub async fn start() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            // Another program may have this port.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let tasks = [
            tokio::spawn(serve_udp(udp, zone.clone())),
            tokio::spawn(serve_tcp(tcp, zone.clone())),
        ];
        NameServer {
            address,
            zone,
            tasks,
        }
    }

    fn set(&self, name: &str, kind: u16, answer: Answer) {
        let mut zone = self.zone.lock().unwrap();
        zone.answers.insert((name.into(), kind), answer);
    }

    /// These addresses, and no others.
    pub fn has(&self, name: &str, ttl: u32, ips: &[IpAddr]) {
        let of = |wanted: u16| {
            let records = ips.iter().map(|ip| match ip {
                IpAddr::V4(ip) => (A, ttl, ip.octets().to_vec()),
                IpAddr::V6(ip) => (AAAA, ttl, ip.octets().to_vec()),
            });
            Answer::Records(records.filter(|(kind, ..)| *kind == wanted).collect())
        };
        self.set(name, A, of(A));
        self.set(name, AAAA, of(AAAA));
    }

    pub fn alias(&self, name: &str, ttl: u32, target: &str) {
        for kind in [A, AAAA] {
            let record = (CNAME, ttl, wire_name(target));
            self.set(name, kind, Answer::Records(vec![record]));
        }
    }

    /// Priority, weight, port, target.
    pub fn services(&self, name: &str, ttl: u32, all: &[(u16, u16, u16, &str)]) {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let numbers = [priority, weight, port];
            let mut data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
            data.extend(wire_name(target));
            (SRV, ttl, data)
        };
        self.set(name, SRV, Answer::Records(all.iter().map(record).collect()));
    }

    pub fn fails_for(&self, name: &str, kind: u16, code: u8) {
        self.set(name, kind, Answer::Fails(code));
    }

    pub fn fails(&self, name: &str, code: u8) {
        for kind in [A, AAAA, SRV] {
            self.fails_for(name, kind, code);
        }
    }

    pub fn is_silent_about(&self, name: &str) {
        for kind in [A, AAAA, SRV] {
            self.set(name, kind, Answer::Silence);
        }
    }

    pub fn questions(&self, name: &str, kind: u16) -> usize {
        let zone = self.zone.lock().unwrap();
        zone.questions
            .get(&(name.into(), kind))
            .copied()
            .unwrap_or(0)
    }

    pub fn questions_by_tcp(&self) -> usize {
        self.zone.lock().unwrap().by_tcp
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4_096];
    while let Ok((count, client)) = socket.recv_from(&mut buffer).await {
        let Some(mut answer) = zone.lock().unwrap().answer(&buffer[..count]) else {
            continue;
        };
        if answer.len() > LONGEST_DATAGRAM {
            // Truncated: only the head and the question.
            let end = question(&buffer[..count]).2;
            answer.truncate(end);
            answer[2] |= 0x02;
            answer[6..12].fill(0);
        }
        let _ = socket.send_to(&answer, client).await;
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Ends with its client.
        tokio::spawn(serve_stream(stream, zone.clone()));
    }
}

async fn serve_stream(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) -> std::io::Result<()> {
    loop {
        let mut asked = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut asked).await?;
        let answer = {
            let mut zone = zone.lock().unwrap();
            zone.by_tcp += 1;
            zone.answer(&asked)
        };
        if let Some(answer) = answer {
            stream.write_u16(answer.len().try_into().unwrap()).await?;
            stream.write_all(&answer).await?;
        }
    }
}

impl Zone {
    /// `None`: silence.
    fn answer(&mut self, asked: &[u8]) -> Option<Vec<u8>> {
        let (name, kind, end) = question(asked);
        *self.questions.entry((name.clone(), kind)).or_default() += 1;
        let (code, records) = match self.answers.get(&(name, kind)) {
            None => (NO_SUCH_NAME, vec![]),
            Some(Answer::Silence) => return None,
            Some(Answer::Fails(code)) => (*code, vec![]),
            Some(Answer::Records(records)) => (0, records.clone()),
        };
        let mut answer = asked[..end].to_vec();
        answer[2] |= 0x80;
        answer[3] = 0x80 | code;
        answer[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        answer[8..12].fill(0);
        for (kind, ttl, data) in records {
            // The name of the question, in the class IN.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(ttl.to_be_bytes());
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}

/// The name, the kind, and where the question ends.
fn question(message: &[u8]) -> (String, u16, usize) {
    let (mut name, mut at) = (String::new(), 12);
    while message[at] > 0 {
        let end = at + 1 + usize::from(message[at]);
        name += &String::from_utf8_lossy(&message[at + 1..end]).to_lowercase();
        name.push('.');
        at = end;
    }
    let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    (name, kind, at + 5)
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> = labels
        .flat_map(|label| {
            let length = u8::try_from(label.len()).unwrap();
            std::iter::once(length).chain(label.bytes())
        })
        .collect();
    wire.push(0);
    wire
}
