//! Scripts as the documentation and its readers write them: clean, or with findings that are worth having.

use super::{check, samples};

#[rustfmt::skip] // a table
const EXPECTED: [(&str, &[(usize, &str)]); 11] = [
    ("careless.sh", &[
        (4, "needless-sudo"), (5, "asks-a-question"), (6, "read-without-input"), (8, "block-without-set-e"), (8, "secret"),
        (8, "block-variable"), (9, "block-arguments"), (10, "background-job"), (11, "eats-heredoc"), (14, "block-expands"), (16, "reboot"),
    ]),
    ("clone-repositories.sh", &[]),
    ("code-server.sh", &[]),
    ("conda-kernel.sh", &[]),
    ("conda-prompt.sh", &[(4, "conda-before-profile"), (5, "block-without-set-e"), (5, "asks-a-question"), (6, "relative-path")]),
    ("idle-and-cron.sh", &[]),
    ("pip-package-mended.sh", &[]),
    ("pip-package.sh", &[(12, "block-without-set-e"), (12, "conda-before-profile")]),
    ("r-packages.sh", &[]),
    ("startup.sh", &[(3, "appends-again")]),
    ("windows.sh", &[(1, "crlf")]),
];

#[test]
fn every_sample_has_its_findings_and_no_others() {
    let mut names: Vec<String> = std::fs::read_dir(samples())
        .expect("samples")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    assert_eq!(names, EXPECTED.map(|(name, _)| name));
    for (name, expected) in EXPECTED {
        let checked = check(&["--json", name], "");
        let json: serde_json::Value = serde_json::from_str(&checked.stdout).expect("JSON");
        let findings = json["findings"].as_array().expect("findings").iter();
        let found: Vec<(u64, &str)> = findings
            .map(|finding| (finding["line"].as_u64().expect("a line"), finding["rule"].as_str().expect("a rule")))
            .collect();
        let expected: Vec<(u64, &str)> = expected.iter().map(|(line, rule)| (*line as u64, *rule)).collect();
        assert_eq!(found, expected, "{name}: {}", checked.stdout);
    }
}
