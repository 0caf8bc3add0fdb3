//! The journal, in its own protocol (systemd.journal-fields(7), "Native Journal Protocol"): one datagram a line.

use std::{io, os::unix::net::UnixDatagram};

use tracing::Level;

use super::Line;

const SOCKET: &str = "/run/systemd/journal/socket";

/// Sends a line. Never waits: a journal that does not keep up misses it.
///
/// # Errors
/// Where there is no journal, or it is too busy.
pub(super) fn send(line: &Line) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to(entry(line).as_bytes(), SOCKET).map(drop)
}

/// `journalctl -t ci-setup-agent` shows them all, `journalctl SETUP_RUN=creation-…` those of one run. Values are one
/// line each, so the simple form of a field does.
fn entry(line: &Line) -> String {
    // syslog(3)'s numbers.
    let priority = match line.level {
        Level::ERROR => 3,
        Level::WARN => 4,
        _ => 6,
    };
    let mut text = format!("MESSAGE={}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=ci-setup-agent\n", line.text());
    text.push_str(&format!("SETUP_EVENT={}\n", line.message));
    for (name, value) in &line.fields {
        text.push_str(&format!("SETUP_{}={value}\n", name.to_ascii_uppercase()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_a_field_of_the_journal() {
        let line =
            Line { level: Level::WARN, message: "mirror failing".into(), fields: vec![("run", "creation-1".into())] };
        assert_eq!(
            entry(&line),
            "MESSAGE=mirror failing run=creation-1\nPRIORITY=4\nSYSLOG_IDENTIFIER=ci-setup-agent\n\
             SETUP_EVENT=mirror failing\nSETUP_RUN=creation-1\n"
        );
    }
}
