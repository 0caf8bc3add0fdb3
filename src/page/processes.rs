//! Processes that were running at the deadline, were left behind, or could not be killed.

use super::{
    markup::Html,
    section,
    view::View,
    words::{Clipped, span},
};
use crate::record::outcome::Process;

/// The most processes of each list.
const MOST: usize = 20;

pub(super) fn write(html: &mut Html, view: &View) {
    let found = &view.outcome.processes;
    let lists = [
        ("Running when the end began", &found.at_deadline, found.at_deadline_count),
        ("Left running by the script", &found.left, found.left_count),
        ("Could not be killed", &found.unkillable, found.unkillable_count),
    ];
    if lists.iter().all(|(_, list, _)| list.is_empty()) {
        return;
    }
    section(html, "processes", "Processes", |html| {
        for (heading, list, count) in lists {
            table(html, heading, list, count);
        }
    });
}

fn table(html: &mut Html, heading: &str, list: &[Process], count: u64) {
    if list.is_empty() {
        return;
    }
    html.word("h3", "", heading);
    html.element("div", &[("class", &"wide")], |html| {
        html.element("table", &[("class", &"list")], |html| {
            html.literal(
                "<thead><tr><th scope=\"col\">PID</th><th scope=\"col\">User</th><th scope=\"col\">Age</th>\
                 <th scope=\"col\">Command</th></tr></thead>\n<tbody>\n",
            );
            for process in list.iter().take(MOST) {
                html.element("tr", &[], |html| {
                    html.word("td", "num", process.pid);
                    html.element("td", &[], |html| {
                        html.element("bdi", &[], |html| html.text(Clipped(&process.user, 64)));
                    });
                    html.word("td", "num", span(process.seconds));
                    html.element("td", &[], |html| html.word("code", "", Clipped(&process.command, 160)));
                });
                html.literal("\n");
            }
            html.literal("</tbody>\n");
        });
    });
    let more = count.max(list.len() as u64).saturating_sub(list.len().min(MOST) as u64);
    if more > 0 {
        html.word("p", "muted", format_args!("and {more} more"));
    }
}
