//! Static binaries for 32-bit ARM and little-endian MIPS, built by Debian's rustc and run by qemu.
//! `.ci/cross-toolchains` fetches what they need.

mod common;

use common::*;
use std::fs;
use std::process::Command;

/// Builds for a machine and has its server do all that it does in a day.
fn works_on(architecture: &str, target: &str, linker: &str, emulator: &str) {
    let library = format!("{}/target/cross/{}/usr", ROOT, architecture);
    // Said with its folder if there is one for that machine.
    let mut start_file = Command::new(linker);
    let start_file = start_file.arg("-print-file-name=crt1.o").output();
    let has_libc = start_file.map_or(false, |o| o.stdout.starts_with(b"/"));
    let with_libc = format!("{} with its C library", linker);
    for (there, what) in [
        (has_libc, with_libc.as_str()),
        (have(emulator), emulator),
        (
            fs::metadata(&library).is_ok(),
            "what .ci/cross-toolchains fetches",
        ),
    ] {
        if !there {
            return skip(&format!("needs {}", what));
        }
    }
    if !many_descriptors() {
        return;
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let rustc = format!("RUSTC=/usr/bin/rustc --sysroot {}", library);
    let (target, linker) = (format!("TARGET={}", target), format!("LINKER={}", linker));
    assert_eq!(make(&source, &["static", &rustc, &target, &linker]), "");

    let policy = scratch.file("policy.xml", NARROW);
    let mut command = Command::new(emulator);
    command.arg(source.join("target/flash-policy-serv"));
    command.args(["-l", "127.0.0.1:0", "-t", "60", "-f", &policy]);
    let mut server = Server::spawn(&mut command);
    assert_eq!(
        ask(server.address, REQUEST).unwrap(),
        format!("{}\0", NARROW).as_bytes()
    );

    let second = NARROW.replace("5222", "8000");
    fs::write(&policy, &second).unwrap();
    server.signal("HUP");
    server.expect("in service");
    assert_eq!(
        ask(server.address, REQUEST).unwrap(),
        format!("{}\0", second).as_bytes()
    );
    assert_eq!(ask(server.address, b"GET / HTTP/1.0\r\n\r\n").unwrap(), b"");
    fs::write(&policy, "<policy>").unwrap();
    server.signal("HUP");
    server.expect("error: ");

    // As many silent clients as there may be: a thread for each in 32 bits of address.
    let silent: Vec<_> = (0..1000).map(|_| connect(server.address)).collect();
    server.wait_for_counter("open", 1000);
    assert_eq!(
        ask(server.address, REQUEST).unwrap(),
        format!("{}\0", second).as_bytes()
    );
    drop(silent);
    server.wait_for_counter("open", 0);
    let counters = server.stop();
    let counts = ["answered", "refused", "evicted", "failed", "reloads"].map(|name| counters[name]);
    // The silent clients end without a request, and none gave way for the one who was answered.
    assert_eq!(counts, [3, 1001, 0, 0, 1]);
}

#[test]
fn works_on_arm() {
    let linker = "arm-linux-gnueabihf-gcc";
    works_on(
        "armhf",
        "armv7-unknown-linux-gnueabihf",
        linker,
        "qemu-arm-static",
    );
}

#[test]
fn works_on_mips() {
    let linker = "mipsel-linux-gnu-gcc";
    works_on(
        "mipsel",
        "mipsel-unknown-linux-gnu",
        linker,
        "qemu-mipsel-static",
    );
}
