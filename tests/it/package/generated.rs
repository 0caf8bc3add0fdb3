//! Man pages and completions are made from the definition of the command line, and committed.
//!
//! `UPDATE=1 cargo test --test it package::generated` makes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use ci_setup_agent::cli::Cli;
use ci_setup_agent::settings::Config;
use clap::CommandFactory;
use clap::builder::Resettable;
use clap_complete::Shell;
use clap_mangen::{Man, roff};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// Compares a committed file with what it should be; with `$UPDATE` writes it.
fn compare(path: &Path, expected: &[u8]) -> Result<(), PathBuf> {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
        fs::write(path, expected).expect("write");
    }
    if fs::read(path).is_ok_and(|found| found == expected) { Ok(()) } else { Err(path.to_owned()) }
}

fn assert_current(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) {
    let stale: Vec<PathBuf> = files.into_iter().filter_map(|(path, text)| compare(&path, &text).err()).collect();
    assert!(stale.is_empty(), "make them anew with `UPDATE=1 cargo test --test it package::generated`: {stale:#?}");
}

#[test]
fn man_pages_are_those_of_the_command_line() {
    let mut program = Cli::command();
    program.build();
    let folder = packaging().join("man");
    let mut files = vec![(folder.join("ci-setup-agent.1"), program_page(&program))];
    for command in program.get_subcommands() {
        let name = format!("ci-setup-agent-{}", command.get_name());
        files.push((folder.join(format!("{name}.1")), command_page(&name, command)));
    }
    assert_current(files);
}

#[test]
fn completions_are_those_of_the_command_line() {
    let folder = packaging().join("completions");
    let shells =
        [(Shell::Bash, "ci-setup-agent.bash"), (Shell::Zsh, "_ci-setup-agent"), (Shell::Fish, "ci-setup-agent.fish")];
    assert_current(shells.map(|(shell, file)| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "ci-setup-agent", &mut text);
        (folder.join(file), text)
    }));
}

#[test]
fn the_config_file_shows_every_key_there_is_and_no_other() {
    let text = config_file();
    toml::from_str::<Config>(&text).expect("as it is installed");
    let shown: String = text.lines().map(|line| format!("{}\n", uncommented(line))).collect();
    toml::from_str::<Config>(&shown).expect("with everything in it in force");
    // What serde says of an unknown key is the list of all there are.
    let message = toml::from_str::<Config>("no-such-key = 1").expect_err("an unknown key").message().to_owned();
    let keys: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    assert!(keys.len() > 10, "{message}");
    for key in keys {
        let is_shown = shown.lines().any(|line| line.starts_with(&format!("{key} =")) || line == format!("[{key}]"));
        assert!(is_shown, "packaging/config.toml lacks `{key}`");
    }
}

fn config_file() -> String {
    fs::read_to_string(packaging().join("config.toml")).expect("packaging/config.toml")
}

/// A setting that is commented out has no blank behind its `#`; prose has one.
fn uncommented(line: &str) -> &str {
    line.strip_prefix('#')
        .filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_uppercase()))
        .unwrap_or(line)
}

fn program_page(program: &clap::Command) -> Vec<u8> {
    let man = Man::new(program.clone()).manual("ci-setup-agent");
    let mut page = Vec::new();
    man.render_title(&mut page).expect("title");
    man.render_name_section(&mut page).expect("name");
    man.render_synopsis_section(&mut page).expect("synopsis");
    man.render_description_section(&mut page).expect("description");
    man.render_options_section(&mut page).expect("options");
    man.render_subcommands_section(&mut page).expect("subcommands");
    after_help(program).to_writer(&mut page).expect("examples");
    for part in ["man/guide.roff", "man/files.roff"] {
        page.extend(fs::read(packaging().join(part)).unwrap_or_else(|error| panic!("packaging/{part}: {error}")));
    }
    let mut configuration = roff::Roff::new();
    configuration.control("SH", ["CONFIGURATION"]);
    configuration.text([roff::roman("The config file as it is installed, with all its keys and their defaults:")]);
    configuration.control("PP", []).control("nf", []);
    for line in config_file().lines() {
        configuration.text([roff::roman(if line.is_empty() { " " } else { line })]);
    }
    configuration.control("fi", []);
    configuration.to_writer(&mut page).expect("configuration");
    page
}

fn command_page(name: &str, command: &clap::Command) -> Vec<u8> {
    let command_named = command.clone().display_name(name.to_owned()).after_help(Resettable::Reset);
    let man = Man::new(command_named).title(name.to_uppercase()).source("ci-setup-agent").manual("ci-setup-agent");
    let mut page = Vec::new();
    man.render(&mut page).expect("a page");
    after_help(command).to_writer(&mut page).expect("examples");
    page.extend(b".SH \"SEE ALSO\"\n\\fBci\\-setup\\-agent\\fR(1)\n");
    page
}

/// What stands below the options in `--help`: lists under a word and a colon, which become sections, and prose.
fn after_help(command: &clap::Command) -> roff::Roff {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut page = roff::Roff::new();
    let mut prose = Vec::new();
    for part in text.split("\n\n") {
        let section = match part.lines().next() {
            Some("Examples:") => "EXAMPLES",
            Some("Exit codes:") => "EXIT STATUS",
            _ => {
                prose.push(part);
                continue;
            }
        };
        page.control("SH", [section]);
        for line in part.lines().skip(1).map(str::trim_start) {
            match line.split_once("  ") {
                // A word, and behind blanks what it means.
                Some((word, meaning)) => {
                    page.control("TP", []).text([roff::bold(word)]).text([roff::roman(meaning.trim_start())]);
                }
                None => {
                    page.control("PP", []).control("nf", []).text([roff::roman(line)]).control("fi", []);
                }
            }
        }
    }
    if !prose.is_empty() {
        page.control("SH", ["NOTES"]);
    }
    for part in prose {
        page.control("PP", []).text([roff::roman(part)]);
    }
    page
}
