//! Accepting connections, the threads that wait for clients, and who gives way when there are too
//! many.
//!
//! Each listener has one thread that accepts. The kernel has held back most clients until their
//! request was there, and that thread answers them at once. A client that keeps it waiting is handed
//! over to another thread, an idle one or a new one, which waits for that client alone.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::io::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::{Conversation, Outcome, OUTCOMES};
use crate::listeners::Listener;
use crate::log;
use crate::options::Options;
use crate::policy::Policy;
use crate::sys;

/// How many threads stay when they have nothing to do.
const SPARE_THREADS: usize = 16;

/// How many connections may be handed over before one of the threads that are to take them does.
const QUEUE: usize = 64;

/// A thread needs less than 8 KB to serve; the rest is room for std and the C library. The usual
/// 2 MB would not let 1000 threads fit into 32 bits of address.
const STACK_SIZE: usize = 64 * 1024;

/// Bytes that must be left when a policy file is read: more than the largest one takes while it is
/// checked.
const MEMORY_TO_RELOAD: usize = 1 << 20;

/// Bytes that must be left when a thread is started, which itself takes a tenth of a megabyte: a
/// policy file that is just being read has its own.
const MEMORY_TO_START: usize = 2 * MEMORY_TO_RELOAD;

/// How long accepting pauses when something has run out and nobody can give way.
const PAUSE: Duration = Duration::from_millis(50);

/// How long it pauses for one that gives way to be gone.
const HANDOVER: Duration = Duration::from_millis(1);

/// What was not seen for so long is over, and the log says it again when it comes back.
const EPISODE: Duration = Duration::from_secs(10);

pub struct Server {
    pub options: Options,
    pub listeners: Vec<Arc<Listener>>,
    started: Instant,
    stopping: AtomicBool,
    failed: AtomicBool,
    state: Mutex<State>,
    thread_started: Condvar,
    handed_over: Condvar,
    taken: Condvar,
}

/// A connection and what ends its waiting.
type Waiting = (Arc<TcpStream>, Shutdown);

