//! Accepting connections, the threads that wait for clients, and who gives way when there are too
//! many.
//!
//! Each listener has one thread that accepts. The kernel has held back most clients until their
//! request was there, and that thread answers them at once. A client that keeps it waiting is handed
//! over to another thread, an idle one or a new one, which waits for that client alone.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::unix::io::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::conversation::{Client, Conversation, Outcome, OUTCOMES};
use crate::listeners::Listener;
use crate::log;
use crate::options::Options;
use crate::policy::Policy;
use crate::sys;

/// How many threads stay when they have nothing to do.
const SPARE_THREADS: usize = 16;

/// How many conversations may be handed over and not taken yet.
const MAX_HANDED_OVER: usize = 64;

/// Bytes that must be left when a policy file is read: more than the largest one takes meanwhile.
const MEMORY_TO_RELOAD: usize = 1 << 20;

/// How long accepting pauses when something has run out and nobody can give way.
const PAUSE: Duration = Duration::from_millis(50);

/// How long it pauses for one that gives way to be gone.
const MOMENT: Duration = Duration::from_millis(1);

/// What was not seen for so long is over, and the log says it again when it comes back.
const EPISODE: Duration = Duration::from_secs(10);

pub struct Server {
    pub options: Options,
    pub listeners: Vec<Listener>,
    started: Instant,
    stopping: AtomicBool,
    failed: AtomicBool,
    state: Mutex<State>,
    /// Something was handed over.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    policy: Arc<Policy>,
    /// The connections whose client is waited for, by the order in which they came, and what ends
    /// the waiting. One that gave way is no longer here, though its thread may have yet to close it.
    waiting: BTreeMap<u64, (Arc<TcpStream>, Shutdown)>,
    /// Those of them that no thread has taken yet.
    handed_over: VecDeque<Conversation>,
    /// Threads that accept, threads that wait for clients, and those of the latter that have none.
    accepting: usize,
    threads: usize,
    idle: usize,
    last_shortage: Option<Instant>,
    last_proxied: Option<Instant>,
    accepted: u64,
    /// How many connections ended with each outcome.
    ended: [u64; OUTCOMES.len()],
    reloads: u64,
}

impl Server {
    /// Serves `policy` on `listeners` from now on. An error means that there is not enough memory
    /// for a thread.
    pub fn start(
        policy: Policy,
        listeners: Vec<Listener>,
        options: Options,
    ) -> Result<&'static Server, String> {
        let state = State {
            policy: Arc::new(policy),
            accepting: listeners.len(),
            ..State::default()
        };
        // As long as the program.
        let server: &Server = Box::leak(Box::new(Server {
            options,
            listeners,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
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
            match listener.accept() {
                Ok(client) => self.serve(client, listener),
                Err(_) if self.stopping() => {}
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

    /// Counts how a connection ended, before the client can see the end.
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
            let said = refused.then(|| format!(": {}", conversation.said()));
            let line = OUTCOMES[outcome as usize].to_owned() + &said.unwrap_or_default();
            log::connection(conversation.peer, &line);
        }
    }

    /// Hands a client that has to be waited for over to a thread. Where as many as there may be wait
    /// already, or no thread can be started, the one that has waited longest gives way.
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
        self.changed.notify_one();
        if state.idle >= state.handed_over.len() || state.threads >= self.options.max_connections {
            return;
        }
        state.threads += 1;
        drop(state);
        if let Err(e) = sys::start_thread(move || self.wait_for_clients()) {
            state = self.state();
            state.threads -= 1;
            self.report(&mut state, "start a thread", &e);
            if state.threads > 0 {
                state.give_way();
                return;
            }
            // Then this one waits itself, and nobody gives way before somebody comes, or the server
            // stops: one after another they could take long.
            while let Some(conversation) = state.handed_over.pop_front() {
                if self.stopping() {
                    state.end_waiting(conversation.number);
                }
                drop(state);
                self.finish(conversation, Some(listener));
                state = self.state();
            }
        }
    }

    /// A thread that waits for clients: for one after another, until enough threads have none.
    fn wait_for_clients(&self) {
        let mut state = self.state();
        loop {
            if let Some(conversation) = state.handed_over.pop_front() {
                drop(state);
                self.finish(conversation, None);
                state = self.state();
            } else if state.idle < SPARE_THREADS {
                state.idle += 1;
                let changed = self.changed.wait(state);
                state = changed.unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            } else {
                break;
            }
        }
        state.threads -= 1;
    }

    /// Waits for the client of a registered conversation until that has ended, or until somebody is
    /// queued at `listener`.
    fn finish(&self, mut conversation: Conversation, listener: Option<&Listener>) {
        let outcome = loop {
            if let Some(outcome) = conversation.proceed() {
                break outcome;
            }
            if conversation.is_answering() {
                self.state().register(&conversation);
            }
            // Of a listener that was stopped poll says that somebody is queued.
            let listener = listener.filter(|_| !self.stopping());
            let listener = listener.map(|listener| listener.socket.as_raw_fd());
            if conversation.wait(listener) && !self.stopping() {
                self.state().end_waiting(conversation.number);
            }
        };
        let outcome = match self.state().waiting.remove(&conversation.number) {
            None if outcome != Outcome::Answered => Outcome::Evicted,
            _ => outcome,
        };
        self.leave(&conversation, outcome);
    }

    /// Nobody could be accepted: somebody gives way if that helps and if anybody is queued. The
    /// server stops if the listener is none any more.
    fn pause(&self, listener: &Listener, error: &io::Error) {
        if !sys::is_listening(&listener.socket) {
            if !self.failed.swap(true, SeqCst) {
                let address = listener.address;
                log::line(&format!("{address} does not listen any more: {error}"));
                sys::ask_to_stop();
            }
            return thread::sleep(PAUSE);
        }
        // Linux says that no descriptor is left before it sees whether anybody has come.
        let queue = (listener.socket.as_raw_fd(), sys::POLLIN);
        if sys::ready([queue], PAUSE) == [false] || self.stopping() {
            return;
        }
        // Or another holder of the socket was faster.
        let mut soon = error.kind() == io::ErrorKind::WouldBlock;
        if !soon {
            let mut state = self.state();
            self.report(&mut state, "accept a connection", error);
            soon = sys::is_shortage(error) && state.give_way();
        }
        thread::sleep(if soon { MOMENT } else { PAUSE });
    }

    /// Says what cannot be done and, where that helps, who gives way; once per episode.
    fn report(&self, state: &mut State, what: &str, error: &io::Error) {
        if begins(&mut state.last_shortage) {
            let help = match sys::is_shortage(error) {
                true => "; the longest waiting give way",
                false => "",
            };
            log::line(&format!("cannot {what}: {error}{help}"));
        }
    }

    /// Reads the policy file again, and answers with it from the next connection on. One that will
    /// not do is refused.
    pub fn reload(&self) {
        let file = self.options.policy.display();
        let memory = sys::probe_memory(MEMORY_TO_RELOAD);
        let read = memory.map_err(|e| format!("{file}: error: {e}"));
        match read.and_then(|()| Policy::read(&self.options)) {
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
        let mut line = String::new();
        for (name, count) in OUTCOMES.iter().zip(state.ended) {
            line += &format!("{name}={count} ");
        }
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
        !self.failed.load(SeqCst)
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
