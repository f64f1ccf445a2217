//! The sockets that are listened on: bound here, or handed over on standard input.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::io::{AsFd, OwnedFd};
use std::time::Duration;

use crate::conversation::Client;
use crate::options::EVERYWHERE;
use crate::sys;

/// How long a thread waits on a shared socket before it sees whether to stop: whatever would end
/// the waiting, another program on the same socket may get it.
pub const ACCEPT_TIMEOUT: Duration = Duration::from_millis(500);

pub struct Listener {
    pub socket: TcpListener,
    pub address: SocketAddr,
    /// Others hold this socket too, and it goes on listening when this program ends.
    pub shared: bool,
}

impl Listener {
    fn new(socket: TcpListener, shared: bool) -> io::Result<Listener> {
        let address = socket.local_addr()?;
        // Without cookies, clients that are held back fill the kernel's queue and lock others out.
        let cookies = fs::read("/proc/sys/net/ipv4/tcp_syncookies");
        if cookies.map_or(false, |value| value != b"0\n") {
            sys::defer_accept(&socket);
        }
        Ok(Listener {
            socket,
            address,
            shared,
        })
    }
}

/// Listens on each of `addresses`. Everywhere is one IPv6 socket that takes IPv4 too, one of each
/// where the system keeps them apart, and IPv4 alone where there is no IPv6. An error names the
/// address and the reason.
pub fn bind(addresses: &[SocketAddr], backlog: u16) -> Result<Vec<Listener>, String> {
    let apart = fs::read("/proc/sys/net/ipv6/bindv6only").map_or(false, |value| value == b"1\n");
    let no_ip6 = || TcpListener::bind((EVERYWHERE, 0)).is_err();
    let all_ip4 = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let mut listeners = Vec::new();
    let mut bind = |address| bind_one(address, backlog, &mut listeners);
    for &address in addresses {
        let (port, everywhere) = (address.port(), address.ip() == EVERYWHERE);
        if address == all_ip4(port) && addresses.contains(&(EVERYWHERE, port).into()) {
            continue;
        }
        match bind(address) {
            Ok(port) if everywhere && apart => bind(all_ip4(port))?,
            Err(_) if everywhere && no_ip6() => bind(all_ip4(port))?,
            bound => bound?,
        };
    }
    Ok(listeners)
}

/// Returns the port, which the system may have chosen.
fn bind_one(address: SocketAddr, backlog: u16, all: &mut Vec<Listener>) -> Result<u16, String> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        sys::set_backlog(&socket, backlog)?;
        Listener::new(socket, false)
    });
    let listener = bound.map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
            ErrorKind::AddrInUse => "; something listens there, perhaps another --listen",
            ErrorKind::AddrNotAvailable => "; no interface has this address",
            _ => "",
        };
        format!("cannot listen on {address}: {e}{hint}")
    })?;
    let port = listener.address.port();
    all.push(listener);
    Ok(port)
}

/// The socket on standard input, a listener or else a connection, as inetd, systemd, s6 and tcpsvd
/// hand it over, and its own address.
pub fn from_stdin() -> io::Result<(Vec<Listener>, Option<Client>, SocketAddr)> {
    let socket = TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let address = socket.local_addr()?;
    // An error for UDP, which has no such option.
    socket.nodelay()?;
    if let Ok(peer) = socket.peer_addr() {
        return Ok((Vec::new(), Some((socket, peer)), address));
    }
    // A connection that was reset has no peer either.
    if let Some(e) = socket.take_error()? {
        return Err(e);
    }
    // For accept too, see SO_RCVTIMEO in socket(7): another program may be faster.
    socket.set_read_timeout(Some(ACCEPT_TIMEOUT))?;
    let listener = Listener::new(TcpListener::from(OwnedFd::from(socket)), true)?;
    Ok((vec![listener], None, address))
}
