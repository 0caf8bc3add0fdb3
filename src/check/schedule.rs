//! `schedules.computeStartStop`: when an instance is started and stopped.

use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;

use super::cron::Cron;
use super::firing::{self, Frequency, Recurrence, Trigger};
use super::resource::{Resource, one_of};
use super::zones;
use crate::request::document::Node;

const RULE: &str = "schedules";
const MOST: usize = 4;

/// A schedule's next times.
#[derive(Debug)]
pub struct Explained {
    /// What it does, in words.
    pub what: String,
    /// The next five times, each with its offset.
    pub times: Vec<String>,
}

/// Checks all schedules. `now` asks for the times as well.
pub fn check(schedules: Node<'_>, out: &mut Resource<'_>, now: Option<Timestamp>) {
    let Some(list) = out.member(schedules, "computeStartStop") else { return };
    let Some(list) = list.elements() else {
        return out.wrong_type(RULE, list, "`computeStartStop`", "an array");
    };
    if let Some(fifth) = list.get(MOST) {
        let message = format!("{} schedules, and an instance has at most {MOST}", list.len());
        out.refuse(RULE, *fifth, message, "take some away; a cron expression takes lists: `0 8,13 * * 1-5`");
    }
    for (index, schedule) in list.into_iter().enumerate() {
        one(schedule, index + 1, out, now);
    }
}

fn one(schedule: Node<'_>, number: usize, out: &mut Resource<'_>, now: Option<Timestamp>) {
    if schedule.members().is_none() {
        return out.wrong_type(RULE, schedule, "schedule", "an object");
    }
    let action = out.text(schedule, "action");
    match (action, out.member(schedule, "action")) {
        (Some(text), Some(at)) => one_of(out, RULE, at, "action", &text, &["Start", "Stop"]),
        (None, None) => {
            out.refuse(RULE, schedule, "schedule has no `action`", "write `\"action\": \"Start\"` or `\"Stop\"`");
        }
        _ => {}
    }
    let status = out.text(schedule, "status");
    if let (Some(text), Some(at)) = (&status, out.member(schedule, "status")) {
        one_of(out, RULE, at, "status", text, &["Enabled", "Disabled"]);
    }
    let kind = out.text(schedule, "triggerType");
    if let (Some(text), Some(at)) = (&kind, out.member(schedule, "triggerType")) {
        one_of(out, RULE, at, "triggerType", text, &["Cron", "Recurrence"]);
    }
    let (cron, recurrence) = (out.member(schedule, "cron"), out.member(schedule, "recurrence"));
    let (node, is_cron) = match (kind.map(|kind| kind.to_ascii_lowercase()).as_deref(), cron, recurrence) {
        (Some("cron"), Some(node), _) => (node, true),
        (Some("recurrence"), _, Some(node)) => (node, false),
        (Some(kind @ ("cron" | "recurrence")), _, _) => {
            return out.refuse(
                RULE,
                schedule,
                format!("schedule of type `{kind}` has no `{kind}`"),
                format!("add `\"{kind}\": {{…}}`"),
            );
        }
        (None, Some(_), None) | (None, None, Some(_)) => {
            let name = if cron.is_some() { "Cron" } else { "Recurrence" };
            return out.refuse(
                RULE,
                schedule,
                "schedule has no `triggerType`",
                format!("write `\"triggerType\": \"{name}\"`"),
            );
        }
        _ => return,
    };
    let zone = zone(node, out);
    let start = start(node, out);
    let trigger = if is_cron {
        self::cron(node, out).map(Trigger::Cron)
    } else {
        self::recurrence(node, out).map(Trigger::Recurrence)
    };
    if let (Some(trigger), Some((name, zone)), Some(start), Some(now)) = (trigger, zone, start, now) {
        let action = out.text(schedule, "action").unwrap_or_default();
        let is_off = status.is_some_and(|status| status.eq_ignore_ascii_case("Disabled"));
        let state = if is_off { ", disabled" } else { "" };
        let detail = match &trigger {
            Trigger::Cron(cron) => format!("`{}`", cron.text),
            Trigger::Recurrence(recurrence) => {
                format!("every {} {:?}", recurrence.interval, recurrence.frequency).to_lowercase()
            }
        };
        let times = firing::next(&trigger, &zone, start, now, 5);
        out.explain(
            schedule,
            Explained {
                what: format!("schedule {number}: {action} at {detail} in {name}{state}"),
                times: times.iter().map(|time| time.strftime("%a %F %T %:z").to_string()).collect(),
            },
        );
    }
}

fn zone(node: Node<'_>, out: &mut Resource<'_>) -> Option<(String, TimeZone)> {
    let Some(at) = out.member(node, "timeZone") else { return Some(("UTC".into(), TimeZone::UTC)) };
    let name = out.text(node, "timeZone")?;
    if let Some(rule) = zones::rule(&name) {
        return Some((name, TimeZone::posix(rule).ok()?));
    }
    let hint = match zones::near(&name) {
        Some(near) => format!("write `{near}`"),
        None => "take a name from `tzutil /l` on Windows, such as `W. Europe Standard Time`, or `UTC`".into(),
    };
    out.refuse("time-zone", at, format!("`{}` is none of Windows' names of time zones", short(&name)), hint);
    None
}

