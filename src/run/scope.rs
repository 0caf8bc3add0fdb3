//! A systemd scope of the run's own, so that neither the service nor the session that called the agent
//! takes the script, or what it leaves running, with it at its end (CONTRACT 5).

use std::{path::Path, time::Duration};

use rustbus::{
    RpcConn, connection::Timeout, message_builder::MarshalledMessage, message_builder::MessageBuilder,
    standard_messages,
};

use crate::sys::aside::{self, Answer};

rustbus::dbus_variant_sig!(Property, Text => String; Flag => bool; Number => u64; Pids => Vec<u32>; Units => Vec<String>);

/// How long systemd may take; it usually takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Moves the processes `pids` into a new scope named `name`. Does nothing where systemd is not the init.
///
/// # Errors
/// What systemd or its bus answered, as one line; nothing has moved then.
pub fn enter(name: &str, pids: &[u32]) -> Result<(), String> {
    // The documented test for "systemd runs this machine", sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    // Aside: a bus that hangs does so already when it greets.
    let job = || (try_enter(&format!("{name}.scope"), pids).map_err(|error| crate::error::one_line(&error)), None);
    match aside::ask(c"ci-setup:scope", Some(PATIENCE), None, job) {
        Ok(Answer::Done(result, _)) => result,
        Ok(Answer::TooLate) => Err(format!("systemd has not answered within {PATIENCE:?}")),
        Ok(Answer::StopAsked | Answer::Died) => Err("the process that asked systemd died".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn try_enter(unit: &str, pids: &[u32]) -> Result<(), String> {
    let patience = Timeout::Duration(PATIENCE);
    let problem = |what: &str| {
        let what = what.to_owned();
        move |error: &dyn std::fmt::Debug| format!("{what}: {error:?}")
    };
    let mut bus = RpcConn::system_conn(patience).map_err(|error| problem("no bus")(&error))?;
    let mut ask = |mut call: MarshalledMessage| -> Result<MarshalledMessage, String> {
        let serial = bus.send_message(&mut call).map_err(|error| problem("cannot ask")(&error))?;
        let serial = serial.write_all().map_err(|(_, error)| problem("cannot ask")(&error))?;
        let answer = bus.wait_response(serial, patience).map_err(|error| problem("no answer")(&error))?;
        match answer.typ {
            rustbus::MessageType::Error => {
                Err(answer.body.parser().get::<String>().unwrap_or_else(|_| "refused".into()))
            }
            _ => Ok(answer),
        }
    };
    let rule = "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
    ask(standard_messages::add_match(rule))?;
    let answer = ask(start_transient_unit(unit, pids)?)?;
    let job: rustbus::wire::ObjectPath<String> =
        answer.body.parser().get().map_err(|error| problem("odd answer")(&error))?;
    loop {
        let signal = bus.wait_signal(patience).map_err(|error| problem("no end of the job")(&error))?;
        let mut body = signal.body.parser();
        let ended = body.get2::<u32, rustbus::wire::ObjectPath<String>>();
        if signal.dynheader.member.as_deref() == Some("JobRemoved")
            && let Ok((_, ended)) = ended
            && ended.as_ref() == job.as_ref()
        {
            let (_, result) = body.get2::<String, String>().map_err(|error| problem("odd answer")(&error))?;
            return if result == "done" { Ok(()) } else { Err(format!("the job ended as `{result}`")) };
        }
    }
}

fn start_transient_unit(unit: &str, pids: &[u32]) -> Result<MarshalledMessage, String> {
    let mut call = MessageBuilder::new()
        .call("StartTransientUnit")
        .with_interface("org.freedesktop.systemd1.Manager")
        .on("/org/freedesktop/systemd1")
        .at("org.freedesktop.systemd1")
        .build();
    let mut properties: Vec<(String, Property)> = vec![
        ("Description".into(), Property::Text("setup script of the compute instance".into())),
        ("PIDs".into(), Property::Pids(pids.to_vec())),
        // The caller's service or session is what limits the number of processes without us.
        ("TasksMax".into(), Property::Number(u64::MAX)),
        // A leaf for the script is made below the scope. For such a scope systemd does not end everybody
        // when the kernel has killed one for want of memory.
        ("Delegate".into(), Property::Flag(true)),
        // Nothing is to be kept of a scope in which a process failed.
        ("CollectMode".into(), Property::Text("inactive-or-failed".into())),
    ];
    // At a shutdown units stop in the reverse of this order: first the caller, who ends the script and records it, then
    // the scope. Both at once, and a script that ends itself nicely would count as one that has succeeded.
    if let Some(caller) = calling_unit() {
        properties.push(("Before".into(), Property::Units(vec![caller])));
    }
    let auxiliary: Vec<(String, Vec<(String, Property)>)> = Vec::new();
    let marshal = |error| format!("cannot marshal: {error:?}");
    call.body.push_param2(unit, "fail").map_err(marshal)?;
    call.body.push_param2(&properties, &auxiliary).map_err(marshal)?;
    Ok(call)
}

/// The service or session scope that this process was started in.
fn calling_unit() -> Option<String> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    // Version 2 is `0::/path`. A hybrid machine has its units in systemd's own hierarchy, and in a container
    // either may be somebody else's.
    let paths = cgroups.lines().filter_map(|line| line.split_once("::").or(line.split_once(":name=systemd:")));
    let mut units = paths
        .filter_map(|(_, path)| path.rsplit('/').find(|name| name.ends_with(".service") || name.ends_with(".scope")));
    units.next().map(str::to_owned)
}
