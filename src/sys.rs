//! The C calls that std lacks, each behind a safe function. No other file may say `unsafe`.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::raw::{c_int, c_short, c_ulong};
use std::os::unix::io::AsRawFd;
use std::ptr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// Signal numbers of Linux; those that differ on MIPS come from its `asm/signal.h`.
pub const SIGHUP: c_int = 1;
pub const SIGINT: c_int = 2;
pub const SIGTERM: c_int = 15;
pub const SIGUSR1: c_int = if MIPS { 16 } else { 10 };
pub const SIGXFSZ: c_int = if MIPS { 31 } else { 25 };
pub const SIGTTOU: c_int = if MIPS { 27 } else { 22 };
const SIG_BLOCK: c_int = if MIPS { 1 } else { 0 };
const SIG_UNBLOCK: c_int = if MIPS { 2 } else { 1 };
const RLIMIT_NOFILE: c_int = if MIPS { 5 } else { 7 };
const IPPROTO_TCP: c_int = 6;
const TCP_DEFER_ACCEPT: c_int = 9;
const MSG_DONTWAIT: c_int = 0x40;
const MSG_MORE: c_int = 0x8000;
/// Threads, memory, descriptors or buffers have run out: EAGAIN, ENOMEM, ENFILE, EMFILE, ENOBUFS.
pub const SHORTAGES: [c_int; 5] = [11, 12, 23, 24, if MIPS { 132 } else { 105 }];
const READ_WRITE: c_int = 3;
const PRIVATE_ANONYMOUS: c_int = if MIPS { 0x802 } else { 0x22 };
const SHUT_RD: c_int = 0;
const PR_SET_NO_NEW_PRIVS: c_int = 38;
const PR_GET_NO_NEW_PRIVS: c_int = 39;
/// To open a file without waiting, for `OpenOptionsExt::custom_flags`.
pub const O_NONBLOCK: c_int = if MIPS { 0x80 } else { 0x800 };
// Of SPARC, Alpha, PA-RISC and others the numbers are not here.
#[rustfmt::skip]
#[cfg(not(all(target_os = "linux", any(
    target_arch = "x86", target_arch = "x86_64", target_arch = "arm", target_arch = "aarch64",
    target_arch = "mips", target_arch = "mips32r6", target_arch = "mips64", target_arch = "mips64r6",
    target_arch = "powerpc", target_arch = "powerpc64", target_arch = "riscv32",
    target_arch = "riscv64", target_arch = "s390x", target_arch = "loongarch64", target_arch = "m68k",
))))]
compile_error!("the numbers of this system's calls are not known: Linux, and not on SPARC");
const MIPS: bool = cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
));

/// What [`ready`] waits for: something to read, or room to write.
pub const POLLIN: c_short = 1;
pub const POLLOUT: c_short = 4;

/// A thread needs less than 8 KB to serve; the rest is the least that glibc takes on some machines
/// (PTHREAD_STACK_MIN). The usual 8 MB would not let 1000 threads fit into 32 bits of address.
const STACK_SIZE: usize = 128 * 1024;
const DETACHED: c_int = 1;
#[cfg(target_env = "gnu")]
const M_ARENA_MAX: c_int = -8;

/// Bytes that must be left when a thread is started, which takes an eighth of a megabyte. The rest
/// is for others that have made sure of a megabyte just now, and for small things.
const MEMORY_TO_START: usize = 2 << 20;

/// As large as the `sigset_t` of glibc and musl (1024 bits); only the C library looks inside.
#[repr(C)]
pub struct SignalSet([u64; 16]);

/// `struct pollfd`: the descriptor, what to wait for, what it is ready for.
#[repr(C)]
struct PollFd(c_int, c_short, c_short);

/// What a thread runs: it takes and returns a pointer.
type Run = extern "C" fn(*mut u8) -> *mut u8;

// Those of glibc that end in 64 take 64 bits on each machine; those of musl do without the name.
extern "C" {
    fn close(fd: c_int) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn shutdown(fd: c_int, how: c_int) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, at: *const c_int, size: u32) -> c_int;
    fn recv(fd: c_int, buffer: *mut u8, size: usize, flags: c_int) -> isize;
    fn send(fd: c_int, bytes: *const u8, size: usize, flags: c_int) -> isize;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    #[cfg_attr(not(target_env = "musl"), link_name = "prlimit64")]
    fn prlimit(process: c_int, of: c_int, new: *const [u64; 2], old: *mut [u64; 2]) -> c_int;
    #[cfg_attr(not(target_env = "musl"), link_name = "mmap64")]
    fn mmap(at: *mut u8, size: usize, prot: c_int, flags: c_int, fd: c_int, from: i64) -> *mut u8;
    fn munmap(start: *mut u8, size: usize) -> c_int;
    fn sigemptyset(set: *mut SignalSet) -> c_int;
    fn sigaddset(set: *mut SignalSet, signal: c_int) -> c_int;
    #[cfg(target_env = "gnu")]
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
    fn pthread_attr_init(attributes: *mut [u64; 16]) -> c_int;
    fn pthread_attr_setstacksize(attributes: *mut [u64; 16], size: usize) -> c_int;
    fn pthread_attr_setdetachstate(attributes: *mut [u64; 16], state: c_int) -> c_int;
    fn pthread_attr_destroy(attributes: *mut [u64; 16]) -> c_int;
    fn pthread_create(id: *mut c_ulong, with: *const [u64; 16], run: Run, work: *mut u8) -> c_int;
    fn pthread_sigmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwait(set: *const SignalSet, signal: *mut c_int) -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    fn getgroups(count: c_int, groups: *mut u32) -> c_int;
    fn setgid(group: u32) -> c_int;
    fn setuid(user: u32) -> c_int;
    fn getegid() -> u32;
    fn geteuid() -> u32;
}