#[derive(Default)]
struct State {
    policy: Arc<Policy>,
    /// The connections whose client is waited for, by the order in which they came. One that gave
    /// way is no longer here, though its thread may have yet to close it.
    waiting: BTreeMap<u64, Waiting>,
    /// Those of them that no thread has taken yet.
    queue: VecDeque<Conversation>,
    /// Threads that accept, threads that wait for clients, and those of the latter that have none.
    accepting: usize,
    threads: usize,
    idle: usize,
    /// A thread has been started and does not run yet.
    starting: bool,
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
        listeners: Vec<Arc<Listener>>,
        options: Options,
    ) -> Result<Arc<Server>, String> {
        let state = State {
            policy: Arc::new(policy),
            accepting: listeners.len(),
            ..State::default()
        };
        let server = Arc::new(Server {
            options,
            listeners,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            state: Mutex::new(state),
            thread_started: Condvar::new(),
            handed_over: Condvar::new(),
            taken: Condvar::new(),
        });
        for listener in &server.listeners {
            let (server, listener) = (server.clone(), listener.clone());
            start_thread(move || server.accept(&listener))
                .map_err(|e| format!("cannot start a thread: {e}"))?;
        }
        Ok(server)
    }

    /// The thread of a listener: accepts, until the server stops.
    fn accept(self: &Arc<Server>, listener: &Listener) {
        while !self.stopping() {
            match listener.accept() {
                Ok((stream, peer)) => self.serve(stream, peer, listener),
                Err(e) => self.pause(listener, &e),
            }
        }
        self.state().accepting -= 1;
    }

    /// Answers a client at once, or leaves it to another thread.
    fn serve(self: &Arc<Server>, stream: TcpStream, peer: SocketAddr, listener: &Listener) {
        let mut conversation = self.enter(stream, peer);
        match conversation.proceed() {
            Some(outcome) => self.leave(&conversation, outcome),
            None => self.hand_over(conversation, listener),
        }
    }

    /// Counts a connection in.
    fn enter(&self, stream: TcpStream, peer: SocketAddr) -> Conversation {
        let mut state = self.state();
        state.accepted += 1;
        let (number, policy) = (state.accepted, state.policy.clone());
        drop(state);
        Conversation::new(number, stream, peer, policy, self.options.timeout)
    }

    /// Counts how a connection ended, before the client can see the end.
    fn leave(&self, conversation: &Conversation, outcome: Outcome) {
        let mut state = self.state();
        state.ended[outcome as usize] += 1;
        let proxied = outcome == Outcome::Refused && conversation.is_proxied();
        let proxied = proxied && begins(&mut state.last_proxied);
        drop(state);
        let what = OUTCOMES[outcome as usize];
        if proxied {
            let advice = "sent a PROXY protocol header, so it is refused: switch off send-proxy";
            log::connection(conversation.peer, advice);
        }
        if self.options.verbose && outcome == Outcome::Refused {
            log::connection(
                conversation.peer,
                &format!("{what}: {}", conversation.said()),
            );
        } else if self.options.verbose {
            log::connection(conversation.peer, what);
        }
    }

    /// Hands a client that has to be waited for over to a thread. Where as many as there may be wait
    /// already, the first of them gives way.
    fn hand_over(self: &Arc<Server>, conversation: Conversation, listener: &Listener) {
        let mut state = self.state();
        loop {
            // One after another: what the last one needs to run must not be counted on any more.
            state = wait_while(&self.thread_started, state, |state| state.starting);
            if state.idle > state.queue.len() || state.threads >= self.options.max_connections {
                break;
            }
            state.starting = true;
            drop(state);
            let server = self.clone();
            let started = start_thread(move || server.wait_for_clients());
            state = self.state();
            if let Err(e) = started {
                state.starting = false;
                self.thread_started.notify_all();
                self.report(&mut state, "start a thread", &e);
                if state.threads == 0 {
                    drop(state);
                    return self.wait_here(conversation, listener);
                }
                state.give_way();
                break;
            }
        }
        if state.waiting.len() >= self.options.max_connections {
            state.give_way();
        }
        while state.queue.len() >= QUEUE {
            let waited = self.taken.wait_timeout(state, PAUSE);
            let (taken, result) = waited.unwrap_or_else(PoisonError::into_inner);
            state = taken;
            if result.timed_out() {
                state.give_way();
            }
        }
        state.register(&conversation);
        state.queue.push_back(conversation);
        drop(state);
        self.handed_over.notify_one();
    }

    /// A thread for clients that have to be waited for: takes one after another, and ends if enough
    /// other threads have none.
    fn wait_for_clients(&self) {
        let mut state = self.state();
        state.threads += 1;
        state.starting = false;
        self.thread_started.notify_all();
        loop {
            if let Some(conversation) = state.queue.pop_front() {
                drop(state);
                self.taken.notify_one();
                self.finish(conversation);
                state = self.state();
            } else if state.idle < SPARE_THREADS {
                state.idle += 1;
                let woken = self.handed_over.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            } else {
                break;
            }
        }
        state.threads -= 1;
    }

    /// Waits for the client of a registered conversation until that has ended.
    fn finish(&self, mut conversation: Conversation) {
        let outcome = loop {
            if let Some(outcome) = conversation.proceed() {
                break outcome;
            }
            if conversation.ending() == Shutdown::Both {
                self.state().register(&conversation);
            }
            conversation.wait(None);
        };
        let gave_way = self.state().waiting.remove(&conversation.number).is_none();
        let evicted = gave_way && outcome != Outcome::Answered;
        self.leave(
            &conversation,
            if evicted { Outcome::Evicted } else { outcome },
        );
    }

    /// Where no thread is to be had at all, the one that accepts waits for the client itself, until
    /// somebody else is queued.
    fn wait_here(&self, mut conversation: Conversation, listener: &Listener) {
        let outcome = loop {
            if let Some(outcome) = conversation.proceed() {
                break outcome;
            }
            let queue = listener.socket.as_raw_fd();
            // Of a listener that has been stopped poll says that it is ready.
            if conversation.wait(Some(queue).filter(|_| !self.stopping())) && !self.stopping() {
                break conversation.cut(Outcome::Evicted);
            }
        };
        self.leave(&conversation, outcome);
    }

    /// Nobody could be accepted: somebody gives way if that helps and if anybody is queued. The
    /// server stops if the listener is none any more.
    fn pause(&self, listener: &Listener, error: &io::Error) {
        let queue = listener.socket.as_raw_fd();
        if self.stopping() {
            return;
        }
        if !sys::is_listening(queue) {
            log::line(&format!(
                "no longer listening on {}: {error}",
                listener.address
            ));
            self.failed.store(true, SeqCst);
            return sys::ask_to_stop();
        }
        // Linux says that no descriptor is left before it sees whether anybody has come.
        if sys::ready([(queue, sys::POLLIN)], PAUSE) == [false] || self.stopping() {
            return;
        }
        // Another holder of the socket was faster, and may be again.
        let mut soon = error.kind() == io::ErrorKind::WouldBlock;
        if !soon {
            let mut state = self.state();
            self.report(&mut state, "accept a connection", error);
            soon = sys::is_shortage(error) && state.give_way();
        }
        thread::sleep(if soon { HANDOVER } else { PAUSE });
    }

    /// Says what cannot be done, once per episode.
    fn report(&self, state: &mut State, what: &str, error: &io::Error) {
        if begins(&mut state.last_shortage) {
            log::line(&format!(
                "cannot {what}: {error}; the longest waiting give way"
            ));
        }
    }

    /// Reads the policy file again, and answers with it from the next connection on. One that will
    /// not do is refused.
    pub fn reload(&self) {
        let file = self.options.policy.display();
        let memory = sys::probe_memory(MEMORY_TO_RELOAD);
        let read = memory.map_err(|e| format!("{file}: error: {e}"));
        match read.and_then(|()| Policy::read(&self.options)) {
            Ok(policy) => {
                let mut state = self.state();
                state.policy = Arc::new(policy);
                state.reloads += 1;
                drop(state);
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
        line + &format!(
            "open={} reloads={} uptime={}",
            state.open(),
            state.reloads,
            uptime
        )
    }

    /// Serves one connection that somebody else has accepted.
    pub fn serve_one(&self, stream: TcpStream, peer: SocketAddr) {
        let conversation = self.enter(stream, peer);
        self.state().register(&conversation);
        self.finish(conversation);
    }

    /// Accepts those that are queued already and no more, and returns when what is under way has come
    /// to its end or its deadline. The answer is whether it was asked to, and not out of listeners.
    pub fn stop(self: &Arc<Server>) -> bool {
        self.stopping.store(true, SeqCst);
        for listener in self.listeners.iter().filter(|listener| !listener.shared) {
            let _ = listener.socket.set_nonblocking(true);
            let queued = || listener.socket.accept().ok();
            // More than the backlog came since.
            for (stream, peer) in std::iter::from_fn(queued).take(self.options.backlog.into()) {
                self.serve(stream, peer, listener);
            }
            sys::stop_listening(&listener.socket);
        }
        let deadline = Instant::now() + self.options.timeout + PAUSE;
        let busy = |state: MutexGuard<State>| state.accepting > 0 || state.open() > 0;
        while busy(self.state()) && Instant::now() < deadline {
            thread::sleep(HANDOVER);
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
        let waiting = (conversation.stream.clone(), conversation.ending());
        self.waiting.insert(conversation.number, waiting);
    }

    /// The waiting of the connection that has waited longest ends, if there is one.
    fn give_way(&mut self) -> bool {
        let oldest = self.waiting.keys().next().copied();
        let waiting = oldest.and_then(|oldest| self.waiting.remove(&oldest));
        waiting.map_or(false, |(stream, ending)| stream.shutdown(ending).is_ok())
    }

    fn open(&self) -> u64 {
        self.accepted - self.ended.iter().sum::<u64>()
    }
}

/// Starts a thread. Without the memory that it needs to run std would abort.
fn start_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    sys::probe_memory(MEMORY_TO_START)?;
    let builder = thread::Builder::new().stack_size(STACK_SIZE);
    builder.spawn(work).map(drop)
}

/// Whether an episode of something begins that was last seen then.
fn begins(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let before = last.replace(now);
    before.map_or(true, |before| now.duration_since(before) > EPISODE)
}

fn wait_while<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    unfit: impl Fn(&State) -> bool,
) -> MutexGuard<'a, State> {
    let waited = condition.wait_while(state, |state| unfit(state));
    waited.unwrap_or_else(PoisonError::into_inner)
}
