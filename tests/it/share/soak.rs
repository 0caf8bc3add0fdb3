//! Faults at random under heavy output, for some seconds. `scripts/soak` does the same for minutes.

use std::time::{Duration, Instant};

use faultfs::{Errno, Fault, Kept, Loss, Ops, Options, Rule};

use super::bench::Bench;
use crate::support::Place;

/// A small generator of numbers (xorshift), so that a seed tells the whole story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const CLASSES: [Ops; 8] =
    [Ops::ALL, Ops::WRITE, Ops::FSYNC, Ops::RENAME, Ops::CREATE, Ops::OPEN, Ops::LOOKUP, Ops::GETATTR];
const ERRORS: [Errno; 5] = [Errno::EIO, Errno::ENOSPC, Errno::ESTALE, Errno::EROFS, Errno::EACCES];

fn make_trouble(bench: &Bench, dice: &mut Dice) -> String {
    let share = &bench.share;
    let ops = CLASSES[dice.roll(8) as usize];
    let errno = ERRORS[dice.roll(5) as usize];
    let fault = match dice.roll(9) {
        0 | 1 => Fault::Error(errno),
        2 => Fault::ErrorAfter(errno),
        3 => Fault::Short(1 + dice.roll(100_000) as u32),
        4 => Fault::Delay(Duration::from_millis(dice.roll(400))),
        5 => Fault::Hang,
        6 => Fault::HangAfter,
        7 => {
            let loss = [Loss::Everything, Loss::Last(2), Loss::OutOfOrder][dice.roll(3) as usize];
            share.crash(loss);
            return format!("{loss:?}");
        }
        _ => {
            share.unmount();
            return "unmounted".into();
        }
    };
    share.rule(Rule::new(fault, if matches!(fault, Fault::Short(_)) { Ops::WRITE } else { ops }));
    format!("{fault:?} {ops:?}")
}

#[test]
fn faults_at_random_under_heavy_output_cost_neither_time_nor_bytes() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"));
    let seconds = number("SOAK_SECONDS", 12);
    let seed = number("SOAK_SEED", u64::from(std::process::id()) + 1);
    println!("SOAK_SEED={seed} SOAK_SECONDS={seconds}");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let bench = Bench::with(Options { kept: Kept::AtFsync, ..Options::like_smb() });
    let script = format!(
        "end=$((SECONDS + {seconds})); while ((SECONDS < end)); do seq 1 $((RANDOM * 5)); sleep 0.0$((RANDOM % 10)); done; exit 11"
    );
    bench.inline(&script, "1h");
    let begun = Instant::now();
    let agent = bench.agent(&["--quiet", "--flush-wait", "3s"]).spawn();
    let mut story = vec![format!("seed {seed}")];
    while begun.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(50 + dice.roll(1000)));
        story.push(format!("{:.1} {}", begun.elapsed().as_secs_f64(), make_trouble(&bench, &mut dice)));
        std::thread::sleep(Duration::from_millis(50 + dice.roll(1500)));
        bench.share.heal();
        bench.share.mount_again();
    }
    let ran = agent.wait();
    assert_eq!(ran.code, 11, "{story:#?}\n{}", ran.stderr);
    // The last trouble may go on until then, and a busy machine has its own.
    assert!(begun.elapsed() < Duration::from_secs(seconds + 3 + 1 + 20), "{:?} {story:#?}", begun.elapsed());
    bench.wait_until_nobody_records();
    let synced = bench.sync();
    assert_eq!(synced.code, 0, "{story:#?}\n{}", synced.stderr);
    let bytes = bench.spool().len();
    println!("{bytes} bytes, {} troubles, {:?}", story.len() - 1, bench.room.share());
    bench.assert_mirrored(&story.join("\n"));
}
