//! `# ci-setup: ignore RULE…` on a line or on the line above takes findings of these rules away.

use crate::check::finding::Finding;

const MARK: &str = "ci-setup: ignore";

/// Keeps what the script does not want to be spared.
pub fn keep(text: &str, findings: &mut Vec<Finding>) {
    let lines: Vec<&str> = text.lines().collect();
    let spared = |line: usize, rule: &str| -> bool {
        let Some(line) = line.checked_sub(1).and_then(|index| lines.get(index)) else { return false };
        rules(line).any(|named| named == rule)
    };
    findings.retain(|finding| {
        let above = finding.line.checked_sub(2).and_then(|index| lines.get(index));
        let is_comment = above.is_some_and(|line| line.trim_start().starts_with('#'));
        !(spared(finding.line, &finding.rule) || is_comment && spared(finding.line - 1, &finding.rule))
    });
}

fn rules(line: &str) -> impl Iterator<Item = &str> {
    let named = line.split_once('#').and_then(|_| line.split_once(MARK)).map(|(_, rules)| rules).unwrap_or_default();
    named.split([' ', ',', '\t']).filter(|rule| !rule.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::rules_in;

    #[test]
    fn a_comment_on_the_line_or_above_takes_that_rule_away() {
        assert_eq!(rules_in("reboot\n"), ["reboot"]);
        assert!(rules_in("reboot # ci-setup: ignore reboot\n").is_empty());
        assert!(rules_in("# ci-setup: ignore background-job, reboot\nreboot\n").is_empty());
        assert_eq!(rules_in("reboot # ci-setup: ignore read\n"), ["reboot"]);
        assert_eq!(rules_in("# ci-setup: ignore reboot\n\nreboot\n"), ["reboot"]);
        assert_eq!(rules_in("echo # ci-setup: ignore reboot\nreboot\n"), ["reboot"]);
    }
}
