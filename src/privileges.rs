//! Whom to become when root is given up.

use std::ffi::OsStr;
use std::fs;

/// A user and a group by their numbers.
pub type User = (u32, u32);

/// Looks up `USER` or `USER:GROUP`, each a name or a number; else the group is the user's own.
/// Neither may be root's. An error names the option and what was given.
pub fn user(option: &str, given: &OsStr) -> Result<User, String> {
    let text = given.to_string_lossy();
    let (user, group) = text.split_once(':').unwrap_or((&text, ""));
    // name:password:user:group:..., see passwd(5) and group(5)
    let id = number(user).or_else(|| look_up("/etc/passwd", user, 2));
    let gid = match text.contains(':') {
        true => number(group).or_else(|| look_up("/etc/group", group, 2)),
        false => look_up("/etc/passwd", user, 3),
    };
    let wrong = match (id, gid) {
        (None, _) => format!("no user {user:?} in /etc/passwd"),
        (Some(0), _) => "is root, which it should give up".into(),
        (_, Some(0)) => format!("group 0 is root's: write {user}:GROUP with another"),
        (_, None) if text.contains(':') => format!("no group {group:?} in /etc/group"),
        (_, None) => format!("not in /etc/passwd, so it needs a group: write {user}:GROUP"),
        (Some(id), Some(group)) => return Ok((id, group)),
    };
    Err(format!("{option} {given:?}: {wrong}"))
}

/// The number in a field of the line for `key`, a name or else the number in the third field.
fn look_up(file: &str, key: &str, field: usize) -> Option<u32> {
    let bytes = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| [fields.first(), fields.get(2)].contains(&Some(&key)))?;
    number(line.get(field)?)
}

/// The highest number means "no change" to the kernel.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}
