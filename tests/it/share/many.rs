//! Many instances on one share.

use std::fs;

use faultfs::{Ops, Options};
use serde_json::Value;

use super::bench::{Bench, SHARE};
use crate::support::{Cgroups, Place, Room};

#[test]
fn a_hundred_agents_on_one_share_all_leave_complete_logs() {
    const AGENTS: usize = 100;
    // One machine plays many, which would share the names of their cgroups.
    let bench = Bench::within(Room::with_cgroups("bookworm", Cgroups::None), Options::like_smb());
    bench.inline("for i in {1..40}; do echo $CI_NAME $i; sleep 0.1; done; head -c 300000 /dev/urandom; exit 3", "100s");
    let call = |number: usize| {
        let mut arguments = vec!["ci-setup-agent", "run", "/root/request.json", "--quiet", "--share", SHARE];
        arguments.extend(["--flush-wait", "100s"]);
        arguments.extend(["--resource-group", "rg", "--workspace", "wks", "--steps", "off"]);
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        arguments.extend([format!("--name=ci-n{number}"), format!("--state=/var/lib/agent-{number}")]);
        bench.room.call(arguments).spawn()
    };
    let agents: Vec<_> = (0..AGENTS).map(call).collect();
    for (number, agent) in agents.into_iter().enumerate() {
        let ran = agent.wait();
        assert_eq!(ran.code, 3, "{number}: {}", ran.stderr);
    }
    let mut most = 0;
    for number in 0..AGENTS {
        let runs = bench.room.path(format!("/var/lib/agent-{number}/runs"));
        let local = fs::read_dir(runs).expect("runs").flatten().next().expect("a run").path();
        let outcome: Value = serde_json::from_slice(&fs::read(local.join("outcome.json")).expect("it")).expect("JSON");
        assert_eq!(outcome["output"]["mirror"], "current", "{number}: {outcome:#}");
        let folder = outcome["output"]["mirrorPath"].as_str().expect("a path");
        assert!(folder.starts_with(&format!("Logs/ci-n{number}/creation/")), "{folder}");
        let copy = fs::read(bench.share.backing().join(folder).join("output.log")).expect("a copy");
        assert!(copy == fs::read(local.join("output.log")).expect("the log"), "{number}");
        let writes = bench.share.counts_under(format!("Logs/ci-n{number}")).of(Ops::WRITE);
        // Two a second, and at the begin and end the documents.
        let seconds = outcome["elapsedSeconds"].as_f64().expect("seconds");
        assert!(writes as f64 <= seconds * 2.0 + 14.0, "{number}: {writes} in {seconds} s");
        most = most.max(writes);
    }
    let counts = bench.share.counts_under("Logs");
    println!("{AGENTS} agents, 4 s each: {:?}; at most {most} writes for one", counts.operations);
}
