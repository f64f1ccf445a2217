//! The policy file, read whole and checked.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::io::AsFd;
use std::path::Path;

use crate::check::{self, MAX_SIZE};
use crate::options::{self, Options};
use crate::sys;

/// Bytes that must be left when it is read: more than the largest one takes meanwhile.
const MEMORY: usize = 1 << 20;

/// Reads the policy file that `options` name, and returns what is to be served, with a NUL after it,
/// and the warnings. They, and an error, are lines that begin with the file's name.
pub fn read(options: &Options) -> Result<(Vec<u8>, Vec<String>), String> {
    let mut file = read_file(&options.policy)?;
    let report = check::check(&file, &options.ports());
    let line = |finding| format!("{}:{finding}", options.policy.display());
    let mut lines: Vec<String> = report.findings().into_iter().map(line).collect();
    if report.error.is_some() {
        return Err(lines.swap_remove(0));
    }
    file.truncate(check::content(&file).len());
    file.push(0);
    Ok((file, lines))
}

/// The content of the file at `path`, or of standard input for `-` and `/dev/stdin`: at most
/// [`MAX_SIZE`] bytes and one, which shows that there is too much. An error names the file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let error = |e| format!("{}: error: {e}", path.display());
    sys::probe_memory(MEMORY).map_err(error)?;
    let file = if options::is_stdin(path) {
        File::from(io::stdin().as_fd().try_clone_to_owned().map_err(error)?)
    } else {
        // A FIFO would wait for a writer; and only what is open can be no other file any more.
        let mut open = OpenOptions::new();
        let open = open.read(true).custom_flags(sys::O_NONBLOCK).open(path);
        let file = open.map_err(|e| match e.kind() {
            ErrorKind::NotFound if path == Path::new(options::POLICY_FILE) => {
                error(e) + "; --policy FILE names another"
            }
            _ => error(e),
        })?;
        if !file.metadata().map_err(error)?.is_file() {
            return Err(format!("{}: error: not a regular file", path.display()));
        }
        file
    };
    let mut content = Vec::new();
    let mut input = file.take(MAX_SIZE as u64 + 1);
    input.read_to_end(&mut content).map_err(error)?;
    Ok(content)
}
