//! Pages of runs in which everything is hostile, and of ordinary ones.

use std::{
    collections::HashSet,
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, SystemTime},
};

use html5gum::{Token, Tokenizer};

use super::*;
use crate::{
    error::Code,
    output::{
        spool::{LOG, TAIL},
        times::TIMES,
    },
    record::{
        outcome::{
            Block, ErrorReport, Instance, Mirror, Process, ScriptKind, Source, SourceKind, State, Step, Timeout,
        },
        redaction::Redaction,
        state::{RunDir, StateDir, timestamp, timestamp_micros},
        steps::{RecordedStep, StepList},
        words::place_and_name,
    },
    request::{Identity, Warning},
};

const SHARE: Audience = Audience::Share(Redaction { shows_script: true, shows_arguments: true });

/// Everything that could become something else than text.
const HOSTILE: &str =
    "</pre></script><script>alert(1)</script><x-y onclick='a' style=\"b\">]]>--><!--\0\x1b[31m\u{202e}\u{85}&amp;&lt\r";

struct Bench {
    _folder: tempfile::TempDir,
    run: RunDir,
    outcome: Outcome,
    steps: StepList,
    script: String,
    start: SystemTime,
}

fn bench(state: State) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_294_797);
    let run = StateDir::open(folder.path()).unwrap().create_run("creation", start).unwrap();
    let identity = Identity::new("rg", "wks", "ci-1").unwrap();
    let instance = Instance { identity, user: "azureuser".into() };
    let mut outcome = Outcome::blank(run.id(), Some(ScriptKind::CreationScript), Some(instance));
    outcome.state = state;
    outcome.started_at = timestamp(start);
    outcome.elapsed_seconds = state.is_final().then_some(100.0);
    outcome.source = Some(Source {
        kind: SourceKind::WorkspaceStorage,
        path: Some("Users/admin/setup.sh".into()),
        sha256: Some("00".repeat(32)),
        bytes: Some(10),
    });
    outcome.arguments = Some(vec!["gpu".into()]);
    outcome.timeout = Some(Timeout { given: Some("15m".into()), seconds: Some(900.0) });
    Bench { _folder: folder, run, outcome, steps: StepList::default(), script: String::new(), start }
}

impl Bench {
    fn step(&mut self, line: u32, begin: f64, seconds: f64, command: &str, exit_code: i32) -> &mut RecordedStep {
        let step = RecordedStep {
            line,
            end_line: line,
            block: None,
            command: command.into(),
            started_at: timestamp_micros(self.start + Duration::from_secs_f64(begin)),
            seconds,
            exit_code: Some(exit_code),
            has_failed: exit_code != 0,
        };
        self.steps.steps.push(step);
        self.steps.count += 1;
        self.steps.steps.last_mut().unwrap()
    }

    /// Output that came so many seconds after the start.
    fn printed(&self, pieces: &[(f64, &str)]) {
        let (mut log, mut times, mut bytes) = (String::new(), Vec::new(), 0_u64);
        for (seconds, text) in pieces {
            bytes += text.len() as u64;
            log += text;
            let at = (self.start + Duration::from_secs_f64(*seconds)).duration_since(SystemTime::UNIX_EPOCH).unwrap();
            times.extend((at.as_micros() as u64).to_le_bytes());
            times.extend(bytes.to_le_bytes());
        }
        std::fs::write(self.run.file(LOG), log).unwrap();
        std::fs::write(self.run.file(TIMES), times).unwrap();
    }

    /// How long a page takes, at its quickest: the machine is busy.
    fn quickest(&self, audience: Audience) -> Duration {
        let once = || {
            let begun = std::time::Instant::now();
            details(&View::new(&self.run, &self.outcome, &self.steps, self.script.as_bytes(), audience));
            begun.elapsed()
        };
        (0..10).map(|_| once()).min().unwrap()
    }

    fn page(&self, audience: Audience) -> String {
        let view = View::new(&self.run, &self.outcome, &self.steps, self.script.as_bytes(), audience);
        let page = String::from_utf8(details(&view)).unwrap();
        assert_well_formed(&page);
        page
    }
}

