//! When a schedule fires: local times of its zone, daylight saving included. (The documentation's note that labels
//! ignore daylight saving means only that `(UTC+01:00)` in a zone's label is wrong in summer.)

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::cron::Cron;

/// How often a recurrence comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frequency {
    /// Every so many minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Weeks.
    Week,
    /// Months.
    Month,
}

/// What fires.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// A cron expression.
    Cron(Cron),
    /// A recurrence.
    Recurrence(Recurrence),
}

/// A recurrence; empty lists stand for what the start says.
#[derive(Clone, Debug)]
pub struct Recurrence {
    /// The unit.
    pub frequency: Frequency,
    /// How many of it.
    pub interval: i64,
    /// Hours of the day.
    pub hours: Vec<i8>,
    /// Minutes of the hour.
    pub minutes: Vec<i8>,
    /// Days of the week.
    pub week_days: Vec<Weekday>,
    /// Days of the month.
    pub month_days: Vec<i8>,
}

/// No day within this many years: never.
const YEARS: i64 = 30;

/// The next times after `now`, not before `start`.
pub fn next(trigger: &Trigger, zone: &TimeZone, start: Option<DateTime>, now: Timestamp, count: usize) -> Vec<Zoned> {
    let local_now = now.to_zoned(zone.clone()).datetime();
    let from = start.map_or(local_now, |start| start.max(local_now));
    let mut found: Vec<Zoned> = Vec::new();
    let mut take = |time: DateTime| -> bool {
        let fits = time >= from && start.is_none_or(|start| time >= start);
        if let Ok(zoned) = time.to_zoned(zone.clone())
            && fits
            && zoned.timestamp() > now
            && found.last().is_none_or(|last| *last < zoned)
        {
            found.push(zoned);
        }
        found.len() < count
    };
    if let Trigger::Recurrence(recurrence) = trigger
        && matches!(recurrence.frequency, Frequency::Minute | Frequency::Hour)
    {
        let begin = start.unwrap_or(local_now);
        let unit = if recurrence.frequency == Frequency::Hour { 60 } else { 1 };
        let step = recurrence.interval.saturating_mul(unit).clamp(1, 1_000_000);
        let passed = from.duration_since(begin).as_mins() / step;
        for number in passed.. {
            let Ok(time) = begin.checked_add((number * step).minutes()) else { break };
            if !take(time) {
                break;
            }
        }
        return found;
    }
    let Ok(end) = from.date().checked_add(YEARS.years()) else { return found };
    let anchor = start.unwrap_or(local_now);
    let times = times(trigger, anchor);
    let mut day = from.date();
    while day < end {
        if fits_day(trigger, anchor, day) {
            for (hour, minute, second) in &times {
                if !take(day.at(*hour, *minute, *second, 0)) {
                    return found;
                }
            }
        }
        let Ok(next) = day.tomorrow() else { break };
        day = next;
    }
    found
}

fn times(trigger: &Trigger, anchor: DateTime) -> Vec<(i8, i8, i8)> {
    match trigger {
        Trigger::Cron(cron) => {
            let small = |number: u32| i8::try_from(number).unwrap_or_default();
            cron.times().into_iter().map(|(hour, minute)| (small(hour), small(minute), 0)).collect()
        }
        Trigger::Recurrence(recurrence) => {
            let or = |list: &[i8], one: i8| if list.is_empty() { vec![one] } else { list.to_vec() };
            let hours = or(&recurrence.hours, anchor.hour());
            let minutes = or(&recurrence.minutes, if recurrence.hours.is_empty() { anchor.minute() } else { 0 });
            let second = if recurrence.hours.is_empty() && recurrence.minutes.is_empty() { anchor.second() } else { 0 };
            let mut times: Vec<_> =
                hours.iter().flat_map(|hour| minutes.iter().map(move |minute| (*hour, *minute, second))).collect();
            times.sort_unstable();
            times.dedup();
            times
        }
    }
}

