//! Root is given up once the ports are bound.

use std::fs;

use crate::sys;

/// Becomes `user`, which is `USER` or `USER:GROUP`, each a name or a number, for good. Without a
/// group it is the user's own in `/etc/passwd`.
pub fn give_up_root_for(user: &str) -> Result<(), String> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    // name:password:user:group:..., see passwd(5)
    let entry = look_up("/etc/passwd", name);
    let id = number(name).or_else(|| number(entry.as_ref()?.get(2)?));
    let id = id.ok_or(format!("--user {}: no such user in /etc/passwd", user))?;
    let group = match group {
        // name:password:group:..., see group(5)
        Some(group) => number(group)
            .or_else(|| number(look_up("/etc/group", group)?.get(2)?))
            .ok_or(format!("--user {}: no such group in /etc/group", user))?,
        None => entry
            .and_then(|entry| number(entry.get(3)?))
            .ok_or(format!(
                "--user {}: not in /etc/passwd, so it needs a group: {}:GROUP",
                user, user
            ))?,
    };
    if id == 0 {
        return Err(format!("--user {}: is root, which it should give up", user));
    }
    sys::become_user(id, group).map_err(|e| format!("cannot become --user {}: {}", user, e))
}

/// The fields of the line for `key`, a name or else the number in the third field.
fn look_up(file: &str, key: &str) -> Option<Vec<String>> {
    let text = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&text);
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let mut lines = text.lines().map(fields);
    lines.find(|f| f.iter().take(1).chain(f.get(2)).any(|field| field == key))
}

fn number(text: &str) -> Option<u32> {
    // The highest number means "no change" to the kernel.
    text.parse().ok().filter(|n| *n != u32::MAX)
}
