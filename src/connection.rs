//! One conversation with one client: its request, the answer, the end.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::os::raw::c_short;
use std::os::unix::io::AsRawFd;
use std::time::{Duration, Instant};

use crate::policy::Policy;
use crate::sys;

/// What a player sends; Flash Player, AIR and Lightspark send a NUL after it, Silverlight does not.
/// (Adobe AIR developer guide, "Connecting to sockets"; Microsoft's sample server for Silverlight)
pub const REQUEST: &[u8] = b"<policy-file-request/>";

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
    /// It gave way to a newer connection, or in a shortage, before its request was complete.
    Evicted,
    /// The connection broke.
    Failed,
}

/// What counters and log call the outcomes, in their order: `outcome as usize` is always inside.
pub const OUTCOMES: [&str; 5] = ["answered", "refused", "timed-out", "evicted", "failed"];

/// Reads and writes that are over when the deadline comes.
pub struct Conversation<'a> {
    pub stream: &'a TcpStream,
    pub deadline: Instant,
    /// Called each time that nothing more can be done until the peer does something, with the
    /// shutdown that would end the wait. Returns for how long to wait before it is called again.
    pub patience: &'a mut dyn FnMut(Shutdown) -> Duration,
}

impl Conversation<'_> {
    /// Reads the request, sends the answer, and leaves the stream ready to be closed without a reset,
    /// all before the deadline.
    pub fn hold(mut self, policy: &Policy) -> Outcome {
        match self.ask_and_answer(policy) {
            Ok(outcome) => outcome,
            Err(e) if e.kind() == ErrorKind::TimedOut => Outcome::TimedOut,
            Err(_) => Outcome::Failed,
        }
    }

    fn ask_and_answer(&mut self, policy: &Policy) -> io::Result<Outcome> {
        // Large enough to take what other clients open with, such as an HTTP request, in one read,
        // so that they are closed without a reset too.
        let mut buffer = [0; 1024];
        let mut received = 0;
        let after_request = loop {
            let length = self.read(&mut buffer[received..])?;
            received += length;
            match buffer[..received].strip_prefix(REQUEST) {
                Some(after_request) => break after_request,
                None if length > 0 && REQUEST.starts_with(&buffer[..received]) => {}
                None => return Ok(Outcome::Refused),
            }
        };
        // A NUL and no more is where a player's request ends.
        let ended = after_request == b"\0";
        self.write(policy.answer(after_request.starts_with(b"\0")))?;
        if !ended {
            self.drain(&mut buffer);
        }
        Ok(Outcome::Answered)
    }

    /// Unread bytes would turn the close into a reset, which can take the answer with it. So say
    /// that the answer is over, then read until the client ends too.
    fn drain(&mut self, buffer: &mut [u8]) {
        let mut drained = 0;
        let _ = self.stream.shutdown(Shutdown::Write);
        while drained < DRAIN_LIMIT {
            match self.read(buffer) {
                Ok(length) if length > 0 => drained += length,
                _ => break,
            }
        }
    }

    /// Reads what there is; 0 is the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match sys::receive(self.stream, buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.wait(sys::POLLIN, Shutdown::Read)?
                }
                result => return result,
            }
        }
    }

    /// Writes all of `answer`, in one call unless the socket's buffer is too small for it:
    /// Lightspark takes what one read returns as the whole answer.
    pub fn write(&mut self, mut answer: &[u8]) -> io::Result<()> {
        while !answer.is_empty() {
            match sys::transmit(self.stream, answer) {
                Ok(length) => answer = answer.get(length..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.wait(sys::POLLOUT, Shutdown::Both)?
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Waits until the peer has sent or taken something. All waits together end with the deadline:
    /// what a peer does never renews it.
    fn wait(&mut self, events: c_short, end: Shutdown) -> io::Result<()> {
        loop {
            let patience = (self.patience)(end);
            let left = self.deadline.checked_duration_since(Instant::now());
            let left = left.ok_or(ErrorKind::TimedOut)?;
            if sys::is_ready(self.stream.as_raw_fd(), events, left.min(patience)) {
                return Ok(());
            }
        }
    }
}