/// A script that failed in a block.
fn failed() -> Bench {
    let mut bench = bench(State::Failed);
    bench.script = "#!/bin/bash\nset -e\nsudo -u azureuser -i <<'EOF'\nconda create -n x\nEOF\necho end\n".into();
    bench.step(2, 0.0, 0.001, "set -e", 0);
    let step = bench.step(4, 50.0, 2.0, "conda create -n x", 127);
    step.block = Some(Block { user: "azureuser".into(), line: 1 });
    bench.step(3, 49.0, 3.5, "sudo -u azureuser -i <<'EOF'", 127).end_line = 5;
    bench.printed(&[(1.0, "first\n"), (51.0, "bash: line 1: \x1b[31mconda\x1b[0m: command not found\n")]);
    bench.outcome.exit_code = Some(127);
    bench.outcome.error = Some(ErrorReport {
        code: Code::ScriptFailed,
        message: "the script exited with code 127 after 1m 40s".into(),
        hint: "look at the end of the output".into(),
    });
    bench
}

/// A run of which every text is hostile and everything is as long as it gets.
fn hostile() -> Bench {
    let mut bench = bench(State::TimedOut);
    let long = HOSTILE.repeat(40);
    bench.script = format!("{long}\n").repeat(300) + &format!("{HOSTILE}\n").repeat(10_000);
    for number in 1..=1000 {
        let step = bench.step(number * 10, f64::from(number) / 10.0, 0.1, &long, 1);
        step.end_line = u32::MAX;
        step.block = Some(Block { user: HOSTILE.into(), line: number });
    }
    bench.steps.count = 10_000;
    let running = bench.steps.steps[500].clone();
    bench.steps.running = Some(RecordedStep { exit_code: None, has_failed: false, ..running });
    let outcome = &mut bench.outcome;
    outcome.arguments = Some(vec![long.clone(); 1000]);
    outcome.source.as_mut().unwrap().path = Some(long.clone());
    outcome.timeout = Some(Timeout { given: Some(long.clone()), seconds: Some(90.0) });
    outcome.error = Some(ErrorReport { code: Code::Internal, message: long.clone(), hint: long.clone() });
    outcome.warnings = vec![Warning::new("x", long.clone(), long.clone()); 100];
    outcome.steps.unavailable = Some(long.clone());
    let process = Process { pid: 1, user: long.clone(), seconds: 1e300, command: long.clone() };
    outcome.processes.at_deadline = vec![process.clone(); 100];
    outcome.processes.left = vec![process.clone(); 100];
    outcome.processes.unkillable = vec![process; 100];
    outcome.output.mirror_path = Some(long.clone());
    outcome.output.dropped_bytes = u64::MAX;
    outcome.started_at = timestamp(bench.start);
    outcome.ended_at = Some(long);
    // 100 MiB, of which the end is made to be long.
    let log = File::create(bench.run.file(LOG)).unwrap();
    log.set_len(100 << 20).unwrap();
    let bomb = "\x1b[1;31;44m\"\x1b[0m\x1b[500C&\x1b[38;5;9m<\n".repeat(4000) + HOSTILE;
    log.write_all_at(bomb.as_bytes(), (100 << 20) - bomb.len() as u64).unwrap();
    std::fs::write(bench.run.file(TAIL), [HOSTILE.as_bytes(), bomb.as_bytes(), b"\xff\xfe\n"].concat()).unwrap();
    bench
}

