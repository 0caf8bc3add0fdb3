//! How far a run is, in one line.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    error::one_line,
    record::{
        Outcome,
        outcome::{Block, State},
        words::human,
    },
};

/// How far a run is, for those who wait for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// What it is at.
    pub phase: Phase,
    /// Since the script's start.
    pub elapsed: Duration,
    /// The script's time limit; `None` is no limit.
    pub limit: Option<Duration>,
    /// The command that runs, where that is known.
    pub step: Option<CurrentStep>,
}

/// What a run is at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// The script has not started.
    Pending,
    /// It runs.
    Running,
    /// Time is up or a stop was asked for: its processes are ended.
    Ending,
    /// It has ended; what is left of its output goes to the share.
    Copying,
}

/// A top-level command that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentStep {
    /// Line in the script.
    pub line: u32,
    /// The sudo block it stands in.
    pub block: Option<Block>,
    /// Its text before expansion.
    pub command: String,
    /// Since it began.
    pub elapsed: Duration,
}

/// Whether a line may be coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colours {
    /// It may.
    Yes,
    /// `NO_COLOR` is set.
    No,
}

impl Course {
    /// As an outcome tells it that was written at `written`; `None` where the run has ended.
    pub fn of(outcome: &Outcome, written: SystemTime, now: SystemTime) -> Option<Self> {
        let phase = match outcome.state {
            State::Pending => Phase::Pending,
            State::Running => Phase::Running,
            State::Succeeded | State::Failed | State::TimedOut | State::Interrupted | State::Rejected => return None,
        };
        let began = humantime::parse_rfc3339(&outcome.started_at).unwrap_or(now);
        let since_written = now.duration_since(written).unwrap_or_default();
        let seconds = outcome.timeout.as_ref().and_then(|timeout| timeout.seconds);
        Some(Self {
            phase,
            elapsed: now.duration_since(began).unwrap_or_default(),
            limit: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            step: outcome.steps.current.as_ref().map(|step| CurrentStep {
                line: step.line,
                block: step.block.clone(),
                command: step.command.clone(),
                elapsed: Duration::try_from_secs_f64(step.seconds).unwrap_or_default() + since_written,
            }),
        })
    }

    /// The line below the output, at most `columns` wide.
    pub(super) fn line(&self, columns: usize, colours: Colours) -> String {
        let text = match self.phase {
            Phase::Pending => "the script has not started yet".to_owned(),
            Phase::Running => {
                let step = self.step.as_ref().map_or_else(String::new, |step| format!(" | {}", step.in_short()));
                format!("{}{step}", self.times())
            }
            Phase::Ending => format!("{}: the script's processes are being ended", whole(self.elapsed)),
            Phase::Copying => "the script has ended; its output goes to the share".to_owned(),
        };
        let cells = match (self.limit, columns) {
            (None, _) | (Some(_), ..50) => 0,
            (Some(_), 50..80) => 10,
            (Some(_), _) => 20,
        };
        let (Some(limit), true, Phase::Running | Phase::Ending) = (self.limit, cells > 0, self.phase) else {
            return cut(&text, columns);
        };
        let part = (self.elapsed.as_secs_f64() / limit.as_secs_f64()).clamp(0.0, 1.0);
        let full = (part * cells as f64) as usize;
        let bar = format!("{}{}", "#".repeat(full), "-".repeat(cells - full));
        let text = cut(&text, columns - cells - 3);
        let colour = if part < 0.8 { 32 } else { 33 };
        match colours {
            Colours::Yes => format!("[\x1b[{colour}m{bar}\x1b[0m] {text}"),
            Colours::No => format!("[{bar}] {text}"),
        }
    }

    /// The sentence for a log. What it is at besides running is told by others there.
    pub(super) fn sentence(&self) -> Option<String> {
        if self.phase != Phase::Running {
            return None;
        }
        let step = self.step.as_ref().map_or_else(String::new, |step| {
            let command = cut(&one_line(&step.command), 100);
            format!(": {} `{command}` for {}", step.place(), whole(step.elapsed))
        });
        let left = self.left().map_or_else(String::new, |left| format!(", {left}"));
        Some(format!("still running after {}{left}{step}", whole(self.elapsed)))
    }

    fn times(&self) -> String {
        let left = self.left().unwrap_or_else(|| "no time limit".into());
        format!("{}, {left}", whole(self.elapsed))
    }

    fn left(&self) -> Option<String> {
        // As the elapsed time is told: the two make up the limit.
        let elapsed = Duration::from_secs(self.elapsed.as_secs());
        self.limit.map(|limit| format!("{} left", whole(limit.saturating_sub(elapsed))))
    }
}

impl CurrentStep {
    fn in_short(&self) -> String {
        format!("{} for {}: {}", self.place(), whole(self.elapsed), one_line(&self.command))
    }

    fn place(&self) -> String {
        place(self.line, self.block.as_ref())
    }
}

/// `line 14`, and within a block `line 14 (azureuser 3)`.
pub fn place(line: u32, block: Option<&Block>) -> String {
    match block {
        Some(block) => format!("line {line} ({} {})", one_line(&block.user), block.line),
        None => format!("line {line}"),
    }
}

/// Whole seconds: digits that flicker say nothing.
fn whole(time: Duration) -> String {
    human(time.as_secs() as f64)
}

/// At most `columns` of the text as a terminal shows it, with `...` at the end where something is missing.
pub fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut width = 0;
    for character in text.chars() {
        width += character.width().unwrap_or(0);
        if width + 3 > columns {
            break;
        }
        kept.push(character);
    }
    kept + &"..."[..columns.min(3)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(elapsed: u64, limit: Option<u64>, command: &str) -> Course {
        let block = Some(Block { user: "azureuser".into(), line: 3 });
        let step = CurrentStep { line: 42, block, command: command.into(), elapsed: Duration::from_secs(70) };
        let limit = limit.map(Duration::from_secs);
        Course { phase: Phase::Running, elapsed: Duration::from_secs(elapsed), limit, step: Some(step) }
    }

    #[test]
    fn the_line_holds_the_time_the_bar_and_the_step() {
        let line = course(225, Some(900), "pip install torch").line(100, Colours::No);
        assert_eq!(
            line,
            "[#####---------------] 3m 45s, 11m 15s left | line 42 (azureuser 3) for 1m 10s: pip install torch"
        );
        let line = course(3, None, "true").line(100, Colours::No);
        assert_eq!(line, "3s, no time limit | line 42 (azureuser 3) for 1m 10s: true");
    }

    #[test]
    fn it_is_never_wider_than_the_terminal() {
        for command in
            ["pip install torch torchvision torchaudio", "echo 自動運転自動運転自動運転自動運転", "a\x1b[2Jb\nc"]
        {
            for columns in 0..130 {
                let line = course(225, Some(900), command).line(columns, Colours::No);
                assert!(line.width() <= columns, "{columns}: {line}");
                assert!(!line.contains(char::is_control), "{line}");
            }
        }
    }

    #[test]
    fn the_sentence_names_the_command_and_its_time() {
        assert_eq!(
            course(120, Some(900), "pip install torch").sentence().unwrap(),
            "still running after 2m, 13m left: line 42 (azureuser 3) `pip install torch` for 1m 10s"
        );
        let mut course = course(300, None, "x");
        course.step = None;
        assert_eq!(course.sentence().unwrap(), "still running after 5m");
    }
}
