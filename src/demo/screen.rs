//! Live figures: a block that is rewritten on a terminal, else a line a second.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::error::Result;
use crate::stdout::{print, print_text};

/// A rate is what happened in this time.
const WINDOW: Duration = Duration::from_secs(1);
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// The state of things at one moment.
pub struct Figures {
    pub elapsed: Duration,
    pub phase: &'static str,
    pub produced: i64,
    pub bytes_per_record: f64,
    pub rows: i64,
    /// The age of the oldest record that is not in the table.
    pub freshness: Duration,
    pub commits: u64,
    pub files: u64,
    pub kills: u32,
}

pub struct Screen {
    terminal: bool,
    lines_drawn: usize,
    shown: Duration,
    recent: VecDeque<(Duration, i64)>,
}

impl Screen {
    pub fn new() -> Screen {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        Screen { terminal, lines_drawn: 0, shown: Duration::ZERO, recent: VecDeque::new() }
    }

    /// Shows the figures if it is time to.
    pub fn show(&mut self, figures: &Figures) -> Result<()> {
        let rate = self.rate(figures);
        let every = if self.terminal { REDRAW_EVERY } else { WINDOW };
        if figures.elapsed < self.shown + every {
            return Ok(());
        }
        self.shown = figures.elapsed;
        if self.terminal { self.redraw(figures, rate) } else { print(&line(figures, rate)) }
    }

    /// What is printed next goes below the block.
    pub fn leave(&mut self) {
        self.lines_drawn = 0;
    }

    fn rate(&mut self, figures: &Figures) -> f64 {
        self.recent.push_back((figures.elapsed, figures.rows));
        while self.recent.len() > 2 && self.recent[1].0 + WINDOW <= figures.elapsed {
            self.recent.pop_front();
        }
        let (since, rows) = self.recent[0];
        let seconds = (figures.elapsed - since).as_secs_f64();
        if seconds > 0.0 { (figures.rows - rows) as f64 / seconds } else { 0.0 }
    }

    fn redraw(&mut self, figures: &Figures, rate: f64) -> Result<()> {
        let block = block(figures, rate);
        let mut text = String::new();
        if self.lines_drawn > 0 {
            text = format!("\x1b[{}A\x1b[J", self.lines_drawn);
        }
        self.lines_drawn = block.len();
        text.push_str(&block.join("\n"));
        print_text(&text)?;
        // A terminal that went away is noticed by the next line.
        let _ = std::io::stdout().flush();
        Ok(())
    }
}

fn block(figures: &Figures, rate: f64) -> Vec<String> {
    let megabytes = rate * figures.bytes_per_record / 1e6;
    vec![
        format!("  {:>5.1} s   {}", figures.elapsed.as_secs_f64(), figures.phase),
        format!(
            "  rows      {:>13}   {:>9}/s   {megabytes:>6.1} MB/s",
            grouped(figures.rows),
            grouped(rate as i64)
        ),
        format!(
            "  lag       {:>13}   freshness {:.2} s",
            grouped(figures.produced - figures.rows),
            figures.freshness.as_secs_f64()
        ),
        format!(
            "  commits   {:>13}   files {}   kills {}",
            grouped(figures.commits as i64),
            figures.files,
            figures.kills
        ),
    ]
}

fn line(figures: &Figures, rate: f64) -> String {
    format!(
        "{:>5.1} s  {:<10} rows {}  {} rows/s  {:.1} MB/s  lag {}  freshness {:.2} s  commits {}  files {}  kills {}",
        figures.elapsed.as_secs_f64(),
        figures.phase,
        grouped(figures.rows),
        grouped(rate as i64),
        rate * figures.bytes_per_record / 1e6,
        grouped(figures.produced - figures.rows),
        figures.freshness.as_secs_f64(),
        figures.commits,
        figures.files,
        figures.kills
    )
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let mut screen = Screen::new();
        let at = |ms, rows| Figures {
            elapsed: Duration::from_millis(ms),
            phase: "",
            produced: rows,
            bytes_per_record: 100.0,
            rows,
            freshness: Duration::ZERO,
            commits: 0,
            files: 0,
            kills: 0,
        };
        assert_eq!(screen.rate(&at(0, 0)), 0.0);
        assert_eq!(screen.rate(&at(1_000, 500)), 500.0);
        assert_eq!(screen.rate(&at(2_000, 600)), 100.0);
    }
}
