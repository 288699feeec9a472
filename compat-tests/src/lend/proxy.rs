//! A way to a server that can be cut: for the client the network is gone, the server lives on.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

/// Forwards each connection to one server.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    open: bool,
    /// Both ends of each connection since the last cut.
    ends: Vec<TcpStream>,
}

impl Proxy {
    /// Opens a way to the server at `target`.
    ///
    /// # Errors
    /// No port can be had.
    pub(super) fn open(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("open a proxy")?;
        let address = listener.local_addr().context("open a proxy")?;
        let state = Arc::new(Mutex::new(State {
            open: true,
            ends: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that cannot be forwarded is closed, as by a server that is down.
                drop(forward(client, target, &shared));
            }
        });
        Ok(Self { address, state })
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets connections in, or closes those that are there and turns new ones away.
    pub(super) fn set_open(&self, open: bool) {
        let mut state = lock(&self.state);
        state.open = open;
        if !open {
            for end in state.ends.drain(..) {
                drop(end.shutdown(Shutdown::Both)); // it may be closed already
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The listener's thread stays until the program ends, but lets nobody in.
        self.set_open(false);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forward(client: TcpStream, target: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut state = lock(state);
    if !state.open {
        return Ok(());
    }
    state.ends.push(client.try_clone()?);
    state.ends.push(server.try_clone()?);
    let (client_in, server_in) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pump(client_in, server));
    thread::spawn(move || pump(server_in, client));
    Ok(())
}

/// Copies until either end is closed, then closes both.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    drop(io::copy(&mut from, &mut to)); // however it ends, it has ended
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// A server that says back what it hears.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        address
    }

    fn is_answered(stream: &mut TcpStream) -> bool {
        let mut answer = [0];
        stream.write_all(b"x").is_ok() && stream.read(&mut answer).is_ok_and(|bytes| bytes == 1)
    }

    #[test]
    fn a_cut_ends_connections_and_turns_new_ones_away_until_it_is_mended() {
        let proxy = Proxy::open(echo()).expect("a proxy");
        let mut before = TcpStream::connect(proxy.address()).expect("connect");
        assert!(is_answered(&mut before));
        proxy.set_open(false);
        assert!(!is_answered(&mut before));
        let mut during = TcpStream::connect(proxy.address()).expect("connect");
        assert!(!is_answered(&mut during));
        proxy.set_open(true);
        let mut after = TcpStream::connect(proxy.address()).expect("connect");
        assert!(is_answered(&mut after));
    }
}
