//! The policy file, read whole, checked, and kept as the answer that players get.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::check::{self, MAX_SIZE};
use crate::log;
use crate::options::Options;

/// The policy file, with a NUL after it.
#[derive(Default)]
pub struct Policy(Vec<u8>);

impl Policy {
    /// Reads the policy file that `options` name, and logs its warnings. An error is one line that
    /// begins with the file's name.
    pub fn read(options: &Options) -> Result<Policy, String> {
        let mut file = read_file(&options.policy)?;
        let report = check::check(&file, &options.ports());
        for finding in report.findings() {
            let line = format!("{}:{finding}", options.policy.display());
            match report.error {
                Some(_) => return Err(line),
                None => log::line(&line),
            }
        }
        file.truncate(check::content(&file).len());
        file.push(0);
        Ok(Policy(file))
    }

    /// The policy file and, for a request that ended in NUL, a NUL.
    pub fn answer(&self, nul: bool) -> &[u8] {
        let file = self.0.strip_suffix(b"\0").filter(|_| !nul);
        file.unwrap_or(&self.0)
    }
}

/// The content of the file at `path`, at most [`MAX_SIZE`] bytes and one, which shows that there is
/// too much; that of standard input for `-` and `/dev/stdin`. An error names the file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let error = |e| format!("{}: error: {e}", path.display());
    let mut content = Vec::new();
    if path == Path::new("-") || path == Path::new("/dev/stdin") {
        let mut input = io::stdin().take(MAX_SIZE as u64 + 1);
        input.read_to_end(&mut content).map_err(error)?;
        return Ok(content);
    }
    // Before it is opened: the opening of a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(error)?.is_file() {
        return Err(format!("{}: error: not a regular file", path.display()));
    }
    let mut file = File::open(path).map_err(error)?.take(MAX_SIZE as u64 + 1);
    file.read_to_end(&mut content).map_err(error)?;
    Ok(content)
}
