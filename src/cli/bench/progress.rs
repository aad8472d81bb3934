//! The live line on a terminal: how far the run is, the present rate, latency and errors. Nothing where stderr is a file.

use super::load::INTERVAL;
use super::results::{count, time};
use super::settings::Settings;
use super::tally::Tally;
use std::io::{IsTerminal, Write, stderr};

pub struct Progress {
    shown: bool,
    /// Whole seconds of the measurement, if it is bound by time.
    seconds: Option<u64>,
    threads: usize,
    /// The interval that is being summed up and how many threads have reported it.
    index: u64,
    reported: usize,
    sum: Tally,
    errors: u64,
}

impl Progress {
    pub fn new(settings: &Settings) -> Progress {
        Progress {
            shown: stderr().is_terminal(),
            seconds: settings.duration.map(|duration| duration.as_secs()),
            threads: settings.threads,
            index: 0,
            reported: 0,
            sum: Tally::default(),
            errors: 0,
        }
    }

    /// One thread's interval; the line changes when all threads have reported it, or when one is ahead.
    pub fn interval(&mut self, index: u64, tally: &Tally) {
        if !self.shown {
            return;
        }
        if index > self.index {
            self.index = index;
            self.reported = 0;
            self.sum = Tally::default();
        }
        self.errors += tally.errors_total();
        if index == self.index {
            self.sum.add(tally);
            self.reported += 1;
        }
        if self.reported == self.threads {
            self.write();
        }
    }

    fn write(&self) {
        let at = (self.index + 1) * INTERVAL.as_secs();
        let whole = self.seconds.map_or(String::new(), |seconds| format!("/{seconds}"));
        let latency = |quantile| time(self.sum.latency.value_at_quantile(quantile) as f64 / 1e3);
        // A terminal that takes no text is no reason to stop measuring.
        let _ = write!(
            stderr(),
            "\r\x1b[K  {at}{whole} s   {} a second   p50 {}   p99 {}   errors {}",
            count(self.sum.requests),
            latency(0.5),
            latency(0.99),
            count(self.errors)
        );
        let _ = stderr().flush();
    }

    /// Clears the line for what is printed next.
    pub fn end(&self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
