//! Accepting connections, the threads that wait for clients, and who gives way when there are too
//! many.
//!
//! Each listener has one thread that accepts. The kernel has held back most clients until their
//! request was there, and that thread answers them at once. A client that keeps it waiting is handed
//! over to another thread, which waits for that client alone; where no thread is to be had, the one that
//! accepts waits itself, until somebody else is queued.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::conversation::{Client, Conversation, Outcome, OUTCOMES};
use crate::listeners::{Listener, ACCEPT_TIMEOUT};
use crate::log;
use crate::options::Options;
use crate::policy;
use crate::sys;

/// How many conversations may be handed over and not taken yet.
const MAX_HANDED_OVER: usize = 64;

/// How long accepting pauses when something has run out and nobody can give way.
const PAUSE: Duration = Duration::from_millis(50);

/// How long it pauses for one that gives way to be gone, and waits for a client by itself before it
/// sees whether the next is queued.
const MOMENT: Duration = Duration::from_millis(1);

/// What was not seen for so long is over, and the log says it again when it comes back.
const EPISODE: Duration = Duration::from_secs(10);

pub struct Server {
    pub options: Options,
    pub listeners: Vec<Listener>,
    started: Instant,
    stopping: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    policy: Arc<Vec<u8>>,
    /// The connections whose client is waited for, by the order in which they came, and what ends
    /// the waiting. One that gave way is no longer here, though its thread may have yet to close it.
    waiting: BTreeMap<u64, (Arc<TcpStream>, Shutdown)>,
    /// Those of them that no thread has taken yet.
    handed_over: VecDeque<Conversation>,
    /// Threads that accept, and threads that wait for clients.
    accepting: usize,
    threads: usize,
    /// Whether a listener is none any more.
    failed: bool,
    last_shortage: Option<Instant>,
    last_proxied: Option<Instant>,
    accepted: u64,
    /// How many connections ended with each outcome.
    ended: [u64; OUTCOMES.len()],
    reloads: u64,
}

