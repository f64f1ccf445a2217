//! The servers that are measured, each a process of its own on a core of its own, and what the
//! kernel says about them.

use std::any::Any;
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::raw::{c_int, c_long};
use std::os::unix::io::AsRawFd;
use std::process::{Child, Command, Stdio};

use crate::common::{self, Scratch, Server, BIN, POLICY};

/// The default of the project's server, given to every other one.
const BACKLOG: u16 = 4096;

const NGINX_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
    pids: Vec<u32>,
    /// Ends with the peer.
    _process: Box<dyn Any>,
}

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server on the first core, which it has for itself.
fn on_first_core(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", "chrt", "--other", "0", program]);
    command
}

/// The release binary with the shipped policy and these options more.
pub fn project(options: &[&str]) -> Server {
    let mut command = on_first_core(BIN);
    command.args(["-l", "127.0.0.1:0", "-f", POLICY]);
    Server::spawn(command.args(options))
}

/// All servers of the comparison: the floor, the floor with both options, the project's, others.
pub fn all() -> Vec<Peer> {
    let myself = std::env::current_exe().unwrap();
    let floor = |task| Server::spawn(on_first_core(myself.to_str().unwrap()).arg(task));
    let mut peers = vec![
        Peer::of("floor", floor("floor")),
        Peer::of("floor with options", floor("floor-with-options")),
        Peer::of("flash-policy-serv", project(&[])),
    ];
    if common::have("nginx") && fs::metadata(NGINX_MODULE).is_ok() {
        peers.push(nginx());
    } else {
        println!("nginx is left out: install Debian's nginx-light and libnginx-mod-stream");
    }
    if let Ok(name) = std::env::var("PEER") {
        let address: SocketAddr = name.parse().expect("PEER is not IP:PORT");
        TcpStream::connect(address).expect("PEER does not listen");
        peers.push(Peer {
            pids: listening_on(address.port()),
            name,
            address,
            _process: Box::new(()),
        });
    }
    peers
}

/// Debian's nginx with one worker, which answers with the shipped policy when it has a request.
fn nginx() -> Peer {
    let address = common::free_address();
    let scratch = Scratch::new();
    let configuration = format!(
        "load_module {NGINX_MODULE};\n\
         daemon off; master_process off; worker_processes 1; pid {};\n\
         events {{ worker_connections 4096; }}\n\
         stream {{ ssl_preread on;\n\
         server {{ listen {address} backlog={BACKLOG}; return '{}'; }} }}\n",
        scratch.path("pid").display(),
        fs::read_to_string(POLICY).unwrap()
    );
    let file = scratch.file("nginx.conf", configuration);
    let mut command = on_first_core("nginx");
    command.args(["-e", "stderr", "-c", &file]);
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    let pids = vec![child.id()];
    let nginx = Nginx(child);
    common::wait_until("nginx listens", || listening_on(address.port()) == pids);
    Peer {
        name: "nginx ssl_preread".into(),
        address,
        pids,
        _process: Box::new((nginx, scratch)),
    }
}

impl Peer {
    fn of(name: &str, server: Server) -> Peer {
        Peer {
            name: name.into(),
            address: server.address,
            pids: vec![server.pid()],
            _process: Box::new(server),
        }
    }

    pub fn cpu(&self) -> f64 {
        self.pids.iter().copied().map(cpu).sum()
    }
}

/// CPU time that a process, 0 being this one, has used so far with all its threads, user and system,
/// in microseconds.
pub fn cpu(pid: u32) -> f64 {
    extern "C" {
        fn clock_getcpuclockid(pid: c_int, clock: *mut c_int) -> c_int;
        fn clock_gettime(clock: c_int, time: *mut [c_long; 4]) -> c_int;
    }
    let (mut clock, mut time) = (0, [0; 4]);
    // SAFETY: `time` is as large as `struct timespec` or larger, and both outlive the calls.
    let failed = unsafe {
        clock_getcpuclockid(pid as c_int, &mut clock) != 0 || clock_gettime(clock, &mut time) != 0
    };
    assert!(!failed, "no CPU clock of process {pid}");
    time[0] as f64 * 1e6 + time[1] as f64 / 1e3
}

/// Nanoseconds that the threads of a process have run, and how often they were given the core.
pub fn schedule(pid: u32) -> [u64; 2] {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let figures = tasks.map(|task| {
        let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        let fields: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
        [fields[0], fields[2]]
    });
    figures.fold([0, 0], |sum, task| [sum[0] + task[0], sum[1] + task[1]])
}

/// The processes that hold a socket which listens on `port`.
fn listening_on(port: u16) -> Vec<u32> {
    let mut ss = Command::new("ss");
    let sockets = ss.args(["-Hltnp", &format!("sport = :{port}")]).output();
    let sockets = String::from_utf8(sockets.unwrap().stdout).unwrap();
    let pids = sockets.split("pid=").skip(1).flat_map(|pid| pid.split(','));
    pids.flat_map(str::parse).collect()
}

/// The smallest server there can be, in one thread: accept, read, write, close; `with_options`, the
/// kernel holds clients back until they have spoken, and answer and end leave in one segment.
pub fn floor(with_options: bool) {
    extern "C" {
        fn listen(fd: c_int, backlog: c_int) -> c_int;
        fn setsockopt(fd: c_int, level: c_int, name: c_int, at: *const c_int, size: u32) -> c_int;
        fn send(fd: c_int, bytes: *const u8, size: usize, flags: c_int) -> isize;
    }
    const IPPROTO_TCP: c_int = 6;
    const TCP_DEFER_ACCEPT: c_int = 9;
    const MSG_MORE: c_int = 0x8000;
    let mut answer = fs::read(POLICY).unwrap();
    answer.push(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (fd, second) = (listener.as_raw_fd(), 1);
    // std asks for a backlog of 128, always.
    // SAFETY: the descriptor is open, and `second` has the four bytes that the size promises.
    unsafe {
        assert_eq!(listen(fd, BACKLOG.into()), 0);
        if with_options {
            assert_eq!(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &second, 4), 0);
        }
    }
    eprintln!("floor: listening on {}", listener.local_addr().unwrap());
    let flags = if with_options { MSG_MORE } else { 0 };
    let mut request = [0; 2048];
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut request);
        // SAFETY: the pointer has the length given.
        unsafe { send(stream.as_raw_fd(), answer.as_ptr(), answer.len(), flags) };
    }
}
