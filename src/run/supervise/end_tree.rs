//! Ending the script's processes: asked first, then killed until nobody is left (CONTRACT 5).

use super::{Supervisor, turn::reap};
use crate::show::progress::Phase;
use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::log;
use crate::run::{
    terminate::{self, Standstill},
    tree::{self, Seen},
};

/// How long after a kill the next one comes, if somebody is left by then.
const KILL_AGAIN_AFTER: Duration = Duration::from_millis(50);
const KILL_AGAIN_AT_LAST: Duration = Duration::from_millis(400);

impl Supervisor {
    /// SIGTERM and SIGCONT, the grace, SIGKILL until nobody is left.
    pub(super) fn end_tree(&mut self, grace: Duration, is_deadline: bool) {
        let members = self.tree.members();

        if is_deadline {
            self.job.recording.note_deadline();
            self.tell_phase(Phase::Ending);
            self.job.outcome.processes.at_deadline_count = members.len() as u64;
            self.job.outcome.processes.at_deadline = tree::described(&members);
        }

        info!(run = self.job.run.id(), processes = members.len(), grace_seconds = log::seconds(grace), "asked to end");
        terminate::ask_to_end(&members);

        let until = Instant::now() + grace;
        self.is_urgent = false;
        self.is_ending = true;
        self.reap();
        while !self.is_childless && Instant::now() < until && !self.is_urgent {
            self.turn(Some(until), None);
        }
        let mut standstill = Standstill::from_now();
        let (began, mut rounds, mut unkillable) = (Instant::now(), 0, 0);
        loop {
            let round = Instant::now();

            // The kernel may be done with all of a leaf before anybody looks: that was a kill all the same.
            let had_children = !self.is_childless;
            let alive = self.kill();

            if had_children || !alive.is_empty() {
                rounds += 1;
            }
            if alive.is_empty() && self.is_childless {
                break;
            }
            if standstill.is_reached(&alive) {
                self.job.outcome.processes.unkillable_count = alive.len() as u64;
                self.job.outcome.processes.unkillable = tree::described(&alive);
                unkillable = alive.len();
                break;
            }
            self.let_die(alive.len(), round.elapsed());
        }
        let (run, seconds) = (self.job.run.id(), log::seconds(began.elapsed()));
        if unkillable > 0 {
            error!(run, processes = unkillable, kill_rounds = rounds, seconds, "cannot be killed");
        } else {
            info!(run, kill_rounds = rounds, seconds, "all have ended");
        }
        self.pump_out();
    }

    /// Gives the killed, so many, time to die before the next round, which takes as long as the last one.
    pub(super) fn let_die(&mut self, count: usize, round: Duration) {
        /// Above it, each death is not looked at when it comes: the kernel goes through all children then,
        /// and is busy enough with their ends.
        const CROWD: usize = 200;
        let pause = KILL_AGAIN_AFTER.max(round * 2).min(KILL_AGAIN_AT_LAST);
        if count > CROWD {
            std::thread::sleep(pause);
            self.reap();
            return;
        }
        let until = Instant::now() + pause;
        while !self.is_childless && Instant::now() < until {
            self.turn(Some(until), None);
        }
    }

    pub(super) fn kill(&mut self) -> Vec<Seen> {
        let Self { tree, script, exit, is_childless, .. } = self;
        let alive = tree.kill(|| {
            reap(*script, exit, is_childless);
            *is_childless
        });
        self.reap();
        alive
    }
}
