//! Texts of a request in messages, and whether bytes are text.

use crate::error::one_line;

/// A text in backticks, on one line, cut to 60 characters: requests may hold whole scripts.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", one_line(&text[..end])),
        None => format!("`{}`", one_line(text)),
    }
}

/// Whether bytes read like a script somebody wrote: UTF-8 without control characters but blanks.
/// Only for choosing hints; what may run is decided by `script`.
pub(super) fn reads_like_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        !text.is_empty()
            && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shown("PT20M"), "`PT20M`");
        assert_eq!(shown("a\n\u{1b}b"), r"`a\n\u{1b}b`");
        assert_eq!(shown(&"ü".repeat(60)), format!("`{}`", "ü".repeat(60)));
        assert_eq!(shown(&"ü".repeat(61)), format!("`{}…`", "ü".repeat(60)));
    }

    #[test]
    fn a_script_reads_like_text_and_a_binary_does_not() {
        assert!(reads_like_text(b"#!/bin/bash\r\necho \xc3\xbc\n"));
        for bytes in [&b""[..], b"\x7fELF", b"a\0b", b"\x96"] {
            assert!(!reads_like_text(bytes), "{bytes:?}");
        }
    }
}
