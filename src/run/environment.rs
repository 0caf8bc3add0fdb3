//! The script's environment, made from scratch (CONTRACT 4).

use std::{
    collections::BTreeMap,
    ffi::{CString, OsStr, OsString},
    fs,
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

use crate::request::Identity;

/// Names and values, as `execve(2)` will get them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, OsString>);

/// `PATH` where the machine sets none: root's, as Debian's login has it, and `/snap/bin` as Ubuntu's.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin";

const MACHINE: &str = "/etc/environment";
const BEGIN: &str = "# BEGIN ci-setup-agent (written before each setup script; removed by purge)";
const END: &str = "# END ci-setup-agent";

/// What the environment is made of, besides the machine's own.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The instance.
    pub identity: &'a Identity,
    /// Its ordinary user.
    pub user: &'a str,
    /// `[environment]` of the config file.
    pub configured: &'a BTreeMap<String, String>,
    /// The value of `CI_SETUP_RUN`, by which the run's processes are known when nobody is left who
    /// started them.
    pub token: &'a str,
    /// The file that `APT_CONFIG` names.
    pub apt_config: Option<&'a Path>,
    /// `HOME`, and the name behind `USER` and `LOGNAME`.
    pub home: &'a str,
    /// The login name of who the script runs as.
    pub login: &'a str,
}

impl Environment {
    /// The environment of a script on this machine.
    pub fn of_script(parts: &Parts<'_>) -> Self {
        let machine = fs::read(MACHINE).unwrap_or_default();
        let mut all = parse_machine(&machine);
        for (name, value) in
            [("HOME", parts.home), ("USER", parts.login), ("LOGNAME", parts.login), ("SHELL", "/bin/bash")]
        {
            all.insert(name.into(), value.into());
        }
        for (name, value) in [("PATH", PATH), ("LANG", "C.UTF-8")] {
            all.entry(name.into()).or_insert_with(|| value.into());
        }
        all.insert("DEBIAN_FRONTEND".into(), "noninteractive".into());
        if let Some(path) = parts.apt_config {
            all.insert("APT_CONFIG".into(), path.into());
        }
        all.extend(instance_variables(parts.identity, parts.user).map(|(name, value)| (name, value.into())));
        all.extend(parts.configured.iter().map(|(name, value)| (name.clone(), value.into())));
        all.insert(TOKEN.into(), parts.token.into());
        Self(all)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// As `execve(2)` takes it. What holds a NUL byte cannot be passed on and is left out.
    pub fn to_exec(&self) -> Vec<CString> {
        let word = |(name, value): (&String, &OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
        self.0.iter().filter_map(|variable| CString::new(word(variable)).ok()).collect()
    }
}

/// The variable that marks the run's processes; sudo keeps it as it keeps every `CI_*`.
pub const TOKEN: &str = "CI_SETUP_RUN";

/// The variables that the service promises to scripts, and the one that its own sample uses.
fn instance_variables(identity: &Identity, user: &str) -> [(String, String); 5] {
    [
        ("CI_RESOURCE_GROUP", identity.resource_group()),
        ("CI_WORKSPACE", identity.workspace()),
        ("CI_NAME", identity.name()),
        ("CI_LOCAL_UBUNTU_USER", user),
        ("ADMIN_USERNAME", user),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Reads `/etc/environment` as `pam_env(8)` does: no expansion, a `#` ends the line wherever it stands, a
/// backslash at the very end of a line joins the next one to it, one level of quotes is taken off, a name alone
/// deletes the variable.
fn parse_machine(text: &[u8]) -> BTreeMap<String, OsString> {
    let mut all = BTreeMap::new();
    for line in joined(text) {
        let line = line.strip_prefix(b"export ").unwrap_or(&line);
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(equals) => (&line[..equals], Some(&line[equals + 1..])),
            None => (line, None),
        };
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| name.bytes().all(|byte| is_name(&byte))) else {
            continue;
        };
        match value {
            _ if name.is_empty() => continue,
            Some(value) => all.insert(name.to_owned(), OsStr::from_bytes(unquoted(value)).to_owned()),
            None => all.remove(name),
        };
    }
    all
}

/// The lines of the file without their comments; those that end in a backslash together with the next one.
/// After the last line, such a backslash makes pam_env drop the line.
fn joined(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut begun: Vec<u8> = Vec::new();
    for line in text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n') {
        let from = if begun.is_empty() {
            line.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(line.len())
        } else {
            0
        };
        let line = &line[from..];
        let comment = line.iter().position(|byte| *byte == b'#');
        let code = &line[..comment.unwrap_or(line.len())];
        match code.strip_suffix(b"\\") {
            Some(part) if comment.is_none() => begun.extend_from_slice(part),
            Some(_) | None => {
                begun.extend_from_slice(code);
                lines.push(std::mem::take(&mut begun));
            }
        }
    }
    lines
}

/// A value that begins with a quote loses that quote, and one at its very end. No more: pam_env does not
/// ask whether the two match.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"' | b'\'', rest @ .., b'"' | b'\''] | [b'"' | b'\'', rest @ ..] => rest,
        _ => value,
    }
}

