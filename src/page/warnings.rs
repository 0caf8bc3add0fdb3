//! What the reader ought to know although nothing failed.

use super::{
    markup::Html,
    section,
    view::View,
    words::{Clipped, prose},
};

/// The most bytes of all of them.
const MOST: usize = 48 << 10;

pub(super) fn write(html: &mut Html, view: &View) {
    let warnings = &view.outcome.warnings;
    if warnings.is_empty() {
        return;
    }
    section(html, "warnings", "Warnings", |html| {
        let (start, mut shown) = (html.length(), 0);
        html.element("ul", &[("class", &"warnings")], |html| {
            for warning in warnings {
                if html.length() - start > MOST {
                    break;
                }
                shown += 1;
                html.element("li", &[], |html| {
                    prose(html, &Clipped(&warning.message, 600).to_string());
                    html.element("p", &[("class", &"muted")], |html| {
                        prose(html, &format!("Hint: {}", Clipped(&warning.hint, 600)));
                    });
                });
                html.literal("\n");
            }
        });
        if shown < warnings.len() {
            html.word("p", "muted", format_args!("{} more are in the outcome", warnings.len() - shown));
        }
    });
}
