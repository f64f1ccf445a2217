//! The sockets that are listened on: bound here, or handed over on standard input.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::io::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::options::Address;
use crate::sys;

/// How long a thread waits on a shared socket before it sees whether to stop. A connection
/// that ends the waiting is no way: the service may have no network of its own to make it in, and
/// another program on the same socket may get it.
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(500);

const ANY_IP4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_IP6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

type Listeners = Vec<Arc<Listener>>;

pub struct Listener {
    pub socket: TcpListener,
    pub address: SocketAddr,
    /// Others hold this socket too, and it goes on listening when this program ends.
    pub shared: bool,
}

/// What there is to serve.
pub enum Sockets {
    Listeners(Listeners),
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
pub fn bind(addresses: &[Address], backlog: u16) -> Result<Listeners, String> {
    let mut listeners = Listeners::new();
    let asked = |ip, port| addresses.contains(&Address::At(SocketAddr::new(ip, port)));
    for address in addresses {
        match *address {
            Address::Everywhere(port) => bind_everywhere(port, backlog, &mut listeners)?,
            // `0.0.0.0` and `[::]` with the same port are everywhere too.
            Address::At(at) if at.ip() == ANY_IP6 && asked(ANY_IP4, at.port()) => {
                bind_everywhere(at.port(), backlog, &mut listeners)?;
            }
            Address::At(at) if at.ip() == ANY_IP4 && asked(ANY_IP6, at.port()) => {}
            Address::At(at) => bind_one(at, backlog, &mut listeners)?,
        }
    }
    Ok(listeners)
}

/// One IPv6 socket that takes IPv4 too; one of each where the system keeps them apart; IPv4 alone
/// where there is no IPv6.
fn bind_everywhere(port: u16, backlog: u16, listeners: &mut Listeners) -> Result<(), String> {
    let (mut ip4, before) = (SocketAddr::new(ANY_IP4, port), listeners.len());
    match bind_one(SocketAddr::new(ANY_IP6, port), backlog, listeners) {
        Err(e) if TcpListener::bind((ANY_IP6, 0)).is_ok() => return Err(e),
        _ => {}
    }
    if let Some(ip6) = listeners.get(before) {
        ip4.set_port(ip6.address.port());
    }
    let apart = fs::read("/proc/sys/net/ipv6/bindv6only").map_or(false, |b| b == b"1\n");
    if listeners.len() == before || apart {
        bind_one(ip4, backlog, listeners)?;
    }
    Ok(())
}

fn bind_one(address: SocketAddr, backlog: u16, listeners: &mut Listeners) -> Result<(), String> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        sys::set_backlog(&socket, backlog)?;
        Listener::new(socket, false)
    });
    let same =
        |ip: IpAddr| ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    let own = |l: &Arc<Listener>| l.address.port() == address.port() && same(l.address.ip());
    let bound = bound.map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
            ErrorKind::AddrInUse if listeners.iter().any(own) => {
                "; another --listen has it already"
            }
            ErrorKind::AddrInUse => "; something listens there already",
            ErrorKind::AddrNotAvailable => "; no interface has this address",
            _ => "",
        };
        format!("cannot listen on {address}: {e}{hint}")
    });
    listeners.push(bound?);
    Ok(())
}

/// The socket on standard input, a listener or a connection, as inetd, systemd, s6 and tcpsvd hand
/// it over, and its own address.
pub fn from_stdin() -> Result<(Sockets, SocketAddr), String> {
    let hint = "--stdin is for inetd, systemd and others that hand one over";
    adopt_stdin().map_err(|e| format!("standard input is not a TCP socket in use: {e}; {hint}"))
}

fn adopt_stdin() -> io::Result<(Sockets, SocketAddr)> {
    let socket = TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let address = socket.local_addr()?;
    if !sys::is_stream(&socket) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "UDP"));
    }
    if sys::is_listening(&socket) {
        // For accept too, see SO_RCVTIMEO in socket(7): another program may be faster.
        socket.set_read_timeout(Some(ACCEPT_TIMEOUT))?;
        let listener = Listener::new(TcpListener::from(OwnedFd::from(socket)), true)?;
        Ok((Sockets::Listeners(vec![listener]), address))
    } else {
        let peer = socket.peer_addr()?;
        Ok((Sockets::Connection(socket, peer), address))
    }
}
