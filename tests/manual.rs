//! The man pages: without fault, and with the options that the programs have.

mod common;

use common::*;
use std::collections::BTreeSet;
use std::process::Command;

/// What a program writes to standard output.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(ROOT)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{:?}: {}{}",
        arguments,
        said,
        errors
    );
    said
}

/// The options that a text lists with their values: of each line that begins with one, what stands
/// before a wide gap. A gap of one blank after a long option parts it from its value.
fn options(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'));
    lines
        .map(|line| line.split("  ").next().unwrap().to_lowercase())
        .collect()
}

fn agrees(page: &str, help: &str) {
    if !have("mandoc") {
        return skip("needs mandoc");
    }
    assert_eq!(output("mandoc", &["-T", "lint", "-W", "warning", page]), "");
    let manual = output("mandoc", &["-T", "ascii", "-O", "width=200", page]);
    // Bold and underline are written by going back and over.
    let mut plain = String::new();
    for character in manual.chars() {
        if character == '\u{8}' {
            plain.pop();
        } else {
            plain.push(character);
        }
    }
    let (of_manual, of_help) = (options(&plain), options(help));
    assert!(of_help.len() > 5);
    assert_eq!(of_manual, of_help);
}

#[test]
fn the_server_has_the_options_of_its_manual() {
    agrees("src/flash-policy-serv.8", &output(BIN, &["--help"]));
}

#[test]
fn the_nat_helper_has_the_options_of_its_manual() {
    agrees(
        "src/flash-policy-nat.8",
        &output("sh", &["src/flash-policy-nat", "--help"]),
    );
}
