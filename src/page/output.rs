//! The end of the output, with its colours.

use std::collections::VecDeque;

use super::{
    ansi::{self, Line},
    markup::{Href, Html},
    section,
    view::View,
    words::size,
};
use crate::output::spool::{LOG, TAIL};

/// What is read of it.
const READ: u64 = 64 << 10;

/// The most lines and the most bytes of markup that are shown.
const LINES: usize = 400;
const MOST: usize = 160 << 10;

pub(super) fn write(html: &mut Html, view: &View) {
    let output = &view.outcome.output;
    let piece = view.excerpts.end(READ);
    if piece.bytes.is_empty() {
        return;
    }
    let mut is_cut = piece.is_cut || output.dropped_bytes > 0;
    let mut lines: VecDeque<Line> = VecDeque::new();
    ansi::lines(&piece.bytes, &mut |line| {
        if lines.len() == LINES {
            lines.pop_front();
            is_cut = true;
        }
        lines.push_back(line);
    });
    // The newest first, until there is no more room.
    let (mut pieces, mut length): (Vec<Html>, usize) = (Vec::new(), 0);
    for line in lines.iter().rev() {
        let mut piece = Html::default();
        line.write(&mut piece);
        length += piece.length();
        if length > MOST {
            is_cut = true;
            break;
        }
        pieces.push(piece);
    }
    section(html, "output", if is_cut { "End of the output" } else { "Output" }, |html| {
        html.element("p", &[("class", &"muted")], |html| {
            html.text(size(output.bytes));
            html.text(" are kept: ");
            html.link(Href::Beside(LOG), "", |html| html.text(LOG));
            if output.dropped_bytes > 0 {
                html.text(", ");
                html.link(Href::Beside(TAIL), "", |html| html.text(TAIL));
                html.text(format_args!("; {} in between or at its end are not", size(output.dropped_bytes)));
            }
        });
        let label: &dyn std::fmt::Display = &"Output of the script";
        // The style has this box begin at its end.
        html.element(
            "div",
            &[("class", &"output"), ("tabindex", &0), ("role", &"region"), ("aria-label", label)],
            |html| {
                html.element("pre", &[], |html| {
                    if is_cut {
                        html.word("span", "muted", "\u{2026}\n");
                    }
                    pieces.iter().rev().for_each(|piece| html.append(piece));
                });
            },
        );
    });
}