/// The error of a C call that returned other than 0.
fn done(returned: c_int) -> io::Result<()> {
    match returned {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The length that a C call returned, or its error where that is negative.
fn length(returned: isize) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// Sets how many connections may wait to be accepted; std always asks for 128. The kernel cuts it
/// to `net.core.somaxconn`.
pub fn set_backlog(listener: &TcpListener, backlog: u16) -> io::Result<()> {
    // SAFETY: takes numbers only, and the descriptor is open as long as `listener` is borrowed.
    done(unsafe { listen(listener.as_raw_fd(), c_int::from(backlog)) })
}

/// Ends the listening: threads that wait in accept return with an error, as does every later accept.
pub fn stop_listening(listener: &TcpListener) {
    // SAFETY: takes numbers only, and the descriptor is open as long as `listener` is borrowed.
    unsafe { shutdown(listener.as_raw_fd(), SHUT_RD) };
}

/// Has accept return a connection when its first bytes are there, or about a second after it was
/// made (TCP_DEFER_ACCEPT in tcp(7)). Where that is not to be had, connections come at once.
pub fn defer_accept(listener: &TcpListener) {
    let (fd, seconds) = (listener.as_raw_fd(), 1);
    // SAFETY: `seconds` has the four bytes that the size promises, and outlives the call.
    unsafe { setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, 4) };
}

/// Reads what has arrived; 0 is the end. Where nothing has, the error is of kind `WouldBlock`: std
/// would need a further call for each connection to have that. As it never waits, no signal can
/// interrupt it.
pub fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let (fd, start) = (stream.as_raw_fd(), buffer.as_mut_ptr());
    // SAFETY: `start` has room for the length given, and both borrows outlive the call.
    length(unsafe { recv(fd, start, buffer.len(), MSG_DONTWAIT) })
}

/// Writes as much as there is room for, and returns how much that was. Where there is none, the
/// error is of kind `WouldBlock`; this never waits either. The end of the stream is to follow at
/// once, and leaves in the same segment (MSG_MORE in send(2)). No signal comes of a broken
/// connection: std ignores SIGPIPE.
pub fn transmit(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let (fd, start) = (stream.as_raw_fd(), bytes.as_ptr());
    // SAFETY: `start` has the length given, and both borrows outlive the call.
    length(unsafe { send(fd, start, bytes.len(), MSG_DONTWAIT | MSG_MORE) })
}

/// Waits until a descriptor is ready for `events`, at most for `timeout`, and returns whether it is.
/// An end or an error makes it ready too; room for a write is room for 4096 bytes at least. Where
/// the kernel will not even wait, it pauses.
pub fn ready(fd: &impl AsRawFd, events: c_short, timeout: Duration) -> bool {
    let mut entry = PollFd(fd.as_raw_fd(), events, 0);
    // Rounded up, so that it is over when poll says so.
    let milliseconds = (timeout + Duration::from_nanos(999_999)).as_millis() as c_int;
    // SAFETY: `entry` is the one that the count promises, and outlives the call.
    if unsafe { poll(&mut entry, 1, milliseconds) } < 0 {
        thread::sleep(timeout.min(Duration::from_millis(50)));
    }
    entry.2 != 0
}

/// Raises the soft limit of open descriptors to `wanted`, or to the hard limit where that is less,
/// and returns it.
pub fn raise_descriptor_limit(wanted: usize) -> usize {
    // The soft limit and the hard one: `struct rlimit64`.
    let mut limit = [0, 0];
    // SAFETY: `limit` is as large as that and outlives both calls; a null pointer is for none.
    unsafe {
        if prlimit(0, RLIMIT_NOFILE, ptr::null(), &mut limit) == 0 && limit[0] < wanted as u64 {
            limit[0] = limit[1].min(wanted as u64);
            prlimit(0, RLIMIT_NOFILE, &limit, ptr::null_mut());
        }
    }
    usize::try_from(limit[0]).unwrap_or(usize::MAX)
}

