//! The servers that are measured, each a process of its own on a core of its own, and what the
//! kernel says about them.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::raw::c_int;
use std::os::unix::io::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::common::{self, Scratch, Server, BIN, POLICY};

/// The default of the project's server, given to every other one.
const BACKLOG: u16 = 4096;

const NGINX_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
    pids: Vec<u32>,
    _process: Process,
}

/// Ends with the value.
#[allow(dead_code)]
enum Process {
    Server(Server),
    Nginx(Nginx),
    /// Runs already, and goes on.
    Foreign,
}

struct Nginx(Child, #[allow(dead_code)] Scratch);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `program` on one core, the first for servers and the second for clients, with as many
/// descriptors as are allowed.
pub fn on_core(core: usize, program: &str) -> Command {
    let cores = thread::available_parallelism().map_or(1, |n| n.get());
    let mut command = Command::new("sh");
    let script = "ulimit -n \"$(ulimit -H -n)\"; core=$1; shift; exec taskset -c \"$core\" \"$@\"";
    command.args([
        "-c",
        script,
        "sh",
        &core.min(cores - 1).to_string(),
        program,
    ]);
    command
}

/// This executable, started again for the clients. As a batch, so that one that gets its answer does
/// not push aside another between its connect and its request, which share no core in real life.
pub fn clients() -> Command {
    let mut command = on_core(1, "chrt");
    command
        .args(["--batch", "0"])
        .arg(std::env::current_exe().unwrap())
        .arg("clients");
    command
}

/// All servers of the comparison: the floor, the floor with both options, the project's, others.
pub fn all() -> Vec<Peer> {
    let myself = std::env::current_exe().unwrap();
    let floor = |name| Server::spawn(on_core(0, myself.to_str().unwrap()).arg(name));
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
    if let Some(peer) = std::env::var_os("PEER") {
        let peer = peer.to_string_lossy().into_owned();
        let address = peer
            .parse()
            .unwrap_or_else(|_| panic!("PEER={}: not IP:PORT", peer));
        peers.push(Peer {
            name: peer,
            address,
            pids: listening_on(address.port()),
            _process: Process::Foreign,
        });
    }
    peers
}

/// The release binary with the shipped policy and these options more.
pub fn project(options: &[&str]) -> Server {
    let mut command = on_core(0, BIN);
    command
        .args(["-l", "127.0.0.1:0", "-f", POLICY])
        .args(options);
    Server::spawn(&mut command)
}

/// Debian's nginx with one worker, which answers with the shipped policy.
fn nginx() -> Peer {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let scratch = Scratch::new();
    let policy = fs::read_to_string(POLICY).unwrap();
    let configuration = format!(
        "load_module {};\n\
         daemon off; master_process off; worker_processes 1; pid {};\n\
         events {{ worker_connections 4096; }}\n\
         stream {{ server {{ listen {} backlog={}; ssl_preread on; return '{}'; }} }}\n",
        NGINX_MODULE,
        scratch.path("pid").display(),
        address,
        BACKLOG,
        policy
    );
    let file = scratch.file("nginx.conf", configuration);
    let mut command = on_core(0, "nginx");
    command.args(["-e", "stderr", "-c", &file]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pids = vec![child.id()];
    let process = Process::Nginx(Nginx(child, scratch));
    common::wait_until("nginx listens", || !listening_on(address.port()).is_empty());
    Peer {
        name: "nginx ssl_preread".to_owned(),
        address,
        pids,
        _process: process,
    }
}

impl Peer {
    fn of(name: &str, server: Server) -> Peer {
        Peer {
            name: name.to_owned(),
            address: server.address,
            pids: vec![server.pid()],
            _process: Process::Server(server),
        }
    }

    pub fn cpu(&self) -> f64 {
        self.pids.iter().map(cpu).sum()
    }
}

/// CPU time that a process has used so far with all its threads and children that ended, user and
/// system, in microseconds; the kernel shows ticks of 10 ms.
pub fn cpu(pid: impl std::fmt::Display) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid)).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields = after_name.split(' ').skip(11).take(4);
    let ticks = fields.map(|field| field.parse().unwrap_or(0.0));
    ticks.sum::<f64>() * 10_000.0
}

/// The processes that hold a socket which listens on `port`.
fn listening_on(port: u16) -> Vec<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let tables = tables.map(Result::unwrap_or_default).concat();
    let sockets = tables.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let here = fields[1].ends_with(&format!(":{:04X}", port)) && fields[3] == "0A";
        here.then(|| format!("socket:[{}]", fields[9]))
    });
    let sockets: Vec<_> = sockets.collect();
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{}/fd", pid))
            .into_iter()
            .flatten()
            .flatten();
        let mut names = files.filter_map(|file| fs::read_link(file.path()).ok());
        names.any(|name| {
            sockets
                .iter()
                .any(|socket| name.as_os_str() == socket.as_str())
        })
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|p| p.file_name().to_str()?.parse().ok());
    pids.filter(holds).collect()
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
            setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &second, 4);
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

/// Nanoseconds that the threads of a process have run, and how often they were given the core.
pub fn schedule(pid: u32) -> (u64, u64) {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid))
        .unwrap()
        .flatten();
    let figures = tasks.map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap();
        let fields: Vec<u64> = text
            .split_whitespace()
            .map(|f| f.parse().unwrap())
            .collect();
        (fields[0], fields[2])
    });
    figures.fold((0, 0), |sum, task| (sum.0 + task.0, sum.1 + task.1))
}