/// Puts the `CI_*` variables where login shells, cron jobs and `sudo -i` find them: in a marked block of
/// `/etc/environment`, replaced atomically, and only where it says something else (CONTRACT 4).
///
/// # Errors
/// Those of the disk; the file is then as it was.
pub fn publish(identity: &Identity, user: &str) -> io::Result<()> {
    let old = match fs::read(MACHINE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        result => result?,
    };
    let new = with_block(&old, &block(identity, user));
    if new == old {
        return Ok(());
    }
    // The file may be a link (to /etc/default/…): what it names is replaced, not the link.
    let path = fs::canonicalize(MACHINE).unwrap_or_else(|_| MACHINE.into());
    let (mode, owner) = match fs::metadata(&path) {
        Ok(meta) => (meta.mode() & 0o7777, Some((meta.uid(), meta.gid()))),
        Err(_) => (0o644, None),
    };
    // Complete, with its rights, before it is there: a login at this moment reads it, too.
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".environment-").tempfile_in(folder)?;
    file.write_all(&new)?;
    if let Some((user, group)) = owner {
        std::os::unix::fs::fchown(file.as_file(), Some(user), Some(group))?;
    }
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_data()?;
    file.persist(&path)?;
    fs::File::open(folder)?.sync_all()
}

fn block(identity: &Identity, user: &str) -> String {
    let lines: String = instance_variables(identity, user)
        .into_iter()
        .filter(|(name, _)| name.starts_with("CI_"))
        .map(|(name, value)| format!("{name}=\"{value}\"\n"))
        .collect();
    format!("{BEGIN}\n{lines}{END}\n")
}

/// The text with our block in place of an earlier one, or at its end.
fn with_block(old: &[u8], block: &str) -> Vec<u8> {
    let mut new = Vec::new();
    let mut inside = false;
    let mut placed = false;
    for line in old.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        if text == BEGIN.as_bytes() {
            inside = true;
            if !placed {
                new.extend_from_slice(block.as_bytes());
                placed = true;
            }
        } else if inside && text == END.as_bytes() {
            inside = false;
        } else if !(inside && text.starts_with(b"CI_")) {
            // Whoever took the last line of the block away did not mean to lose what follows.
            inside = false;
            new.extend_from_slice(line);
        }
    }
    if !placed {
        if new.last().is_some_and(|byte| *byte != b'\n') {
            new.push(b'\n');
        }
        new.extend_from_slice(block.as_bytes());
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::new("my-rg", "my-ws", "ci-1").unwrap()
    }

    #[test]
    fn the_machines_variables_are_read_as_pam_reads_them() {
        let text = b"A=1\nexport B=\"two words\"\n  C='x' # comment\n#D=no\nE=a#b\nF-G=bad\nH=\nI\nJ=say \"hi\"\nA=2\nB\n=x\n\
            K='it''s\"\nL=1\\\n  2\nM=\xff\r\n  \\\nN=\"1\\\n2\"\nO=1#\\\nP=\"\nQ=\\\\\n3\n\xc3\xa9=1\nexport  R=1\nS=end\\";
        let expected: [(&str, &[u8]); 12] = [
            ("A", b"2"),
            ("C", b"x' "),
            ("E", b"a"),
            ("H", b""),
            ("J", b"say \"hi\""),
            ("K", b"it''s"),
            ("L", b"1  2"),
            ("M", b"\xff\r"),
            ("N", b"12"),
            ("O", b"1"),
            ("P", b""),
            ("Q", b"\\3"),
        ];
        let all = parse_machine(text);
        let found: Vec<(&str, &[u8])> = all.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_block_is_added_once_and_replaced_when_the_identity_changes() {
        let first = with_block(b"PATH=\"/bin\"", &block(&identity(), "azureuser"));
        let text = String::from_utf8(first.clone()).unwrap();
        assert!(text.starts_with("PATH=\"/bin\"\n# BEGIN ci-setup-agent"), "{text}");
        assert!(text.contains("\nCI_NAME=\"ci-1\"\n"), "{text}");
        assert_eq!(with_block(&first, &block(&identity(), "azureuser")), first);

        let other = Identity::new("my-rg", "my-ws", "ci-2").unwrap();
        let second =
            String::from_utf8(with_block(&[&first[..], b"LAST=1\n"].concat(), &block(&other, "azureuser"))).unwrap();
        assert!(second.contains("CI_NAME=\"ci-2\"") && !second.contains("ci-1"), "{second}");
        assert!(second.ends_with("END ci-setup-agent\nLAST=1\n"), "{second}");
        assert_eq!(second.matches("BEGIN").count(), 1);
    }

    #[test]
    fn the_scripts_environment_is_made_from_scratch() {
        let configured = BTreeMap::from([("MLFLOW_TRACKING_URI".to_owned(), "azureml://x".to_owned())]);
        let identity = identity();
        let environment = Environment::of_script(&Parts {
            identity: &identity,
            user: "azureuser",
            configured: &configured,
            token: "creation-1.abc",
            apt_config: None,
            home: "/root",
            login: "root",
        });
        for (name, value) in [
            ("HOME", "/root"),
            ("CI_NAME", "ci-1"),
            ("ADMIN_USERNAME", "azureuser"),
            ("MLFLOW_TRACKING_URI", "azureml://x"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ] {
            assert_eq!(environment.get(name), Some(OsStr::new(value)), "{name}");
        }
        assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok() && environment.get("CARGO_MANIFEST_DIR").is_none());
    }
}
