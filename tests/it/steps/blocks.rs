//! Blocks in less usual places.

use super::{all_told, record};

#[test]
fn a_login_shell_block_has_its_lines_and_its_profile_is_no_step() {
    let recorded = record("sudo -u root -i <<'EOF'\n\n# comment\nnosuch\nEOF\n");
    assert_eq!(all_told(&recorded.summary.failed), ["4(root:3) nosuch -> 127"]);
    assert_eq!(recorded.summary.count, 2, "{:?}", all_told(&recorded.summary.steps));
}

#[test]
fn values_of_variables_are_never_recorded() {
    let recorded = record(
        "TOKEN=$(echo se; echo cret | tr -d '\\n')\nT=sec\"\"ret\nsudo -u nobody bash <<EOF\necho $T | nosuch\nEOF\nbash -c \"nosuch $T\"\n",
    );
    let told = all_told(&recorded.summary.steps);
    assert!(!told.iter().any(|step| step.contains("secret")), "{told:?}");
    assert_eq!(
        all_told(&recorded.summary.failed),
        ["4(nobody:1) echo $T | nosuch -> 127", "6(root:1) nosuch $T -> 127"]
    );
}

#[test]
fn of_several_blocks_in_one_command_each_gets_its_own_lines() {
    let script = "if true; then\n  bash <<'A'\nnosuch1\ntrue\nA\n  bash <<'B'\ntrue\nnosuch2\ntrue\nB\nfi\nfor i in 1 2; do bash <<'C'\nnosuch3\n:\nC\ndone\n";
    let failed = [
        "3(root:1) nosuch1 -> 127",
        "8(root:2) nosuch2 -> 127",
        "13(root:1) nosuch3 -> 127",
        "13(root:1) nosuch3 -> 127",
    ];
    assert_eq!(all_told(&record(script).summary.failed), failed);
}

#[test]
fn a_block_inside_a_block_is_seen_and_one_in_the_background_too() {
    let nested = "sudo -u root bash <<'OUTER'\necho\nsudo -u nobody bash <<'INNER'\nnosuch\ntrue\nINNER\nOUTER\n";
    assert_eq!(all_told(&record(nested).summary.failed), ["4(nobody:1) nosuch -> 127"]);
    let background = "bash <<'EOF' &\nsleep 0.1\nnosuch\ntrue\nEOF\necho\nwait\n";
    assert_eq!(all_told(&record(background).summary.failed), ["3(root:2) nosuch -> 127"]);
}

#[test]
fn a_text_handed_on_by_cat_is_a_block() {
    let recorded = record("cat <<'EOF' | sudo -u nobody bash\nnosuch\ntrue\nEOF\n");
    assert_eq!(all_told(&recorded.summary.failed), ["2(nobody:1) nosuch -> 127"]);
}

#[test]
fn the_record_is_bounded_and_its_counts_are_exact() {
    let recorded = record(&"true\nfalse\n".repeat(1500));
    let summary = recorded.summary;
    assert_eq!(
        (summary.count, summary.failed_count, summary.steps.len(), summary.failed.len()),
        (3000, 1500, 1000, 100)
    );
    assert_eq!((summary.steps[0].line, summary.steps[999].line), (1, 3000));
    assert_eq!(summary.notes, ["2000 commands between the first and the latest are left out of the list"]);
}
