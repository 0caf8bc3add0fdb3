//! Findings as people, programs and GitHub read them.

use serde::Serialize;

use super::finding::{Finding, Severity};
use super::schedule::Explained;
use crate::cli::Format;
use crate::error::one_line;
use crate::request::Position;

/// Everything that one call found.
#[derive(Debug, Default)]
pub struct Report {
    /// The findings of all files.
    pub findings: Vec<Finding>,
    /// Schedules, each with file and place.
    pub explained: Vec<(String, Position, Explained)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    schema_version: u32,
    errors: usize,
    warnings: usize,
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schedules: Vec<JsonSchedule<'a>>,
}

#[derive(Serialize)]
struct JsonSchedule<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    schedule: &'a str,
    next: &'a [String],
}

impl Report {
    /// The text to print.
    pub fn show(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json(),
            Format::Github => self.findings.iter().map(github).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let place = match &finding.script {
                Some(script) => format!("{}#{script}", finding.file),
                None => finding.file.clone(),
            };
            text.push_str(&format!(
                "{}:{}:{}: {}: {} [{}]\nhint: {}\n",
                one_line(&place),
                finding.line,
                finding.column,
                finding.severity.word(),
                one_line(&finding.message),
                finding.rule,
                one_line(&finding.hint),
            ));
        }
        for (file, position, explained) in &self.explained {
            text.push_str(&format!(
                "{}:{}:{}: note: {}\n",
                one_line(file),
                position.line,
                position.column,
                one_line(&explained.what)
            ));
            if explained.times.is_empty() {
                text.push_str("  never\n");
            }
            text.extend(explained.times.iter().map(|time| format!("  {time}\n")));
        }
        text
    }

    fn json(&self) -> String {
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let schedules = self.explained.iter().map(|(file, position, explained)| JsonSchedule {
            file,
            line: position.line,
            column: position.column,
            schedule: &explained.what,
            next: &explained.times,
        });
        let json = Json {
            schema_version: 1,
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            findings: &self.findings,
            schedules: schedules.collect(),
        };
        serde_json::to_string_pretty(&json).unwrap_or_default() + "\n"
    }
}

/// `::error file=…,line=…::…`: the annotation stands where the file has a line for it.
fn github(finding: &Finding) -> String {
    let at = finding.script_at.map_or((finding.line, finding.column), |at| (at.line, at.column));
    let inside = finding.script.as_ref().map(|script| format!("{script} {}:{}: ", finding.line, finding.column));
    format!(
        "::{} file={},line={},col={},title={}::{}\n",
        finding.severity.word(),
        property(&finding.file),
        at.0,
        at.1,
        property(&finding.rule),
        data(&format!("{}{}\nhint: {}", inside.unwrap_or_default(), finding.message, finding.hint)),
    )
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
