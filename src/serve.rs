//! Accepting connections, the threads that serve them, and who gives way when there are too many.
//!
//! One thread at a time has the turn to accept on a listener. It answers at once the clients whose
//! request has already arrived, or comes right away. Before it waits for one that keeps it waiting,
//! it passes the turn on to another thread, which it starts if there is none. When it has served
//! that client, it waits for a turn again, or ends if enough others do.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind::ConnectionAborted, ErrorKind::WouldBlock};
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

/// How many threads may have the turn or wait for it, for each listener.
const SPARE_THREADS: usize = 16;

/// A thread needs less than 8 KB to serve; the rest is room for std and the C library. The usual
/// 2 MB would not let 1000 threads fit into 32 bits of address.
const STACK_SIZE: usize = 64 * 1024;

/// Bytes that must be left when a thread is started, enough for a dozen of them.
const MEMORY_RESERVE: usize = 1 << 20;

/// The longest that a client may keep the turn waiting. The request of most comes right behind the
/// connection, and an answer costs an eighth more CPU if the turn is passed on meanwhile.
const GRACE: Duration = Duration::from_millis(4);

/// How much of it each client adds that was served with the turn in hand. What one keeps the turn
/// waiting is taken off again, so that slow clients hold up the others no longer than the rest earned.
const GRACE_EARNED: Duration = Duration::from_micros(60);

/// How long accepting pauses when something has run out and nobody can give way.
const PAUSE: Duration = Duration::from_millis(50);

/// How long it pauses for one that gives way to be gone.
const HANDOVER: Duration = Duration::from_millis(1);

/// A shortage that was not seen for so long is over; the next one is reported again.
const EPISODE: Duration = Duration::from_secs(10);

pub struct Server {
    pub options: Options,
    pub listeners: Vec<Arc<Listener>>,
    max_threads: usize,
    started: Instant,
    stopping: AtomicBool,
    state: Mutex<State>,
    thread_ended: Condvar,
}

/// A connection and what ends its waiting.
type Waiting = (Arc<TcpStream>, Shutdown);

