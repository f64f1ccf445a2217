//! The policy file, read whole, checked, and kept as the answer that players get.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::check::{self, Report};
use crate::log;
use crate::options::Options;

/// The largest policy file in bytes: the C server's buffer, so that each file that it could serve
/// is served.
pub const MAX_SIZE: usize = 20_480;

#[derive(Default)]
pub struct Policy {
    answer: Vec<u8>,
}

impl Policy {
    /// Reads the policy file that `options` name, and logs its warnings. An error is one line that
    /// begins with the file's name.
    pub fn read(options: &Options) -> Result<Policy, String> {
        let (mut answer, report) = check_file(options)?;
        for finding in report.findings() {
            let line = format!("{}:{}", options.policy.display(), finding);
            match report.error {
                Some(_) => return Err(line),
                None => log::line(&line),
            }
        }
        answer.push(0);
        Ok(Policy { answer })
    }

    /// The policy file and, for a request that ended in NUL, a NUL.
    pub fn answer(&self, nul: bool) -> &[u8] {
        match self.answer.split_last() {
            Some((_, file)) if !nul => file,
            _ => &self.answer,
        }
    }
}

/// The content of the policy file and what is to be said of it. An error names the file.
pub fn check_file(options: &Options) -> Result<(Vec<u8>, Report), String> {
    let path = &options.policy;
    let file = read_file(path).map_err(|e| format!("{}: error: {}", path.display(), e))?;
    let report = check::check(&file, &options.ports());
    Ok((file, report))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: the opening of a FIFO would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::Other, "not a regular file"));
    }
    let mut content = Vec::new();
    // One byte more than there may be shows that there is too much.
    let mut file = File::open(path)?.take(MAX_SIZE as u64 + 1);
    file.read_to_end(&mut content)?;
    Ok(content)
}
