//! Listening sockets, as Java opens them, and a client's socket in two halves.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustix::net::{SendFlags, sockopt};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{SocketReader, SocketWriter};
use crate::metrics;

/// Opens a listening socket; `prepare` sets options that accepted ones inherit. Port 0 lets the
/// system choose. An unspecified address of either family is every address of both, where the
/// system has IPv6.
///
/// zk: java.net.ServerSocket, ServerSocketChannel: one socket of IPv6 without IPV6_V6ONLY, to which
/// 0.0.0.0 is `::`; without IPv6 one of IPv4.
///
/// # Errors
/// The address is in use, not ours, or not allowed.
pub fn listen(
    addr: SocketAddr,
    backlog: u32,
    prepare: impl Fn(&TcpSocket) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let listen_on = |addr| listen_on(addr, backlog, &prepare);
    if !addr.ip().is_unspecified() {
        return listen_on(addr);
    }
    let all = |ip: IpAddr| SocketAddr::new(ip, addr.port());
    match listen_on(all(Ipv6Addr::UNSPECIFIED.into())) {
        Err(error) if has_no_ipv6(&error) => listen_on(all(Ipv4Addr::UNSPECIFIED.into())),
        listening => listening,
    }
}

/// Anything but what would be wrong with IPv4 as well: kernels and sandboxes without IPv6 have
/// several ways to say so.
fn has_no_ipv6(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::AddrInUse | ErrorKind::PermissionDenied
    )
}

fn listen_on(
    addr: SocketAddr,
    backlog: u32,
    prepare: impl Fn(&TcpSocket) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        // Whatever net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    prepare(&socket)?;
    socket.bind(addr)?;
    socket.listen(backlog)
}

/// What a connection's task holds, and what its outbox sends by.
pub fn halves(stream: TcpStream) -> (Box<dyn SocketReader>, Box<dyn SocketWriter>) {
    let (reader, writer) = stream.into_split();
    (Box::new(TcpReader(reader)), Box::new(TcpWriter(writer)))
}

struct TcpReader(OwnedReadHalf);

struct TcpWriter(OwnedWriteHalf);

impl SocketReader for TcpReader {
    /// By a read of tokio and not by `try_read`: one that takes all that has come tells the runtime
    /// so, and the next needs no system call that finds nothing.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        pin!(self.0.read_buf(into)).poll(cx)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_ref().poll_write_ready(cx)
    }

    fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self.0.as_ref()).unwrap_or(0)
    }
}

impl SocketWriter for TcpWriter {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.try_write(bytes)?;
        metrics::sent(sent);
        Ok(sent)
    }

    /// Past tokio, which asks the system only after that has said that the socket is writable.
    fn insist(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::net::send(self.0.as_ref(), bytes, flags)?;
        metrics::sent(sent);
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn reaches(ip: &str, listener: &TcpListener) -> bool {
        let port = listener.local_addr().expect("an address").port();
        let ip: IpAddr = ip.parse().expect("an address");
        let Ok(_connected) = TcpStream::connect((ip, port)).await else {
            return false;
        };
        let (_accepted, peer) = listener.accept().await.expect("accepts");
        peer.ip().to_canonical() == ip
    }

    fn open(addr: &str) -> io::Result<TcpListener> {
        listen(addr.parse().expect("an address"), 8, |_| Ok(()))
    }

    /// A connection's socket, and its client's.
    async fn connected() -> (TcpReader, TcpWriter, TcpStream) {
        let listener = open("127.0.0.1:0").expect("listens");
        let addr = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
        let (reader, writer) = accepted.expect("accepts").0.into_split();
        let client = client.expect("connects");
        (TcpReader(reader), TcpWriter(writer), client)
    }

    #[tokio::test]
    async fn what_has_come_is_counted_before_it_is_received() {
        let (reader, _writer, mut client) = connected().await;
        assert_eq!(reader.unread(), 0);
        for sent in 1..=3 {
            client.write_all(&[7; 100]).await.expect("sends");
            while reader.unread() < 100 * sent {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(reader.unread(), 300);
    }

    /// The runtime, which has not been asked meanwhile, still takes it for full.
    #[tokio::test]
    async fn a_socket_takes_some_before_it_is_called_writable() {
        let (_reader, writer, client) = connected().await;
        let bytes = [7; 64 * 1024];
        while writer.try_send(&bytes).is_ok() {}
        let full = writer.insist(&bytes).expect_err("is full");
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        let mut taken = vec![0; 1 << 20];
        while writer.insist(&bytes).is_err() {
            let refused = writer.try_send(&bytes).expect_err("not asked");
            assert_eq!(refused.kind(), ErrorKind::WouldBlock);
            // Whatever has come by now.
            drop(client.try_read(&mut taken));
        }
    }

    #[tokio::test]
    async fn every_address_is_every_one_of_both_families() {
        for addr in ["0.0.0.0:0", "[::]:0"] {
            let listener = open(addr).expect("listens");
            assert!(reaches("127.0.0.1", &listener).await, "{addr}");
            if listener.local_addr().expect("an address").is_ipv6() {
                assert!(reaches("::1", &listener).await, "{addr}");
            }
        }
    }

    #[tokio::test]
    async fn one_address_is_no_other() {
        let listener = open("127.0.0.1:0").expect("listens");
        assert!(reaches("127.0.0.1", &listener).await && !reaches("::1", &listener).await);
        // Where there is no IPv6 there is nothing to see.
        if let Ok(listener) = open("[::1]:0") {
            assert!(reaches("::1", &listener).await && !reaches("127.0.0.1", &listener).await);
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_refused_by_both_families() {
        let listener = open("0.0.0.0:0").expect("listens");
        let port = listener.local_addr().expect("an address").port();
        for ip in ["0.0.0.0", "127.0.0.1", "[::]", "[::1]"] {
            let error = open(&format!("{ip}:{port}")).expect_err("in use");
            // Where there is no IPv6, its addresses are not there.
            assert!(
                matches!(error.kind(), ErrorKind::AddrInUse) || ip == "[::1]",
                "{error}"
            );
        }
    }
}
