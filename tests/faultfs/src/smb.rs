//! A real SMB server (Debian's samba) mounted through FUSE (Debian's smbnetfs), in a network
//! namespace of its own, so that it can have port 445 and nobody else sees it.
//!
//! Measured with Samba 4.17 and smbnetfs 0.6.3; `tests/share/samba.rs` keeps the list true:
//! what is written is on the server with the write, before fsync · writes are never short · a
//! rename over an open file, of an open file, and the removal of an open file get EBUSY, also
//! through this client's own handle · chmod and chown succeed and do nothing · links, symbolic
//! links and FIFOs are refused · inode numbers are the server's · `O_APPEND` does not work at all:
//! the client's worker dies, and the write or open fails with EIO after 4 s.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::connection::unmount;

/// Ends when stdin does, so with its parent. Without its server the kernel aborts a connection,
/// which is why killing smbnetfs frees whoever hangs on it.
const SCRIPT: &str = r#"
set -eu
ip link set lo up
smbd --foreground --configfile=smb.conf </dev/null >smbd.out 2>&1 &
smbd=$!
HOME=$PWD/home smbnetfs -f -o allow_other mount </dev/null >smbnetfs.out 2>&1 &
smbnetfs=$!
trap '{ set +e; umount -l mount; kill -9 $smbnetfs; kill $smbd; wait; } 2>/dev/null' EXIT
until [ "$(stat -c %m mount/127.0.0.1/code 2>/dev/null)" = "$PWD/mount" ] && smbclient -s smb.conf -N //127.0.0.1/code -c ls >/dev/null 2>&1; do
    kill -0 $smbd; kill -0 $smbnetfs
    sleep 0.02
done
echo ready
cat >/dev/null
"#;

/// The server, its share, and the mount.
#[derive(Debug)]
pub struct Samba {
    folder: TempDir,
    script: Child,
}

impl Samba {
    /// Starts the server and mounts its share.
    ///
    /// # Errors
    /// Without root, or without the programs (packages samba, smbclient, smbnetfs, iproute2).
    pub fn start() -> io::Result<Samba> {
        let folder = tempfile::Builder::new().prefix("faultfs-samba-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        for name in ["share", "mount", "private", "lock", "state", "cache", "pid", "rpc", "home/.smb"] {
            fs::create_dir_all(at(name))?;
        }
        fs::write(at("smb.conf"), configuration(folder.path()))?;
        fs::write(at("home/.smb/smb.conf"), "[global]\nclient min protocol = SMB2\nname resolve order = host\n")?;
        fs::write(at("home/.smb/smbnetfs.conf"), "smb_debug_level 0\nlog_level 0\n")?;
        fs::write(at("home/.smb/smbnetfs.host"), "host 127.0.0.1 visible=true\n")?;
        let secret = at("home/.smb/smbnetfs.auth");
        fs::write(&secret, "auth \"root\" \"\"\n")?;
        fs::set_permissions(secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let mut script = Command::new("unshare")
            .args(["--net", "bash", "-c", SCRIPT])
            .current_dir(folder.path())
            // smbd ends by a signal to its whole group, which must not be ours.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(script.stdout.as_mut().expect("stdout is piped")).read_line(&mut line)?;
        let samba = Samba { folder, script };
        if line == "ready\n" {
            return Ok(samba);
        }
        let said = |name: &str| fs::read_to_string(samba.folder.path().join(name)).unwrap_or_default();
        let (server, client) = (said("smbd.out"), said("smbnetfs.out"));
        Err(io::Error::other(format!("smbd said `{server}`, smbnetfs said `{client}`")))
    }

    /// The share, through the client.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount/127.0.0.1/code")
    }

    /// The share's folder on the server.
    pub fn backing(&self) -> PathBuf {
        self.folder.path().join("share")
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
        unmount(&self.folder.path().join("mount"));
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[global]
server role = standalone server
interfaces = 127.0.0.1/8
bind interfaces only = yes
disable netbios = yes
smb ports = 445
map to guest = Bad User
guest account = root
private dir = {folder}/private
lock directory = {folder}/lock
state directory = {folder}/state
cache directory = {folder}/cache
pid directory = {folder}/pid
ncalrpc dir = {folder}/rpc
log file = {folder}/smbd.log
load printers = no
printing = bsd
[code]
path = {folder}/share
guest ok = yes
read only = no
force user = root
create mask = 0777
directory mask = 0777
"
    )
}