/// The start, where it is given; `None` after a finding.
#[expect(clippy::option_option, reason = "not given, and given wrongly, are two things")]
fn start(node: Node<'_>, out: &mut Resource<'_>) -> Option<Option<DateTime>> {
    let Some(at) = out.member(node, "startTime") else { return Some(None) };
    let text = out.text(node, "startTime")?;
    let plain = text.strip_suffix('Z').unwrap_or(&text);
    match plain.parse::<DateTime>() {
        Ok(time) if plain.contains('T') => {
            if plain.len() != text.len() {
                let hint = "take the `Z` away: it is a time in the schedule's `timeZone`";
                out.warn(RULE, at, "`startTime` ends in `Z`", hint);
            }
            Some(Some(time))
        }
        _ => {
            let message = format!("`{}` is no `startTime`", short(&text));
            out.refuse(RULE, at, message, "write `yyyy-MM-ddTHH:mm:ss`, such as `2026-11-21T18:00:00`");
            None
        }
    }
}

fn cron(node: Node<'_>, out: &mut Resource<'_>) -> Option<Cron> {
    let Some(at) = out.member(node, "expression") else {
        out.refuse("cron-expression", node, "`cron` has no `expression`", "write `\"expression\": \"0 18 * * 1-5\"`");
        return None;
    };
    match Cron::parse(&out.text(node, "expression")?) {
        Ok(cron) => {
            if cron.limits_both_days() {
                let message = "day of month and day of week are both limited: it fires only where both fit";
                out.warn("cron-expression", at, message, "write `*` for one of the two, or make two schedules");
            }
            Some(cron)
        }
        Err(refusal) => {
            out.refuse("cron-expression", at, refusal.message, refusal.hint);
            None
        }
    }
}

fn recurrence(node: Node<'_>, out: &mut Resource<'_>) -> Option<Recurrence> {
    const RULE: &str = "recurrence";
    let names = ["Minute", "Hour", "Day", "Week", "Month"];
    let Some(at) = out.member(node, "frequency") else {
        out.refuse(RULE, node, "`recurrence` has no `frequency`", "write `\"frequency\": \"Week\"`");
        return None;
    };
    let text = out.text(node, "frequency")?;
    one_of(out, RULE, at, "frequency", &text, &names);
    let kinds = [Frequency::Minute, Frequency::Hour, Frequency::Day, Frequency::Week, Frequency::Month];
    let frequency = kinds[names.iter().position(|name| name.eq_ignore_ascii_case(&text))?];
    let interval = match out.member(node, "interval") {
        None => 1,
        Some(at) => match at.raw().parse::<i64>() {
            Ok(interval) if interval >= 1 => interval,
            _ if out.is_unknown(at) => return None,
            _ => {
                out.refuse(RULE, at, "`interval` is no whole number from 1 on", "write `\"interval\": 1`");
                return None;
            }
        },
    };
    let mut found =
        Recurrence { frequency, interval, hours: vec![], minutes: vec![], week_days: vec![], month_days: vec![] };
    let Some(schedule) = out.member(node, "schedule") else { return Some(found) };
    found.hours = numbers(schedule, "hours", 0, 23, out)?;
    found.minutes = numbers(schedule, "minutes", 0, 59, out)?;
    found.month_days = numbers(schedule, "monthDays", 1, 31, out)?;
    for day in out.member(schedule, "weekDays").and_then(Node::elements).unwrap_or_default() {
        let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        let text = day.string().unwrap_or_default();
        one_of(out, RULE, day, "weekDays", &text, &days);
        let index = days.iter().position(|name| name.eq_ignore_ascii_case(&text))?;
        found.week_days.push(Weekday::from_monday_zero_offset(i8::try_from(index).ok()?).ok()?);
    }
    let unused = match frequency {
        Frequency::Week => None,
        Frequency::Month => (!found.week_days.is_empty()).then_some("weekDays"),
        Frequency::Minute | Frequency::Hour | Frequency::Day => {
            let names = [("weekDays", !found.week_days.is_empty()), ("monthDays", !found.month_days.is_empty())];
            names.iter().find(|(_, is_set)| *is_set).map(|(name, _)| *name)
        }
    };
    if let Some(name) = unused {
        let hint = "write `\"frequency\": \"Week\"` for `weekDays`, `\"Month\"` for `monthDays`";
        out.warn(RULE, at, format!("`{name}` does not go with frequency `{text}`"), hint);
    }
    Some(found)
}

fn numbers(node: Node<'_>, name: &str, first: i8, last: i8, out: &mut Resource<'_>) -> Option<Vec<i8>> {
    let Some(list) = out.member(node, name) else { return Some(Vec::new()) };
    let Some(elements) = list.elements() else {
        out.wrong_type("recurrence", list, &format!("`{name}`"), "an array of numbers");
        return None;
    };
    let mut found = Vec::new();
    for element in elements {
        match element.raw().parse::<i8>() {
            Ok(number) if (first..=last).contains(&number) => found.push(number),
            _ if out.is_unknown(element) => return None,
            _ => {
                let message = format!("`{}` is none of `{name}`", short(element.raw()));
                out.refuse("recurrence", element, message, format!("they are numbers from {first} to {last}"));
                return None;
            }
        }
    }
    Some(found)
}

pub fn short(text: &str) -> String {
    crate::error::one_line(&text.chars().take(60).collect::<String>())
}
