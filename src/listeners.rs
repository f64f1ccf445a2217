//! The sockets that are listened on: bound here, or handed over on standard input.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::io::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::options::Address;
use crate::sys;

/// How long a thread waits on a shared socket before it sees whether to stop. A connection
/// that ends the waiting is no way: the service may have no network of its own to make it in, and
/// another program on the same socket may get it.
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(500);

pub struct Listener {
    pub socket: TcpListener,
    pub address: SocketAddr,
    /// Others hold this socket too, and it goes on listening when this program ends.
    pub shared: bool,
}

/// What there is to serve.
pub enum Sockets {
    Listeners(Vec<Arc<Listener>>),
    /// One connection that somebody else has accepted, and its peer.
    Connection(TcpStream, SocketAddr),
}

impl Listener {
    fn new(socket: TcpListener, shared: bool) -> io::Result<Arc<Listener>> {
        // Without cookies, clients that are held back fill the kernel's queue and lock others out.
        let cookies = fs::read("/proc/sys/net/ipv4/tcp_syncookies");
        if cookies.map_or(false, |value| value != b"0\n") {
            sys::defer_accept(&socket);
        }
        let address = socket.local_addr()?;
        Ok(Arc::new(Listener {
            socket,
            address,
            shared,
        }))
    }

    /// Waits for a connection. On a shared socket the error is of kind `WouldBlock` from time to time;
    /// it is waited on by poll, for others may let accept wait for as long as they like.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let queue = (self.socket.as_raw_fd(), sys::POLLIN);
        if self.shared && sys::ready([queue], ACCEPT_TIMEOUT) == [false] {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.socket.accept()
    }
}

/// Listens on each of `addresses`. An error names the address and the reason.
pub fn bind(addresses: &[Address], backlog: u16) -> Result<Vec<Arc<Listener>>, String> {
    let mut listeners = Vec::new();
    for address in addresses {
        match *address {
            Address::At(address) => listeners.push(bind_one(address, backlog)?),
            Address::Everywhere(port) => listeners.extend(bind_everywhere(port, backlog)?),
        }
    }
    Ok(listeners)
}

/// One IPv6 socket that takes IPv4 too; one of each where the system keeps them apart; IPv4 alone
/// where there is no IPv6.
fn bind_everywhere(port: u16, backlog: u16) -> Result<Vec<Arc<Listener>>, String> {
    let mut listeners = Vec::new();
    let mut ip4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    match bind_one((Ipv6Addr::UNSPECIFIED, port).into(), backlog) {
        Ok(ip6) => {
            ip4.set_port(ip6.address.port());
            listeners.push(ip6);
        }
        Err(e) if TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() => return Err(e),
        Err(_) => {}
    }
    let apart = fs::read("/proc/sys/net/ipv6/bindv6only").map_or(false, |b| b == b"1\n");
    if listeners.is_empty() || apart {
        listeners.push(bind_one(ip4, backlog)?);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr, backlog: u16) -> Result<Arc<Listener>, String> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        sys::set_backlog(&socket, backlog)?;
        Listener::new(socket, false)
    });
    bound.map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
            ErrorKind::AddrInUse => "; something listens there already",
            _ => "",
        };
        format!("cannot listen on {address}: {e}{hint}")
    })
}

/// The socket on standard input, a listener or a connection, as inetd, systemd, s6 and tcpsvd hand
/// it over, and its own address.
pub fn from_stdin() -> Result<(Sockets, SocketAddr), String> {
    adopt_stdin().map_err(|e| format!("standard input is no TCP socket in use: {e}"))
}

fn adopt_stdin() -> io::Result<(Sockets, SocketAddr)> {
    let socket = TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let address = socket.local_addr()?;
    if sys::is_listening(socket.as_raw_fd()) {
        let listener = Listener::new(TcpListener::from(OwnedFd::from(socket)), true)?;
        Ok((Sockets::Listeners(vec![listener]), address))
    } else {
        let peer = socket.peer_addr()?;
        Ok((Sockets::Connection(socket, peer), address))
    }
}
