//! The static binary, alone in a root and as process 1, as the container file has it.

mod common;

use common::*;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Follows the container file in an empty folder; returns its user, entry point and health check.
fn image(source: &Path, root: &Path) -> [String; 3] {
    let file = fs::read_to_string(source.join("src/Containerfile")).unwrap();
    let line = |start: &str| {
        let line = file.lines().find(|line| line.starts_with(start)).unwrap();
        let rest = line
            .rsplit(" CMD ")
            .next()
            .unwrap()
            .trim_start_matches(start);
        rest.replace(&['[', ']', '"', ','][..], "")
            .trim()
            .to_owned()
    };
    assert!(file.contains("\nFROM scratch\n") && file.contains("\nEXPOSE 843\n"));
    for copy in file.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let (from, to) = copy.split_once(' ').unwrap();
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(source.join(from), to).unwrap();
    }
    [line("USER "), line("ENTRYPOINT "), line("HEALTHCHECK ")]
}

#[test]
fn alone_in_a_container() {
    if !is_root() || !have("ip") || !have("busybox") {
        return skip("needs root, ip and busybox to make namespaces");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    make(&source, &["static"]);
    let root = scratch.path("root");
    let [user, entry, health] = image(&source, &root);
    let root = root.into_os_string().into_string().unwrap();
    on_machine(
        include_str!("static/container.sh"),
        &[&root, &user, &entry, &health],
    );
}

#[test]
fn static_with_musl_is_small() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let musl = "test -d \"$(rustc --print target-libdir --target x86_64-unknown-linux-musl)\"";
    if !Command::new("sh")
        .args(["-c", musl])
        .status()
        .unwrap()
        .success()
    {
        return skip("needs rustc's target x86_64-unknown-linux-musl");
    }
    make(&source, &["static"]);
    let size = fs::metadata(source.join("target/flash-policy-serv"))
        .unwrap()
        .len();
    assert!(size <= 510_000, "{} bytes", size);
}

#[test]
fn static_without_musl() {
    if !Path::new("/usr/bin/rustc").exists() {
        return skip("needs Debian's rustc");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let warnings = make(&source, &["static", "RUSTC=/usr/bin/rustc"]);
    assert_eq!(warnings, "");
    let policy = format!("--policy={}", POLICY);
    let mut command = Command::new(source.join("target/flash-policy-serv"));
    let server = Server::spawn(command.args(["-l", "127.0.0.1:0", &policy]));
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
    assert!(!maps.contains(".so"), "{}", maps);
}
