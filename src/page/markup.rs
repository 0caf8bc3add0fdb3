//! Markup that only takes escaped text.
//!
//! Names of elements and attributes are literals of this program; everything else is text, and goes through
//! [`Escaper`], the one place where a page escapes. Where a link leads is a type of its own. So nothing that a
//! script, a user or a share brings along can become markup.

use std::fmt::{self, Display, Write};

use crate::{
    error::turns_text_around,
    record::names::{DETAILS, INDEX},
};

/// A page, or a piece of one, while it is written.
#[derive(Debug, Default)]
pub struct Html(String);

/// Attributes of an element: a literal name and a text each.
pub type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// Where a link leads: within the page, or to a file beside it.
#[derive(Clone, Copy, Debug)]
pub enum Href<'a> {
    /// A line of the script.
    Line(u32),
    /// A part of the page, by its id.
    Part(&'static str),
    /// A file in the page's own folder.
    Beside(&'static str),
    /// The page of a run below the index's folder.
    Below(&'a Below),
    /// The index, two folders above a run's page: `runs/RUN/` in the state directory, `WORD/STAMP/` on the share.
    Runs,
}

/// A path of folders below the index: plain names only, so that it cannot lead anywhere else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Below(String);

impl Below {
    /// The path, if each of its names is made of letters, digits and `-` alone, as those of runs are.
    pub fn new(path: &str) -> Option<Self> {
        let is_plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        path.split('/').all(is_plain).then(|| Self(path.to_owned()))
    }
}

impl Html {
    /// A piece of markup that stands in this program's source.
    pub fn literal(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text.
    pub fn text(&mut self, text: impl Display) {
        let _ = write!(Escaper { to: &mut self.0, place: Where::Text }, "{text}");
    }

    /// An element and what is in it.
    pub fn element(&mut self, name: &'static str, attributes: Attributes, content: impl FnOnce(&mut Self)) {
        self.open(name, attributes);
        content(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element that holds nothing but text.
    pub fn word(&mut self, name: &'static str, class: &'static str, text: impl Display) {
        let attributes: [(&'static str, &dyn Display); 1] = [("class", &class)];
        let attributes = if class.is_empty() { &[][..] } else { &attributes[..] };
        self.element(name, attributes, |html| html.text(text));
    }

    /// The beginning of an element, or an element that has no content.
    pub fn open(&mut self, name: &'static str, attributes: Attributes) {
        self.0.push('<');
        self.0.push_str(name);
        for (name, value) in attributes {
            debug_assert!(!matches!(*name, "href" | "src" | "style") && !name.starts_with("on"), "{name}");
            self.attribute(name, value);
        }
        self.0.push('>');
    }

    /// A link.
    pub fn link(&mut self, to: Href, class: &'static str, content: impl FnOnce(&mut Self)) {
        self.0.push_str("<a");
        match to {
            Href::Line(line) => self.attribute("href", &format_args!("#L{line}")),
            Href::Part(id) => self.attribute("href", &format_args!("#{id}")),
            Href::Beside(name) => self.attribute("href", &name),
            Href::Runs => self.attribute("href", &format_args!("../../{INDEX}")),
            Href::Below(Below(path)) => self.attribute("href", &format_args!("{path}/{DETAILS}")),
        }
        if !class.is_empty() {
            self.attribute("class", &class);
        }
        self.0.push('>');
        content(self);
        self.0.push_str("</a>");
    }

    fn attribute(&mut self, name: &'static str, value: &dyn Display) {
        let _ = write!(self.0, " {name}=\"");
        let _ = write!(Escaper { to: &mut self.0, place: Where::Attribute }, "{value}");
        self.0.push('"');
    }

    /// Another piece, behind this one.
    pub fn append(&mut self, piece: &Self) {
        self.0.push_str(&piece.0);
    }

    /// Its length in bytes, which bounds are set on.
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// The bytes of the page.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    #[cfg(test)]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Clone, Copy)]
enum Where {
    Text,
    Attribute,
}

/// Escapes whatever is written to it, and shows what would otherwise be invisible or move other text.
struct Escaper<'a> {
    to: &'a mut String,
    place: Where,
}

impl Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut done = 0;
        for (at, c) in text.char_indices() {
            let Some(instead) = instead_of(c, self.place) else { continue };
            self.to.push_str(&text[done..at]);
            done = at + c.len_utf8();
            match instead {
                Instead::Literal(text) => self.to.push_str(text),
                Instead::Number => write!(self.to, "\u{27e8}U+{:04X}\u{27e9}", u32::from(c))?,
            }
        }
        self.to.push_str(&text[done..]);
        Ok(())
    }
}

enum Instead {
    Literal(&'static str),
    /// The character's number between brackets.
    Number,
}

/// What stands for a character; `None` for itself.
fn instead_of(c: char, place: Where) -> Option<Instead> {
    let shown = match c {
        '&' => Instead::Literal("&amp;"),
        '<' => Instead::Literal("&lt;"),
        '>' => Instead::Literal("&gt;"),
        '"' => Instead::Literal("&quot;"),
        '\'' => Instead::Literal("&#39;"),
        '\n' | '\t' => match place {
            Where::Text => return None,
            Where::Attribute => Instead::Literal(" "),
        },
        // Unicode has pictures of these, and few fonts have.
        '\0'..='\u{1f}' | '\u{7f}' => Instead::Number,
        // C1 controls, which HTML reads as Windows-1252.
        '\u{80}'..='\u{9f}' => Instead::Number,
        c if turns_text_around(c) => Instead::Number,
        // What cannot be seen: soft hyphen, Mongolian vowel separator, zero width space, word joiner and the
        // like, byte order mark, interlinear annotations, tags. The joiners of emoji and of Indic scripts stay.
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => {
            Instead::Number
        }
        '\u{e0000}'..='\u{e0fff}' => Instead::Number,
        // Line and paragraph separators.
        '\u{2028}' | '\u{2029}' => Instead::Number,
        // How the digits and letters before them were once shaped; deprecated.
        '\u{206a}'..='\u{206f}' => Instead::Number,
        // Noncharacters, which HTML does not allow.
        '\u{fdd0}'..='\u{fdef}' => Instead::Number,
        c if u32::from(c) & 0xfffe == 0xfffe => Instead::Number,
        _ => return None,
    };
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        let mut html = Html::default();
        html.text(text);
        html.0
    }

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(text("</script>&amp;\"']]>"), "&lt;/script&gt;&amp;amp;&quot;&#39;]]&gt;");
        for c in (0..0x0011_0000).filter_map(char::from_u32) {
            let shown = text(&c.to_string());
            assert!(!shown.contains(['<', '>', '"', '\'']), "{c:?}: {shown}");
        }
    }

    #[test]
    fn an_attribute_ends_where_it_should() {
        let mut html = Html::default();
        html.open("td", &[("title", &"a\" onmouseover=\"x\ny")]);
        assert_eq!(html.0, "<td title=\"a&quot; onmouseover=&quot;x y\">");
    }

    #[test]
    fn control_characters_are_shown_and_those_that_turn_the_text_do_not_turn_it() {
        assert_eq!(text("a\u{1b}[1m\r\0"), "a\u{27e8}U+001B\u{27e9}[1m\u{27e8}U+000D\u{27e9}\u{27e8}U+0000\u{27e9}");
        assert_eq!(text("x\u{202e}y\u{2066}"), "x\u{27e8}U+202E\u{27e9}y\u{27e8}U+2066\u{27e9}");
        assert_eq!(
            text("\u{85}\u{feff}\u{10ffff}"),
            "\u{27e8}U+0085\u{27e9}\u{27e8}U+FEFF\u{27e9}\u{27e8}U+10FFFF\u{27e9}"
        );
        assert_eq!(text("line\n\tline"), "line\n\tline");
        assert_eq!(
            text("n\u{303}, \u{5e9}, \u{1f469}\u{200d}\u{1f4bb}"),
            "n\u{303}, \u{5e9}, \u{1f469}\u{200d}\u{1f4bb}"
        );
    }

    #[test]
    fn a_link_leads_to_plain_names_only() {
        for path in ["creation/20261121T205957Z", "startup/20261121T205957Z-2"] {
            assert!(Below::new(path).is_some(), "{path}");
        }
        for path in ["", "/etc", "..", "a/../b", "javascript:alert(1)", "//host", "a b", "a?b", "a%2e", "creation/"] {
            assert!(Below::new(path).is_none(), "{path}");
        }
    }
}
