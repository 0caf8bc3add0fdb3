//! NCronTab expressions, as `schedules` have them: minute, hour, day, month, day of week; `*`, lists, ranges, steps,
//! and the English names of months and days.

/// An expression: for each field, which values it lets through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cron {
    /// The text, blanks made single.
    pub text: String,
    fields: [u64; 5],
}

struct Field {
    what: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

#[rustfmt::skip] // a table
const FIELDS: [Field; 5] = [
    Field { what: "minute", first: 0, last: 59, names: &[] },
    Field { what: "hour", first: 0, last: 23, names: &[] },
    Field { what: "day of month", first: 1, last: 31, names: &[] },
    Field { what: "month", first: 1, last: 12, names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"] },
    Field { what: "day of week", first: 0, last: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// What is wrong with an expression, and the way out.
#[derive(Debug, Eq, PartialEq)]
pub struct NotCron {
    /// What.
    pub message: String,
    /// The way out.
    pub hint: String,
}

impl Cron {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, NotCron> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        if parts.len() != FIELDS.len() {
            let hint = match parts.len() {
                6 => "leave the seconds out: minute, hour, day, month, day of week".to_owned(),
                _ => "write minute, hour, day, month, day of week, such as `0 18 * * 1-5`".to_owned(),
            };
            return Err(NotCron { message: format!("cron expression has {} fields, not 5", parts.len()), hint });
        }
        let mut fields = [0; 5];
        for ((bits, part), field) in fields.iter_mut().zip(&parts).zip(&FIELDS) {
            *bits = field.parse(part)?;
        }
        let cron = Self { text: parts.join(" "), fields };
        if !cron.has_a_day() {
            return Err(NotCron {
                message: "cron expression never fires: no month of it has such a day".into(),
                hint: "correct day or month".into(),
            });
        }
        Ok(cron)
    }

    fn lets(&self, field: usize, value: u32) -> bool {
        self.fields[field] >> value & 1 == 1
    }

    /// Both the day of the month and the day of the week are limited; both have to fit.
    pub fn limits_both_days(&self) -> bool {
        let all = |field: usize| (FIELDS[field].first..=FIELDS[field].last).all(|value| self.lets(field, value));
        !all(2) && !all(4)
    }

    /// Whether a day is one of its days; Sunday is 0.
    pub fn fits_day(&self, month: u32, day: u32, weekday: u32) -> bool {
        self.lets(2, day) && self.lets(3, month) && self.lets(4, weekday)
    }

    /// Its hours and minutes, in order.
    pub fn times(&self) -> Vec<(u32, u32)> {
        let hours = (0..24).filter(|hour| self.lets(1, *hour));
        hours
            .flat_map(|hour| (0..60).filter(|minute| self.lets(0, *minute)).map(move |minute| (hour, minute)))
            .collect()
    }

    fn has_a_day(&self) -> bool {
        const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        (1..=12).zip(LONGEST).any(|(month, days)| self.lets(3, month) && (1..=days).any(|day| self.lets(2, day)))
    }
}

impl Field {
    fn parse(&self, text: &str) -> Result<u64, NotCron> {
        text.split(',').try_fold(0, |bits, item| Ok(bits | self.item(item)?))
    }

    /// `*`, `*/5`, `3`, `3/5`, `1-5`, `1-5/2`
    fn item(&self, item: &str) -> Result<u64, NotCron> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                let step: u32 = step.parse().map_err(|_| self.wrong(item))?;
                (range, Some(step).filter(|step| *step > 0).ok_or_else(|| self.wrong(item))?)
            }
            None => (item, 1),
        };
        let (from, to) = if range == "*" {
            (self.first, self.last)
        } else if let Some((from, to)) = range.split_once('-') {
            (self.value(from)?, self.value(to)?)
        } else {
            let from = self.value(range)?;
            (from, if item.contains('/') { self.last } else { from })
        };
        if from > to {
            return Err(NotCron {
                message: format!("`{item}` in the field for the {} goes backwards", self.what),
                hint: format!("write two ranges: `{from}-{},{}-{to}`", self.last, self.first),
            });
        }
        Ok((from..=to).step_by(step as usize).fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, NotCron> {
        let lower = text.to_ascii_lowercase();
        let named = lower.get(..3).and_then(|begin| self.names.iter().position(|name| *name == begin));
        if let Some(index) = named.filter(|_| lower.bytes().all(|byte| byte.is_ascii_alphabetic())) {
            return Ok(self.first + u32::try_from(index).unwrap_or_default());
        }
        let value: u32 = text.parse().map_err(|_| self.wrong(text))?;
        if (self.first..=self.last).contains(&value) { Ok(value) } else { Err(self.wrong(text)) }
    }

    fn wrong(&self, text: &str) -> NotCron {
        let text: String = text.chars().take(40).collect();
        let hint = match (self.what, text.as_str()) {
            ("day of week", "7") => "Sunday is 0".to_owned(),
            (_, "?" | "L" | "W" | "#") => "write `*`: this is not Quartz".to_owned(),
            _ => format!("it is {} to {}, `*`, a list, a range or a step such as `*/5`", self.first, self.last),
        };
        NotCron { message: format!("`{text}` is no {} of a cron expression", self.what), hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_take_lists_ranges_steps_and_names() {
        let cron = Cron::parse("*/20 8-10,18  * JAN-mar mon-fri").unwrap();
        assert_eq!(
            cron.times().iter().map(|(hour, _)| *hour).collect::<Vec<_>>(),
            [8, 8, 8, 9, 9, 9, 10, 10, 10, 18, 18, 18]
        );
        assert_eq!(cron.times()[..3], [(8, 0), (8, 20), (8, 40)]);
        assert!(cron.fits_day(2, 3, 1) && !cron.fits_day(4, 3, 1) && !cron.fits_day(2, 3, 0));
        assert_eq!(Cron::parse("50/5 0 1 1 *").unwrap().times(), [(0, 50), (0, 55)]);
        assert!(Cron::parse("0 0 1 * 1").unwrap().limits_both_days());
        assert!(!Cron::parse("0 0 * * 1").unwrap().limits_both_days());
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_way_out() {
        for (text, hint) in [
            ("0 0 * *", "write minute"),
            ("0 0 0 * * *", "leave the seconds"),
            ("60 0 * * *", "0 to 59"),
            ("0 0 * * 7", "Sunday is 0"),
            ("0 0 ? * *", "not Quartz"),
            ("0 0 * * 5-1", "5-6,0-1"),
            ("*/0 * * * *", "0 to 59"),
            ("0 0 30 2 *", "correct day"),
            ("a * * * *", "0 to 59"),
            ("0 0 , * *", "1 to 31"),
            ("0 -1 * * *", "0 to 23"),
        ] {
            let refusal = Cron::parse(text).unwrap_err();
            assert!(refusal.hint.contains(hint), "{text}: {refusal:?}");
        }
    }
}
