//! Users of this machine, and taking on their rights.
//!
//! The binary is static, and a static C library cannot look names up through NSS modules; so names are
//! read from `/etc/passwd`, and what is not there is asked of `getent`, which knows every source.

use std::{io, process::Command};

use nix::unistd::{Gid, Uid, setegid, seteuid, setgroups};

/// A user as the password database has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home folder.
    pub home: String,
}

impl User {
    /// Looks a login name up.
    pub fn named(name: &str) -> Option<Self> {
        if name.is_empty() || name.contains([':', '\n', '\0']) || name.starts_with('-') {
            return None;
        }
        let here = || lines("/etc/passwd").find_map(|line| Self::parse(&line).filter(|user| user.name == name));
        // To getent a number is a user id, which is nobody's name.
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        here().or_else(|| getent("passwd", name).filter(|_| !is_number).and_then(|line| Self::parse(&line)))
    }

    /// The login name of a user id, or the number where it has none. Asks no directory service: it is
    /// called for every process of a list.
    pub fn name_of(uid: u32) -> String {
        lines("/etc/passwd")
            .find_map(|line| Self::parse(&line).filter(|user| user.uid == uid))
            .map_or_else(|| uid.to_string(), |user| user.name)
    }

    /// The supplementary groups of `/etc/group`, the primary one first.
    pub fn groups(&self) -> Vec<u32> {
        let mut groups = vec![self.gid];
        for line in lines("/etc/group") {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, gid, members] = fields[..]
                && members.split(',').any(|member| member == self.name)
                && let Ok(gid) = gid.parse()
            {
                groups.push(gid);
            }
        }
        groups
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1)?;
        Some(Self { name: name.into(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.into() })
    }
}

fn lines(path: &str) -> impl Iterator<Item = String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn getent(database: &str, key: &str) -> Option<String> {
    let output = Command::new("/usr/bin/getent").args([database, key]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// Acts with the rights of `user` from now on, in this process alone. Root stays the real user, so that
/// [`resume_root`] can go back.
///
/// # Errors
/// Those of `setgroups(2)`, `setegid(2)` and `seteuid(2)`.
pub fn act_as(user: &User) -> io::Result<()> {
    let groups: Vec<Gid> = user.groups().into_iter().map(Gid::from_raw).collect();
    // Only root may change groups: go back first, in case this is not the first call.
    seteuid(Uid::from_raw(0))?;
    setgroups(&groups)?;
    setegid(Gid::from_raw(user.gid))?;
    seteuid(Uid::from_raw(user.uid))?;
    Ok(())
}

/// Takes root's rights again, after [`act_as`].
///
/// # Errors
/// Those of `seteuid(2)`, `setegid(2)` and `setgroups(2)`.
pub fn resume_root() -> io::Result<()> {
    seteuid(Uid::from_raw(0))?;
    setegid(Gid::from_raw(0))?;
    setgroups(&[])?;
    Ok(())
}