fn fits_day(trigger: &Trigger, anchor: DateTime, day: Date) -> bool {
    let recurrence = match trigger {
        Trigger::Cron(cron) => {
            let number = |value: i8| u32::try_from(value).unwrap_or_default();
            let weekday = number(day.weekday().to_sunday_zero_offset());
            return cron.fits_day(number(day.month()), number(day.day()), weekday);
        }
        Trigger::Recurrence(recurrence) => recurrence,
    };
    let first = anchor.date();
    let days = i64::from(day.duration_since(first).as_hours() as i32) / 24;
    let interval = recurrence.interval.max(1);
    match recurrence.frequency {
        Frequency::Minute | Frequency::Hour | Frequency::Day => days % interval == 0,
        Frequency::Week => {
            let monday = |date: Date| i64::from(date.weekday().to_monday_zero_offset());
            let weeks = (days + monday(first)).div_euclid(7);
            let fits = match recurrence.week_days.is_empty() {
                true => day.weekday() == first.weekday(),
                false => recurrence.week_days.contains(&day.weekday()),
            };
            weeks % interval == 0 && fits
        }
        Frequency::Month => {
            let month = |date: Date| i64::from(date.year()) * 12 + i64::from(date.month());
            let fits = match recurrence.month_days.is_empty() {
                true => day.day() == first.day(),
                false => recurrence.month_days.contains(&day.day()),
            };
            (month(day) - month(first)) % interval == 0 && fits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::zones;

    fn fires(trigger: &Trigger, zone: &str, start: Option<&str>, now: &str, count: usize) -> Vec<String> {
        let zone = TimeZone::posix(zones::rule(zone).unwrap()).unwrap();
        let start = start.map(|start| start.parse().unwrap());
        let times = next(trigger, &zone, start, now.parse().unwrap(), count);
        times.iter().map(|time| time.strftime("%a %F %T %:z").to_string()).collect()
    }

    fn recurrence(frequency: Frequency, interval: i64) -> Recurrence {
        Recurrence { frequency, interval, hours: vec![], minutes: vec![], week_days: vec![], month_days: vec![] }
    }

    #[test]
    fn cron_fires_at_local_times_on_both_sides_of_daylight_saving() {
        let cron = Trigger::Cron(Cron::parse("0 18 * * 1-5").unwrap());
        assert_eq!(
            fires(&cron, "W. Europe Standard Time", None, "2027-03-26T12:00:00Z", 3),
            ["Fri 2027-03-26 18:00:00 +01:00", "Mon 2027-03-29 18:00:00 +02:00", "Tue 2027-03-30 18:00:00 +02:00"]
        );
        let cron = Trigger::Cron(Cron::parse("30 1 * * *").unwrap());
        let autumn = fires(&cron, "Pacific Standard Time", None, "2026-10-31T12:00:00Z", 2);
        assert_eq!(autumn, ["Sun 2026-11-01 01:30:00 -07:00", "Mon 2026-11-02 01:30:00 -08:00"]);
    }

    #[test]
    fn a_start_in_the_future_is_waited_for() {
        let cron = Trigger::Cron(Cron::parse("0 0 29 2 *").unwrap());
        let fires = fires(&cron, "UTC", Some("2030-01-01T00:00:00"), "2026-01-01T00:00:00Z", 2);
        assert_eq!(
            fires,
            ["Tue 2032-02-29 00:00:00 +00:00".replace("Tue", "Sun"), "Fri 2036-02-29 00:00:00 +00:00".into()]
        );
    }

    #[test]
    fn recurrences_count_from_their_start() {
        let mut weeks = recurrence(Frequency::Week, 2);
        weeks.week_days = vec![Weekday::Monday, Weekday::Friday];
        weeks.hours = vec![18];
        weeks.minutes = vec![30];
        let found = fires(&Trigger::Recurrence(weeks), "UTC", Some("2026-11-02T00:00:00"), "2026-11-03T00:00:00Z", 3);
        assert_eq!(
            found,
            ["Fri 2026-11-06 18:30:00 +00:00", "Mon 2026-11-16 18:30:00 +00:00", "Fri 2026-11-20 18:30:00 +00:00"]
        );
        let days = Trigger::Recurrence(recurrence(Frequency::Day, 3));
        let found = fires(&days, "UTC", Some("2026-11-01T07:15:00"), "2026-11-02T00:00:00Z", 2);
        assert_eq!(found, ["Wed 2026-11-04 07:15:00 +00:00", "Sat 2026-11-07 07:15:00 +00:00"]);
        let mut months = recurrence(Frequency::Month, 1);
        months.month_days = vec![31];
        let found = fires(&Trigger::Recurrence(months), "UTC", Some("2026-11-01T07:15:00"), "2026-11-02T00:00:00Z", 2);
        assert_eq!(found, ["Thu 2026-12-31 07:15:00 +00:00", "Sun 2027-01-31 07:15:00 +00:00"]);
        let hours = Trigger::Recurrence(recurrence(Frequency::Hour, 5));
        let found = fires(&hours, "UTC", Some("2026-11-01T00:00:00"), "2026-11-02T00:00:00Z", 2);
        assert_eq!(found, ["Mon 2026-11-02 01:00:00 +00:00", "Mon 2026-11-02 06:00:00 +00:00"]);
    }
}
