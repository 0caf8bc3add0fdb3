//! A shell's text, and where each of its bytes stands in the script that holds it.

/// What stands for something the outer shell puts in: no character of anybody's script.
pub const FILLED_IN: char = '\u{e000}';

/// A text cut out of another one.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// The text as its shell reads it.
    pub text: String,
    /// For each byte, its place in the outermost script.
    places: Vec<u32>,
    /// The place of the end.
    end: u32,
}

impl Mapped {
    /// A whole script.
    pub fn whole(text: String) -> Self {
        let end = place(text.len());
        Self { places: (0..end).collect(), end, text }
    }

    /// Where the byte at `offset` stands in the script.
    pub fn place(&self, offset: usize) -> usize {
        self.places.get(offset).copied().unwrap_or(self.end) as usize
    }

    /// A part that the inner shell reads as it stands.
    pub fn part(&self, from: usize, to: usize) -> Self {
        let mut part = Self::default();
        part.copy(self, from, to);
        part.end = place(self.place(to));
        part
    }

    /// A part in which this shell takes backslashes away before `escapable` and fills in `expansions`, given as
    /// ranges in order.
    pub fn expanded_part(&self, from: usize, to: usize, escapable: &[u8], expansions: &[(usize, usize)]) -> Self {
        let mut part = Self::default();
        let bytes = self.text.as_bytes();
        let (mut at, mut expansions) = (from, expansions.iter());
        let mut next = expansions.next();
        while at < to {
            match next {
                Some((start, end)) if at >= *start => {
                    part.push(FILLED_IN, place(self.place(*start)));
                    at = (*end).max(at);
                    next = expansions.next();
                    continue;
                }
                Some(_) | None => {}
            }
            let escapes = bytes[at] == b'\\' && at + 1 < to;
            if escapes && bytes[at + 1] == b'\n' {
                at += 2;
                continue;
            }
            if escapes && escapable.contains(&bytes[at + 1]) {
                at += 1;
            }
            let length = self.text.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
            part.copy(self, at, at + length);
            at += length;
        }
        part.end = place(self.place(to));
        part
    }

    /// Nothing, where a broken text makes the grammar cut a character in two.
    fn copy(&mut self, from: &Self, start: usize, end: usize) {
        if let (Some(text), Some(places)) = (from.text.get(start..end), from.places.get(start..end)) {
            self.text.push_str(text);
            self.places.extend_from_slice(places);
        }
    }

    fn push(&mut self, character: char, place: u32) {
        self.text.push(character);
        self.places.resize(self.text.len(), place);
    }
}

fn place(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expanded_part_reads_as_the_inner_shell_reads_it_and_knows_its_places() {
        let outer = Mapped::whole(r"bash <<E|a $X \$Y\n|E".into());
        let start = outer.text.find("a $X").unwrap();
        let end = outer.text.len() - 2;
        let part = outer.expanded_part(start, end, b"$`\\", &[(start + 2, start + 4)]);
        assert_eq!(part.text, format!("a {FILLED_IN} $Y\\n"));
        assert_eq!(part.place(part.text.find("$Y").unwrap()), outer.text.find("$Y").unwrap());
        assert_eq!(part.place(2), start + 2);
        assert_eq!(part.place(part.text.len()), end);
    }
}