/// Starts a thread. Not by std, whose threads end the program where they find no memory to begin
/// with. An error where there is none for it, or where little would be left.
pub fn start_thread<Work: FnOnce() + Send + 'static>(work: Work) -> io::Result<()> {
    extern "C" fn run<Work: FnOnce()>(work: *mut u8) -> *mut u8 {
        // SAFETY: it is the box of this type that was given up for this thread alone.
        unsafe { Box::from_raw(work.cast::<Work>())() };
        ptr::null_mut()
    }
    // One at a time, so that what is left is left for each.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    probe_memory(MEMORY_TO_START)?;
    let (mut thread, mut attributes, work) = (0, [0; 16], Box::into_raw(Box::new(work)));
    // SAFETY: both places are as large as the C library's types or larger and outlive the calls,
    // attributes are set up before they are used, and `run` takes what it is given. Where no thread
    // was started the box is still this one's.
    unsafe {
        // One heap for all, with what it has in stock: glibc would give a thread one of its own at its
        // first request, and end the program where that is not to be had (M_ARENA_MAX in mallopt(3)).
        #[cfg(target_env = "gnu")]
        mallopt(M_ARENA_MAX, 1);
        pthread_attr_init(&mut attributes);
        pthread_attr_setstacksize(&mut attributes, STACK_SIZE);
        pthread_attr_setdetachstate(&mut attributes, DETACHED);
        let error = pthread_create(&mut thread, &attributes, run::<Work>, work.cast());
        pthread_attr_destroy(&mut attributes);
        if error != 0 {
            drop(Box::from_raw(work));
            return Err(io::Error::from_raw_os_error(error));
        }
    }
    Ok(())
}

/// Fails with the kernel's reason where it would not give another `size` bytes of memory now.
pub fn probe_memory(size: usize) -> io::Result<()> {
    // SAFETY: a new private mapping, at a place that the kernel chooses, overlaps nothing; nobody has
    // its address, and it is taken back whole.
    unsafe {
        let start = mmap(ptr::null_mut(), size, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
        if start as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        done(munmap(start, size))
    }
}

/// Keeps `signals` from this thread and those it starts from now on, for [`wait_for`] to take.
/// Blocked signals wait even where they are ignored (nohup) and in process 1 of a container.
pub fn block(signals: &[c_int]) -> SignalSet {
    let mut set = SignalSet([0; 16]);
    // SAFETY: `set` is large enough for the C library's type and is set up before it is used;
    // `pthread_sigmask` accepts a null pointer for the old set.
    unsafe {
        sigemptyset(&mut set);
        for signal in signals {
            sigaddset(&mut set, *signal);
        }
        pthread_sigmask(SIG_BLOCK, &set, ptr::null_mut());
    }
    set
}

/// Lets the signals of a set that [`block`] returned do what they did before.
pub fn unblock(set: &SignalSet) {
    // SAFETY: `set` was initialised by `block`; a null pointer is accepted for the old set.
    unsafe { pthread_sigmask(SIG_UNBLOCK, set, ptr::null_mut()) };
}

/// Waits, without limit, for a signal of a set that [`block`] returned.
pub fn wait_for(set: &SignalSet) -> c_int {
    let mut signal = 0;
    // SAFETY: `set` was initialised by `block`, and both pointers outlive the call.
    while unsafe { sigwait(set, &mut signal) } != 0 {}
    signal
}

/// Sends SIGTERM to this program.
pub fn ask_to_stop() {
    // SAFETY: takes numbers only.
    unsafe { kill(std::process::id() as c_int, SIGTERM) };
}

/// Closes every descriptor but the standard ones, which whoever started the program left open. Comes
/// before anything is opened here that stays open.
pub fn close_inherited() {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let folder = fs::read_dir("/proc/self/fd");
    let open = folder.map(|folder| folder.flatten().filter_map(number).collect::<Vec<c_int>>());
    for fd in open.unwrap_or_default().into_iter().filter(|fd| *fd > 2) {
        // SAFETY: nothing in this program owns a descriptor yet, but for the standard ones.
        unsafe { close(fd) };
    }
}

/// Becomes `user` and `group` for good, without supplementary groups and without a way to gain
/// privileges by starting a program, and makes sure of it.
pub fn become_user(user: u32, group: u32) -> io::Result<()> {
    let (on, off): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: these calls take numbers; with a count of 0 the pointers are not followed.
    unsafe {
        done(setgroups(0, ptr::null()))?;
        done(setgid(group))?;
        done(setuid(user))?;
        done(prctl(PR_SET_NO_NEW_PRIVS, on, off, off, off))?;
        let taken = geteuid() == user
            && getegid() == group
            && getgroups(0, ptr::null_mut()) == 0
            && prctl(PR_GET_NO_NEW_PRIVS, off, off, off, off) == 1;
        if !taken || setuid(0) == 0 {
            return Err(io::Error::new(io::ErrorKind::Other, "it did not take"));
        }
    }
    Ok(())
}