impl Server {
    /// Serves `policy` on `listeners` from now on. An error means that there is no memory or no
    /// place for a thread.
    pub fn start(
        policy: Vec<u8>,
        listeners: Vec<Listener>,
        options: Options,
    ) -> Result<&'static Server, String> {
        // As long as the program.
        let server: &Server = Box::leak(Box::new(Server {
            state: Mutex::new(State {
                policy: Arc::new(policy),
                accepting: listeners.len(),
                ..State::default()
            }),
            options,
            listeners,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
        }));
        for listener in &server.listeners {
            sys::start_thread(move || server.accept(listener))
                .map_err(|e| format!("cannot start a thread: {e}"))?;
        }
        Ok(server)
    }

    /// The thread of a listener: accepts, until the server stops.
    fn accept(&'static self, listener: &Listener) {
        while !self.stopping() {
            // By poll, for others who hold the socket may let accept wait for as long as they like.
            if listener.shared && !sys::ready(&listener.socket, sys::POLLIN, ACCEPT_TIMEOUT) {
                continue;
            }
            match listener.socket.accept() {
                Ok(client) => self.serve(client, listener),
                Err(_) if self.stopping() => {}
                // Another holder of the socket was faster.
                Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(MOMENT),
                // It is no listener any more.
                Err(e) if e.kind() == ErrorKind::InvalidInput => {
                    let address = listener.address;
                    log::line(&format!("{address} does not listen any more: {e}"));
                    self.state().failed = true;
                    sys::ask_to_stop();
                    break;
                }
                Err(e) => self.pause(listener, &e),
            }
        }
        self.state().accepting -= 1;
    }

    /// Answers a client at once, or leaves it to another thread.
    fn serve(&'static self, client: Client, listener: &Listener) {
        let mut conversation = self.enter(client);
        match conversation.proceed() {
            Some(outcome) => self.leave(&conversation, outcome),
            None => self.hand_over(conversation, listener),
        }
    }

    /// Counts a connection in.
    fn enter(&self, client: Client) -> Conversation {
        let mut state = self.state();
        state.accepted += 1;
        let (number, policy) = (state.accepted, state.policy.clone());
        drop(state);
        Conversation::new(number, client, policy, self.options.timeout)
    }

    /// Counts how a connection ended, before it is closed.
    fn leave(&self, conversation: &Conversation, outcome: Outcome) {
        let mut state = self.state();
        state.ended[outcome as usize] += 1;
        let refused = outcome == Outcome::Refused;
        let proxied = refused && conversation.is_proxied() && begins(&mut state.last_proxied);
        drop(state);
        if proxied {
            let line = "sends a PROXY protocol header, so it is refused: switch off send-proxy";
            log::connection(conversation.peer, line);
        }
        if self.options.verbose {
            let mut line = OUTCOMES[outcome as usize].to_owned();
            if refused {
                line += &format!(": {}", log::beginning(conversation.received()));
            }
            log::connection(conversation.peer, &line);
        }
    }

    /// Hands a client that has to be waited for over to a thread. Where as many as there may be wait
    /// already, or no thread can be started beside those there are, the one that has waited longest
    /// gives way.
    fn hand_over(&'static self, conversation: Conversation, listener: &Listener) {
        let mut state = self.state();
        while state.handed_over.len() >= MAX_HANDED_OVER {
            // Those that gave way or were just started are about to take it.
            drop(state);
            thread::sleep(MOMENT);
            state = self.state();
        }
        if state.waiting.len() >= self.options.max_connections {
            state.give_way();
        }
        state.register(&conversation);
        state.handed_over.push_back(conversation);
        if state.threads >= self.options.max_connections {
            return;
        }
        // With the state, so that no other listener counts on a thread that cannot be had.
        match sys::start_thread(move || self.wait_for_clients(None)) {
            Ok(()) => state.threads += 1,
            Err(e) => {
                state.report("start a thread", &e);
                if state.threads == 0 {
                    drop(state);
                    // Then this one waits itself, and nobody gives way before somebody comes.
                    self.wait_for_clients(Some(listener));
                } else if state.waiting.len() > state.threads {
                    state.give_way();
                }
            }
        }
    }

    /// Waits for those that were handed over, one after another, until there are no more: in a
    /// thread for that, or in the one that accepts, which has its listener to see to.
    fn wait_for_clients(&self, listener: Option<&Listener>) {
        let mut state = self.state();
        while let Some(conversation) = state.handed_over.pop_front() {
            // One after another they could take long.
            if listener.is_some() && self.stopping() {
                state.end_waiting(conversation.number);
            }
            drop(state);
            self.finish(conversation, listener);
            state = self.state();
        }
        state.threads -= usize::from(listener.is_none());
    }

    /// Waits for the client of a registered conversation until that has ended, or until somebody is
    /// queued at `listener`.
    fn finish(&self, mut conversation: Conversation, listener: Option<&Listener>) {
        let outcome = loop {
            if let Some(outcome) = conversation.proceed() {
                break outcome;
            }
            if conversation.is_answering() {
                match self.state().waiting.get_mut(&conversation.number) {
                    Some((_, ending)) => *ending = Shutdown::Both,
                    // It has given way meanwhile.
                    None => drop(conversation.stream.shutdown(Shutdown::Both)),
                }
            }
            conversation.wait(listener.map_or(self.options.timeout, |_| MOMENT));
            let is_queued = |it: &Listener| sys::ready(&it.socket, sys::POLLIN, Duration::ZERO);
            // Of a listener that was stopped poll says that somebody is queued.
            if listener.map_or(false, is_queued) && !self.stopping() {
                self.state().end_waiting(conversation.number);
            }
        };
        let outcome = match self.state().waiting.remove(&conversation.number) {
            None if outcome != Outcome::Answered => Outcome::Evicted,
            _ => outcome,
        };
        self.leave(&conversation, outcome);
    }

    /// Nobody could be accepted: somebody gives way if that helps and if anybody is queued.
    fn pause(&self, listener: &Listener, error: &io::Error) {
        // Linux says that no descriptor is left before it sees whether anybody has come.
        if !sys::ready(&listener.socket, sys::POLLIN, PAUSE) || self.stopping() {
            return;
        }
        let mut state = self.state();
        state.report("accept a connection", error);
        let number = error.raw_os_error().unwrap_or_default();
        let soon = sys::SHORTAGES.contains(&number) && state.give_way();
        drop(state);
        thread::sleep(if soon { MOMENT } else { PAUSE });
    }

    /// Reads the policy file again, and answers with it from the next connection on. One that will
    /// not do is refused.
    pub fn reload(&self) {
        let file = self.options.policy.display();
        match policy::read(&self.options) {
            Ok((policy, warnings)) => {
                warnings.iter().for_each(|warning| log::line(warning));
                let mut state = self.state();
                state.policy = Arc::new(policy);
                state.reloads += 1;
                log::line(&format!("{file}: in service"));
            }
            Err(e) => log::line(&format!("{e}; the last good policy stays in service")),
        }
    }

    /// The counters since the start, in one line.
    pub fn counters(&self) -> String {
        let state = self.state();
        let count = |(name, count): (&&str, u64)| format!("{name}={count} ");
        let line: String = OUTCOMES.iter().zip(state.ended).map(count).collect();
        let uptime = self.started.elapsed().as_secs();
        let (open, reloads) = (state.open(), state.reloads);
        line + &format!("open={open} reloads={reloads} uptime={uptime}")
    }

    /// Serves one connection that somebody else has accepted.
    pub fn serve_one(&self, client: Client) {
        let conversation = self.enter(client);
        self.state().register(&conversation);
        let stream = conversation.stream.clone();
        self.finish(conversation, None);
        // Others may hold the connection too; the answer is not to wait until they close it.
        let _ = stream.shutdown(Shutdown::Write);
    }

    /// Accepts those that are queued already and no more, and returns when what is under way has come
    /// to its end or its deadline: false if the server stops for want of a listener.
    pub fn stop(&'static self) -> bool {
        self.stopping.store(true, SeqCst);
        for listener in self.listeners.iter().filter(|listener| !listener.shared) {
            let _ = listener.socket.set_nonblocking(true);
            let queued = || listener.socket.accept().ok();
            // More than the backlog have come since.
            for client in std::iter::from_fn(queued).take(self.options.backlog.into()) {
                self.serve(client, listener);
            }
            sys::stop_listening(&listener.socket);
        }
        let deadline = Instant::now() + self.options.timeout + PAUSE;
        let busy = |state: MutexGuard<State>| state.accepting > 0 || state.open() > 0;
        while busy(self.state()) && Instant::now() < deadline {
            thread::sleep(MOMENT);
        }
        !self.state().failed
    }

    fn stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // That a thread panicked with it, which ends a release build anyway, is no reason to panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a connection among those whose client is waited for.
    fn register(&mut self, conversation: &Conversation) {
        // What has arrived of a request can still be read after that (Linux, `tcp_recvmsg`).
        let ending = match conversation.is_answering() {
            true => Shutdown::Both,
            false => Shutdown::Read,
        };
        let waiting = (conversation.stream.clone(), ending);
        self.waiting.insert(conversation.number, waiting);
    }

    /// Says what cannot be done, once per episode.
    fn report(&mut self, what: &str, error: &io::Error) {
        if begins(&mut self.last_shortage) {
            log::line(&format!("cannot {what}: {error}"));
        }
    }

    /// Ends the waiting of the connection that has waited longest, if there is one.
    fn give_way(&mut self) -> bool {
        let oldest = self.waiting.keys().next().copied();
        oldest.map_or(false, |number| self.end_waiting(number))
    }

    /// Ends the waiting of a connection, unless that has been done.
    fn end_waiting(&mut self, number: u64) -> bool {
        let waiting = self.waiting.remove(&number);
        waiting.map_or(false, |(stream, ending)| stream.shutdown(ending).is_ok())
    }

    fn open(&self) -> u64 {
        self.accepted - self.ended.iter().sum::<u64>()
    }
}

/// Whether an episode begins of something that was last seen then.
fn begins(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let before = last.replace(now);
    before.map_or(true, |before| now.duration_since(before) > EPISODE)
}