#[derive(Default)]
struct State {
    policy: Arc<Policy>,
    /// The connections whose client keeps a thread waiting, by the order in which they came. One
    /// that gave way is no longer here, though its thread may have yet to close it.
    waiting: BTreeMap<u64, Waiting>,
    threads: usize,
    last_shortage: Option<Instant>,
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
            ..State::default()
        };
        let server = Arc::new(Server {
            max_threads: options.max_connections + SPARE_THREADS * listeners.len(),
            options,
            listeners,
            stopping: AtomicBool::new(false),
            started: Instant::now(),
            state: Mutex::new(state),
            thread_ended: Condvar::new(),
        });
        for listener in &server.listeners {
            server
                .start_thread(listener)
                .map_err(|e| format!("cannot start a thread: {e}"))?;
        }
        Ok(server)
    }

    /// One thread: takes the turn to accept, again and again, until the server stops.
    fn accept_and_serve<'a>(self: &'a Arc<Server>, mut listener: &'a Arc<Listener>) {
        let mut turn = Some(lock(&listener.turn));
        while !self.stopping() {
            match listener.socket.accept() {
                Ok((stream, peer)) => self.serve(Arc::new(stream), peer, listener, &mut turn),
                // WouldBlock is the accept timeout of a shared socket.
                Err(e) if matches!(e.kind(), ConnectionAborted | WouldBlock) => {}
                Err(e) => {
                    let fd = listener.socket.as_raw_fd();
                    // Linux says that no descriptor is left before it sees whether anybody has come.
                    if sys::is_ready(fd, sys::POLLIN, PAUSE) && !self.stopping() {
                        let relieved = self.relieve("accept a connection", &e);
                        thread::sleep(if relieved { HANDOVER } else { PAUSE });
                    }
                }
            }
            if turn.is_none() {
                // A listener comes first that lost its last thread where none could be started.
                if let Some(bereft) = self.listeners.iter().find(|l| l.join(1)) {
                    listener = bereft;
                } else if !listener.join(SPARE_THREADS) {
                    break;
                }
                turn = Some(lock(&listener.turn));
            }
        }
        drop(turn);
        self.state().threads -= 1;
        self.thread_ended.notify_all();
    }

    /// Passes the turn on, to a new thread if no other waits for it.
    fn pass_on(self: &Arc<Server>, mut turn: MutexGuard<Duration>, listener: &Arc<Listener>) {
        *turn = Duration::ZERO;
        drop(turn);
        // The last one leaves its place to the thread that it starts.
        if !listener.leave() {
            // If that fails, the next thread that has waited for a client takes the turn.
            if let Err(e) = self.start_thread(listener) {
                self.relieve("start a thread", &e);
            }
        }
    }

    /// Starts a thread that accepts on `listener`, unless there are as many as there may be. It is
    /// counted as idle already.
    fn start_thread(self: &Arc<Server>, listener: &Arc<Listener>) -> io::Result<()> {
        {
            let mut state = self.state();
            // Then those whose connections gave way are about to come back.
            if state.threads >= self.max_threads {
                listener.idle.fetch_sub(1, SeqCst);
                return Ok(());
            }
            state.threads += 1;
        }
        let (server, its_listener) = (self.clone(), listener.clone());
        let work = move || server.accept_and_serve(&its_listener);
        // Without a reserve some small allocation would fail later, and std would abort.
        let started = sys::probe_memory(MEMORY_RESERVE)
            .and_then(|()| thread::Builder::new().stack_size(STACK_SIZE).spawn(work));
        if started.is_err() {
            listener.idle.fetch_sub(1, SeqCst);
            self.state().threads -= 1;
        }
        started.map(drop)
    }

    /// Serves one connection from accept to close. The turn is gone afterwards if the client had to
    /// be waited for.
    fn serve(
        self: &Arc<Server>,
        stream: Arc<TcpStream>,
        peer: SocketAddr,
        listener: &Arc<Listener>,
        turn: &mut Option<MutexGuard<Duration>>,
    ) {
        let deadline = Instant::now() + self.options.timeout;
        let (number, policy) = self.enter();
        // Whole milliseconds, as poll waits: it may not last longer than was earned.
        let earned = turn.as_ref().map_or(0, |turn| turn.subsec_millis());
        let grace = Duration::from_millis(earned.into());
        let mut in_grace: Option<Instant> = None;
        let mut patience = |end| {
            if in_grace.is_none() && !grace.is_zero() {
                in_grace = Some(Instant::now());
                return grace;
            }
            let waiting = (stream.clone(), end);
            self.state().waiting.insert(number, waiting);
            if let Some(turn) = turn.take() {
                self.pass_on(turn, listener);
            }
            self.options.timeout
        };
        let conversation = Conversation {
            stream: &stream,
            deadline,
            patience: &mut patience,
        };
        let outcome = conversation.hold(&policy);
        if let Some(turn) = turn {
            let spent = in_grace.map_or(Duration::ZERO, |since| since.elapsed());
            **turn = (**turn + GRACE_EARNED).saturating_sub(spent).min(GRACE);
        }
        let waited = turn.is_none();
        let outcome = self.leave(number, outcome, waited);
        if self.options.verbose {
            log::connection(peer, OUTCOMES[outcome as usize]);
        }
    }

    /// Counts a connection in, and returns its number and what to answer. Where as many as there may
    /// be wait already, the first of them gives way.
    fn enter(&self) -> (u64, Arc<Policy>) {
        let mut state = self.state();
        state.accepted += 1;
        let too_many = state.waiting.len() >= self.options.max_connections;
        let oldest = if too_many { state.take_oldest() } else { None };
        let entered = (state.accepted, state.policy.clone());
        drop(state);
        give_way(oldest);
        entered
    }

    /// Counts how a connection ended, before the client can see the end.
    fn leave(&self, number: u64, outcome: Outcome, waited: bool) -> Outcome {
        let mut state = self.state();
        let gave_way = waited && state.waiting.remove(&number).is_none();
        let outcome = match gave_way && outcome != Outcome::Answered {
            true => Outcome::Evicted,
            false => outcome,
        };
        state.ended[outcome as usize] += 1;
        outcome
    }

    /// Something has run out: the connection that has waited longest gives way, and the log says
    /// so once per episode. Returns whether there was one.
    fn relieve(&self, what: &str, error: &io::Error) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let last = state.last_shortage.replace(now);
        let oldest = state.take_oldest();
        drop(state);
        if last.map_or(true, |last| now.duration_since(last) > EPISODE) {
            log::line(&format!(
                "cannot {what}: {error}; the longest waiting give way"
            ));
        }
        give_way(oldest)
    }

    /// Answers with `policy` from the next connection on.
    pub fn reload(&self, policy: Policy) {
        let mut state = self.state();
        state.policy = Arc::new(policy);
        state.reloads += 1;
        drop(state);
        log::line(&format!("{}: in service", self.options.policy.display()));
    }

    /// The counters since the start, in one line.
    pub fn counters(&self) -> String {
        let state = self.state();
        let mut line = String::new();
        for (name, count) in OUTCOMES.iter().zip(state.ended) {
            line += &format!("{name}={count} ");
        }
        let open = state.accepted - state.ended.iter().sum::<u64>();
        let uptime = self.started.elapsed().as_secs();
        line + &format!("open={} reloads={} uptime={}", open, state.reloads, uptime)
    }

    /// Accepts no more, and returns when what is under way has come to its end or its deadline.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.listeners.iter().for_each(|listener| listener.stop());
        let busy = |state: &mut State| state.threads > 0;
        let longest = self.options.timeout + PAUSE;
        let _ = self
            .thread_ended
            .wait_timeout_while(self.state(), longest, busy);
    }

    fn stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Locks a mutex. That a thread panicked with it, which ends a release build anyway, is no reason to
/// panic here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn take_oldest(&mut self) -> Option<Waiting> {
        let oldest = *self.waiting.keys().next()?;
        self.waiting.remove(&oldest)
    }
}

/// Ends the waiting of a connection, if there is one. What has arrived can still be read after the
/// end of reading is declared, so a request that is already here is answered all the same (Linux,
/// `tcp_recvmsg`).
fn give_way(waiting: Option<Waiting>) -> bool {
    waiting.map_or(false, |(stream, end)| stream.shutdown(end).is_ok())
}
