//! Processes whose memory is locked by something that hangs.
//!
//! To put a probe into a program, or to take it out, the kernel locks the memory of each process that has the program
//! mapped, and waits for it, uninterruptibly. Meanwhile nobody on the machine can fork (`register_for_each_vma` and
//! `dup_mmap` of Linux exclude each other), the script whose steps are to be seen included. A share that hangs can
//! hold such a lock for minutes, so it is looked for before. A hang that begins between the look and the probe is not
//! seen; nor is a process that has no number here, outside a container.

use std::fs;
use std::time::Duration;

use crate::sys::aside;

/// How long a lock may be held by somebody who is merely busy.
const PATIENCE: Duration = Duration::from_millis(100);

/// A process that may have bash mapped and whose memory is locked, in words, if there is one.
pub fn process() -> Option<String> {
    // Whoever keeps such a lock for long waits in the kernel. Only these few are looked at more closely.
    let waiting: Vec<i32> = pids("/proc").filter(|pid| waits(*pid)).collect();
    if waiting.is_empty() {
        return None;
    }
    let free = aside::each(c"ci-setup:locked", &waiting, PATIENCE, is_free);
    let (pid, _) = waiting.iter().zip(free).find(|(_, free)| free.is_none())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} (`{}`)", name.trim_end()))
}

/// The numbers in a folder's listing.
fn pids(folder: &str) -> impl Iterator<Item = i32> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether one of a process's threads is in an uninterruptible wait. None of this takes the lock.
fn waits(pid: i32) -> bool {
    let Some((state, threads)) = state(&format!("/proc/{pid}/stat")) else { return false };
    let others = || pids(&format!("/proc/{pid}/task"));
    state == b'D' || threads > 1 && others().any(|thread| matches!(state_of_thread(pid, thread), Some((b'D', _))))
}

fn state_of_thread(pid: i32, thread: i32) -> Option<(u8, u32)> {
    state(&format!("/proc/{pid}/task/{thread}/stat"))
}

/// The state's letter and the number of threads; `None` for who has no memory: the kernel's own, the dead.
fn state(path: &str) -> Option<(u8, u32)> {
    let text = fs::read_to_string(path).ok()?;
    // The name before it may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // proc_pid_stat(5) counts from 1, the number and the name included: 3 the state, 20 the threads, 23 the memory.
    let (state, threads, memory) = (fields.first()?, fields.get(17)?, fields.get(20)?);
    (*memory != "0").then_some((*state.as_bytes().first()?, threads.parse().ok()?))
}

/// Returns once the lock could be taken, or need not be, because no bash is mapped there.
fn is_free(pid: i32) {
    let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return };
    // Whatever its folder is called in the eyes of that process.
    let is_bash = |line: &str| line.rsplit('/').next().is_some_and(|name| name.contains("bash"));
    if maps.lines().any(is_bash) {
        // Takes the lock as a probe does, but can be killed while it waits. All it changes is the greatest size that
        // memory ever had, by the count of the kernel, and that of a process that hangs.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}