/// No parse error of HTML; every element that is opened is closed; nothing that runs, loads or styles.
#[track_caller]
fn assert_well_formed(page: &str) {
    const ELEMENTS: &str = " html head meta title style body a main header footer section h1 h2 h3 p span strong i b \
                            dl dt dd ul ol li pre code bdi time div figure figcaption table thead tbody tr th td svg \
                            rect desc ";
    let (mut open, mut ids, mut targets): (Vec<String>, HashSet<String>, Vec<String>) = Default::default();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for token in Tokenizer::new(page) {
        match token.unwrap() {
            Token::Error(error) => panic!("{:?}", *error),
            Token::StartTag(tag) => {
                let name = text(&tag.name);
                assert!(ELEMENTS.contains(&format!(" {name} ")), "<{name}>");
                for (attribute, value) in &tag.attributes {
                    let (attribute, value) = (text(attribute), text(value));
                    assert!(!attribute.starts_with("on") && attribute != "style" && attribute != "src", "{attribute}");
                    match attribute.as_str() {
                        "id" => assert!(ids.insert(value.clone()), "a second {value}"),
                        "href" => targets.push(value),
                        _ => {}
                    }
                }
                if name != "meta" {
                    open.push(name);
                }
            }
            Token::EndTag(tag) => assert_eq!(open.pop().as_deref(), Some(text(&tag.name).as_str())),
            Token::Comment(comment) => panic!("{:?}", *comment),
            Token::Doctype(_) | Token::String(_) => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    const BESIDE: [&str; 5] = ["output.log", "output.tail.log", "outcome.json", "script.sh", "../../index.html"];
    for target in targets {
        let is_line = target.strip_prefix("#L").is_some_and(|line| line.parse::<u32>().is_ok());
        let is_known = BESIDE.contains(&target.as_str()) || target.strip_prefix('#').is_some_and(|id| ids.contains(id));
        assert!(is_line || is_known || target.ends_with("/details.html"), "{target}");
    }
}

/// The text of a page's first part.
fn verdict_of(page: &str) -> String {
    let (_, rest) = page.split_once("<header").unwrap();
    let (header, _) = rest.split_once("</header>").unwrap();
    let mut text = String::new();
    for token in Tokenizer::new(&format!("<header{header}")) {
        if let Token::String(piece) = token.unwrap() {
            text += std::str::from_utf8(&piece).unwrap();
        }
    }
    text
}

#[test]
fn the_page_of_a_run_in_which_all_is_hostile_is_well_formed_and_small() {
    let bench = hostile();
    for audience in [Audience::Root, SHARE] {
        let page = bench.page(audience);
        println!("{} bytes in {:?}", page.len(), bench.quickest(audience));
        assert!(page.len() < 1 << 20, "{}", page.len());
        assert!(page.contains("lt;script&gt;alert(1)"), "it is shown as text");
        assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}') && !page.contains('\0'));
    }
}

#[test]
fn what_failed_where_why_and_what_to_do_next_are_at_the_top() {
    let page = failed().page(SHARE);
    println!("{} bytes in {:?}", page.len(), failed().quickest(SHARE));
    let top = verdict_of(&page);
    for words in [
        "Creation script failed (exit code 127)",
        "conda create -n x",
        "line 4 (line 1 of the azureuser block) of Users/admin/setup.sh",
        "bash: line 1: conda: command not found",
        "Install conda before line 4 of Users/admin/setup.sh, or call it by its full path",
        "run --rerun",
    ] {
        assert!(top.contains(words), "{words:?} in {top}");
    }
    assert!(page.contains("<a href=\"#L4\">line 4</a>"));
    assert!(page.contains("<span class=\"l failed\" id=\"L4\">"), "{page}");
    assert!(!page.contains("<span class=\"l failed\" id=\"L3\">"), "the block's command only passes it on");
}

#[test]
fn a_step_stands_beside_what_was_printed_while_it_ran() {
    let page = failed().page(SHARE);
    let (_, section) = page.split_once("id=\"failed\"").unwrap();
    let (section, _) = section.split_once("</section>").unwrap();
    assert!(section.contains("<span class=\"f1\">conda</span>: command not found"), "{section}");
    assert!(!section.contains("first\n"), "{section}");
    assert!(section.contains("conda create -n x"), "{section}");
}

#[test]
fn the_timeline_is_to_scale_and_marks_what_is_slow() {
    let mut bench = bench(State::Succeeded);
    bench.script = "one\ntwo\nthree\n".into();
    bench.step(1, 0.0, 25.0, "one", 0);
    bench.step(2, 25.0, 0.2, "two", 0);
    bench.step(3, 50.0, 50.0, "three", 0);
    let page = bench.page(SHARE);
    for rect in [
        "class=\"slow\" x=\"0.0\" y=\"4\" width=\"250.0\"",
        "class=\"plain\" x=\"250.0\" y=\"4\" width=\"2.0\"",
        "class=\"slow\" x=\"500.0\" y=\"4\" width=\"500.0\"",
    ] {
        assert!(page.contains(rect), "{rect} in {page}");
    }
    assert!(page.contains("id=\"L3\">") && page.contains("took 50s"));
}

#[test]
fn ten_thousand_steps_take_a_few_rows_and_the_failed_ones_are_among_them() {
    let mut bench = bench(State::Failed);
    for number in 1..=1000_u32 {
        bench.step(number, f64::from(number) / 10.0, 0.05, "quick", i32::from(number == 777));
    }
    bench.steps.count = 10_000;
    let page = bench.page(SHARE);
    let rows = page.matches("<tr class=").count();
    assert!(rows < 160, "{rows}");
    assert!(page.contains("\u{2717} 1</td>") && page.contains("quick steps") && page.contains("Of 10000 steps"));
    assert!(page.len() < 200 << 10, "{}", page.len());
}

#[test]
fn a_long_script_is_shown_around_what_is_marked() {
    let mut bench = failed();
    bench.script = (1..=20_000).map(|number| format!("echo {number}\n")).collect();
    bench.step(19_000, 60.0, 1.0, "echo 19000", 3);
    let page = bench.page(SHARE);
    for line in [1, 1500, 18_995, 19_000, 19_008] {
        assert!(page.contains(&format!("id=\"L{line}\"")), "{line}");
    }
    assert!(page.contains("lines 1501 to 18991 are left out here") && page.contains("lines 19009 to 20000"));
}

#[test]
fn what_the_configuration_keeps_back_is_not_on_the_shares_page() {
    let mut bench = failed();
    bench.script = bench.script.replace("echo end", "echo script-secret");
    bench.outcome.arguments = Some(vec!["argument-secret".into()]);
    bench.step(6, 60.0, 0.1, "TOKEN=command-secret curl", 1);
    bench.outcome.processes.left =
        vec![Process { pid: 7, user: "root".into(), seconds: 1.0, command: "/bin/server --key process-secret".into() }];
    bench.outcome.state = State::TimedOut;
    let command = "mysql --password=current-secret".to_owned();
    bench.outcome.error = Some(ErrorReport {
        code: Code::TimedOut,
        message: format!("timed out in {}; the script's timeout is 3s", place_and_name(6, None, &command).1),
        hint: "give it a longer `timeout`".into(),
    });
    bench.outcome.steps.current = Some(Step { line: 6, block: None, command, seconds: 2.0 });
    let secrets = ["script-secret", "argument-secret", "command-secret", "process-secret", "current-secret"];
    let page = bench.page(Audience::Root);
    assert!(secrets.iter().all(|secret| page.contains(secret)));
    let page = bench.page(SHARE);
    assert!(
        page.contains("argument-secret") && !page.contains("process-secret") && page.contains("<code>server</code>")
    );
    let page = bench.page(Audience::Share(Redaction { shows_script: false, shows_arguments: false }));
    assert!(secrets.iter().all(|secret| !page.contains(secret)), "{page}");
    assert_eq!(page.matches("kept back by the configuration").count(), 2);
}

#[test]
fn a_page_loads_itself_again_until_the_run_has_ended() {
    let refresh = "<meta http-equiv=\"refresh\" content=\"30\">";
    assert!(bench(State::Running).page(SHARE).contains(refresh));
    for state in [State::Succeeded, State::Failed, State::TimedOut, State::Interrupted, State::Rejected] {
        assert!(!bench(state).page(SHARE).contains(refresh));
    }
}

#[test]
fn here_it_says_what_the_share_lacks_and_there_it_does_not() {
    let mut bench = failed();
    bench.outcome.output.bytes = 2048;
    bench.outcome.output.mirrored_bytes = 1024;
    bench.outcome.output.mirror = Mirror::Behind;
    assert!(verdict_of(&bench.page(Audience::Root)).contains("1.0 KiB of 2.0 KiB are there so far"));
    assert!(!bench.page(SHARE).contains("are there so far"));
}

#[test]
fn the_list_leads_to_the_pages_of_this_instance_newest_first() {
    let bench = failed();
    let state = StateDir::of_run(&bench.run).unwrap();
    let instance = bench.outcome.instance.clone().unwrap();
    for (seconds, name) in [(10, "ci-1"), (20, "ci-2"), (30, "ci-1")] {
        let run = state.create_run("startup", bench.start + Duration::from_secs(seconds)).unwrap();
        let identity = Identity::new("rg", "wks", name).unwrap();
        let mut outcome =
            Outcome::blank(run.id(), Some(ScriptKind::StartupScript), Some(Instance { identity, user: "u".into() }));
        outcome.state = State::Succeeded;
        let stamp = run.stamp().unwrap();
        outcome.output.mirror_path = Some(if seconds == 10 {
            "Logs/ci-1/x\" onclick=\"y".into()
        } else {
            format!("Logs/{name}/startup/{stamp}")
        });
        run.write_outcome(&outcome, crate::record::state::Durability::Relaxed).unwrap();
    }
    bench.run.write_outcome(&bench.outcome, crate::record::state::Durability::Relaxed).unwrap();
    let index = index::Index::read(&state, &instance, &bench.outcome);
    let here = String::from_utf8(index.page(index::Place::State)).unwrap();
    let there = String::from_utf8(index.page(index::Place::Share)).unwrap();
    for page in [&here, &there] {
        assert_well_formed(page);
        let ids: Vec<_> = ["startup-20261121T205957Z", "startup", "creation"].map(|id| page.find(id)).into();
        assert!(ids[1] < ids[2], "newest first");
        assert_eq!(page.matches("<td class=\"good\">").count(), 2, "another instance's run is not listed");
    }
    assert_eq!(here.matches("href=\"runs/").count(), 3);
    assert_eq!(there.matches("/details.html\"").count(), 1, "{there}");
}
