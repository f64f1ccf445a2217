//! One conversation with one client: its request, the answer, the end.

use std::io::{self, ErrorKind::WouldBlock};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::raw::c_short;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sys;

/// What a player sends; Flash Player, AIR and Lightspark send a NUL after it, Silverlight does not.
/// (Adobe AIR developer guide, "Connecting to sockets"; Microsoft's sample server for Silverlight)
pub const REQUEST: &[u8] = b"<policy-file-request/>";

/// Before any other request of a player, from a proxy that was told to (HAProxy, "The PROXY
/// protocol", versions 1 and 2).
const PROXY_HEADERS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// Large enough to take what other clients open with, such as an HTTP request, in one read, so that
/// they are closed without a reset too.
const BUFFER_SIZE: usize = 1024;

/// What clients send after the request is read up to so many bytes, to end without a reset.
const DRAIN_LIMIT: usize = 65_536;

/// How a connection ended.
#[derive(Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The policy file was sent.
    Answered,
    /// The client sent something else, or ended without a request.
    Refused,
    /// The deadline came before the request was complete or the answer sent.
    TimedOut,
    /// It gave way to a newer connection, or in a shortage, before the answer was sent.
    Evicted,
    /// The connection broke.
    Failed,
}

/// What counters and log call the outcomes, in their order: `outcome as usize` is always inside.
pub const OUTCOMES: [&str; 5] = ["answered", "refused", "timed-out", "evicted", "failed"];

/// A connection and its peer.
pub type Client = (TcpStream, SocketAddr);

/// A connection, and how far it has come.
pub struct Conversation {
    /// From 1, in the order of acceptance.
    pub number: u64,
    pub stream: Arc<TcpStream>,
    pub peer: SocketAddr,
    /// With a NUL at its end.
    policy: Arc<Vec<u8>>,
    /// All that happens is over by then: nothing that the client does moves it.
    deadline: Instant,
    buffer: [u8; BUFFER_SIZE],
    received: usize,
    /// How much of the answer.
    sent: usize,
    /// How much was read after the answer, once that is over.
    drained: Option<usize>,
    /// What the client is waited for, as poll calls it: to send, or to take the answer.
    awaited: c_short,
}

impl Conversation {
    /// One that is over `time` from now.
    pub fn new(number: u64, client: Client, policy: Arc<Vec<u8>>, time: Duration) -> Conversation {
        let (stream, peer) = client;
        Conversation {
            number,
            stream: Arc::new(stream),
            peer,
            policy,
            deadline: Instant::now() + time,
            buffer: [0; BUFFER_SIZE],
            received: 0,
            sent: 0,
            drained: None,
            awaited: sys::POLLIN,
        }
    }

    /// Reads the request, sends the answer, and leaves the stream ready to be closed without a reset,
    /// as far as that goes without waiting. Returns how it ended; if it has not, it is to be called
    /// again after [`Conversation::wait`].
    pub fn proceed(&mut self) -> Option<Outcome> {
        match self.ask_and_answer() {
            Ok(outcome) => Some(outcome),
            Err(e) if e.kind() == WouldBlock && Instant::now() < self.deadline => None,
            Err(_) if self.drained.is_some() => Some(Outcome::Answered),
            Err(e) if e.kind() == WouldBlock => Some(Outcome::TimedOut),
            Err(_) => Some(Outcome::Failed),
        }
    }

    fn ask_and_answer(&mut self) -> io::Result<Outcome> {
        let after_request = loop {
            match request(self.received()) {
                Ok(Some(after)) => break after,
                Ok(None) => {}
                Err(()) => return Ok(Outcome::Refused),
            }
            let room = self.buffer.get_mut(self.received..).unwrap_or_default();
            match sys::receive(&self.stream, room)? {
                0 => return Ok(Outcome::Refused),
                length => self.received += length,
            }
        };
        // A NUL and no more is where a player's request ends.
        let ended = after_request == b"\0";
        // The answer has its NUL if the request had one.
        let without = usize::from(!after_request.starts_with(b"\0"));
        let end = self.policy.len().saturating_sub(without);
        self.awaited = sys::POLLOUT;
        // In one call unless the socket's buffer is too small for it: Lightspark takes what one read
        // returns as the whole answer.
        while let Some(unsent @ [_, ..]) = self.policy.get(self.sent..end) {
            self.sent += sys::transmit(&self.stream, unsent)?;
        }
        self.awaited = sys::POLLIN;
        if ended {
            return Ok(Outcome::Answered);
        }
        // Unread bytes would turn the close into a reset, which can take the answer with it. So say
        // that the answer is over, then read until the client ends too.
        if self.drained.is_none() {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        let drained = self.drained.get_or_insert(0);
        while *drained < DRAIN_LIMIT {
            match sys::receive(&self.stream, &mut [0; BUFFER_SIZE])? {
                0 => break,
                length => *drained += length,
            }
        }
        Ok(Outcome::Answered)
    }

    /// Whether the client is waited for to take the answer.
    pub fn is_answering(&self) -> bool {
        self.awaited == sys::POLLOUT
    }

    /// Waits until the client has sent or taken something, at most for `most` or to the deadline.
    pub fn wait(&self, most: Duration) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        sys::ready(&*self.stream, self.awaited, left.min(most));
    }

    /// Whether a proxy has put its header before the request.
    pub fn is_proxied(&self) -> bool {
        let is_begin = |header: &&[u8]| self.received().starts_with(header);
        PROXY_HEADERS.iter().any(is_begin)
    }

    /// What has come of the request, or instead of one.
    pub fn received(&self) -> &[u8] {
        self.buffer.get(..self.received).unwrap_or_default()
    }
}

/// What a client has sent after the request; nothing where that is not complete, an error where it
/// never will be. Blanks before the slash are let pass: Adobe's reference prints the request with one.
fn request(bytes: &[u8]) -> Result<Option<&[u8]>, ()> {
    let (name, end) = REQUEST.split_at(REQUEST.len() - 2);
    if name.starts_with(bytes) {
        return Ok(None);
    }
    let mut rest = bytes.strip_prefix(name).ok_or(())?;
    while let [b' ' | b'\t' | b'\r' | b'\n', after @ ..] = rest {
        rest = after;
    }
    match rest.strip_prefix(end) {
        Some(after) => Ok(Some(after)),
        None if end.starts_with(rest) => Ok(None),
        None => Err(()),
    }
}
