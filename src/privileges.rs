//! Root is given up once the ports are bound.

use std::fs;

use crate::sys;

/// Becomes `user`, which is `USER` or `USER:GROUP`, each a name or a number, for good. Without a
/// group it is the user's own in `/etc/passwd`.
pub fn give_up_root_for(user: &str) -> Result<(), String> {
    let parts = user.split_once(':');
    let name = parts.map_or(user, |(name, _)| name);
    // name:password:user:group:..., see passwd(5) and group(5)
    let id = number(name).or_else(|| look_up("/etc/passwd", name, 2));
    let id = id.ok_or(format!("--user {user}: no such user in /etc/passwd"))?;
    let own = format!("--user {user}: not in /etc/passwd, so it needs a group: {user}:GROUP");
    let group = match parts {
        None => look_up("/etc/passwd", name, 3).ok_or(own)?,
        Some((_, group)) => number(group)
            .or_else(|| look_up("/etc/group", group, 2))
            .ok_or(format!("--user {user}: no such group in /etc/group"))?,
    };
    if id == 0 {
        return Err(format!("--user {user}: is root, which it should give up"));
    }
    sys::become_user(id, group).map_err(|e| format!("cannot become --user {user}: {e}"))
}

/// The number in a field of the line for `key`, a name or else the number in the third field.
fn look_up(file: &str, key: &str, field: usize) -> Option<u32> {
    let text = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|f| [f.first(), f.get(2)].contains(&Some(&key)))?;
    number(line.get(field)?)
}

fn number(text: &str) -> Option<u32> {
    // The highest number means "no change" to the kernel.
    text.parse()
        .ok()
        .filter(|n| *n != u32::MAX && !text.starts_with('+'))
}
