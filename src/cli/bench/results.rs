//! What a run comes to: merged from the threads' intervals, written as text, JSON and an interval log.

use super::load::INTERVAL;
use super::settings::Settings;
use super::tally::{ErrorKind, Tally};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, SystemTime};

/// One run, as `--json` writes it. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub url: String,
    pub connections: usize,
    pub threads: usize,
    /// The load generator's own driver.
    pub engine: String,
    /// Requests a second that were asked for; null for a closed loop.
    pub rate: Option<f64>,
    pub elapsed_us: u64,
    /// Right answers.
    pub requests: u64,
    pub per_second: f64,
    pub bytes_received: u64,
    pub latency_us: Latency,
    pub statuses: BTreeMap<u16, u64>,
    pub errors_total: u64,
    pub errors: BTreeMap<ErrorKind, ErrorCount>,
    /// Requests that were due and not begun before the end.
    pub unsent: u64,
    pub percentiles: Vec<Percentile>,
    pub intervals: Vec<IntervalResult>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub min: f64,
    pub mean: f64,
    pub stdev: f64,
    pub p50: f64,
    pub p75: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    #[serde(rename = "p99.99")]
    pub p99_99: f64,
    pub max: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorCount {
    pub count: u64,
    /// The first one in its own words.
    pub example: String,
}

/// A point of the percentile curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// 0 to 100.
    pub percentile: f64,
    pub latency_us: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntervalResult {
    /// Whole seconds since the measurement began.
    pub second: u64,
    pub requests: u64,
    pub errors: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// Merges what the threads report, one interval after another.
pub struct Collector<'a, W: Write> {
    total: Tally,
    /// The intervals that a thread may still report, the oldest first.
    open: VecDeque<Tally>,
    /// The index of the first of `open`.
    first_open: u64,
    intervals: Vec<IntervalResult>,
    log: Option<IntervalLogWriter<'a, 'a, W, V2DeflateSerializer>>,
    engine: &'static str,
    measured: Duration,
}

/// How many intervals a thread may lag behind another before its report counts for the oldest open one.
const OPEN_MAX: usize = 4;
const NANOS_IN_MICRO: f64 = 1e3;
/// The log's maximum column is in milliseconds, its histograms in nanoseconds.
const LOG_MAX_DIVISOR: f64 = 1e6;
/// Points of the curve between two halvings of what is left to 100 %.
const CURVE_STEPS: u32 = 5;
const MICROS_IN_SECOND: f64 = 1e6;

impl<'a, W: Write> Collector<'a, W> {
    /// With a `log`, its header is written now.
    pub fn new(settings: &Settings, log: Option<&'a mut W>) -> Result<Collector<'a, W>, String> {
        let log = match log {
            Some(log) => {
                let now = SystemTime::now();
                // The writer borrows its serializer; one per run may live as long as the process.
                let serializer = Box::leak(Box::new(V2DeflateSerializer::new()));
                let writer = IntervalLogWriterBuilder::new()
                    .add_comment(&format!("ringgate bench {} (latencies in nanoseconds)", settings.url))
                    .with_start_time(now)
                    .with_base_time(now)
                    .with_max_value_divisor(LOG_MAX_DIVISOR)
                    .begin_log_with(log, serializer)
                    .map_err(|error| format!("cannot write the interval log: {error}"))?;
                Some(writer)
            }
            None => None,
        };
        Ok(Collector {
            total: Tally::default(),
            open: VecDeque::new(),
            first_open: 0,
            intervals: Vec::new(),
            log,
            engine: "",
            measured: Duration::ZERO,
        })
    }

    /// Adds one thread's interval. The error is one of writing the log.
    pub fn interval(&mut self, index: u64, tally: Tally) -> Result<(), String> {
        let place = usize::try_from(index.saturating_sub(self.first_open)).unwrap_or(usize::MAX);
        for _ in self.open.len()..=place {
            self.open.push_back(Tally::default());
            if self.open.len() > OPEN_MAX {
                self.close_oldest()?;
            }
        }
        let place = usize::try_from(index.saturating_sub(self.first_open)).unwrap_or(usize::MAX);
        if let Some(open) = self.open.get_mut(place) {
            open.add(&tally);
        }
        Ok(())
    }

    pub fn finished(&mut self, engine: &'static str, measured: Duration) {
        self.engine = engine;
        self.measured = self.measured.max(measured);
    }

    fn close_oldest(&mut self) -> Result<(), String> {
        let Some(tally) = self.open.pop_front() else { return Ok(()) };
        if let Some(log) = &mut self.log {
            let start = INTERVAL * u32::try_from(self.first_open).unwrap_or(u32::MAX);
            log.write_histogram(&tally.latency, start, INTERVAL, None)
                .map_err(|error| format!("cannot write the interval log: {error:?}"))?;
        }
        self.intervals.push(IntervalResult {
            second: self.first_open,
            requests: tally.requests,
            errors: tally.errors_total(),
            p50_us: micros(tally.latency.value_at_quantile(0.5)),
            p99_us: micros(tally.latency.value_at_quantile(0.99)),
            max_us: micros(tally.latency.max()),
        });
        self.total.add(&tally);
        self.first_open += 1;
        Ok(())
    }

    /// The results, once every thread has finished.
    pub fn results(mut self, settings: &Settings) -> Result<Results, String> {
        while !self.open.is_empty() {
            self.close_oldest()?;
        }
        // The last interval is only as long as the in-flight requests took; an empty one says nothing.
        self.intervals.pop_if(|last| last.requests == 0 && last.errors == 0);
        let total = &self.total;
        let elapsed_us = u64::try_from(self.measured.as_micros()).unwrap_or(u64::MAX);
        let errors = total.errors.iter().map(|(kind, count)| {
            let example = total.examples.get(kind).cloned().unwrap_or_default();
            (*kind, ErrorCount { count: *count, example })
        });
        Ok(Results {
            url: settings.url.clone(),
            connections: settings.connections,
            threads: settings.threads,
            engine: self.engine.to_owned(),
            rate: settings.rate,
            elapsed_us,
            requests: total.requests,
            per_second: total.requests as f64 * MICROS_IN_SECOND / (elapsed_us.max(1) as f64),
            bytes_received: total.bytes_received,
            latency_us: latency(&total.latency),
            statuses: total.statuses.clone(),
            errors_total: total.errors_total(),
            errors: errors.collect(),
            unsent: total.unsent,
            percentiles: curve(&total.latency),
            intervals: self.intervals,
        })
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / NANOS_IN_MICRO
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let at = |quantile| micros(histogram.value_at_quantile(quantile));
    Latency {
        min: micros(histogram.min()),
        mean: histogram.mean() / NANOS_IN_MICRO,
        stdev: histogram.stdev() / NANOS_IN_MICRO,
        p50: at(0.5),
        p75: at(0.75),
        p90: at(0.9),
        p99: at(0.99),
        p99_9: at(0.999),
        p99_99: at(0.9999),
        max: micros(histogram.max()),
    }
}

fn curve(histogram: &Histogram<u64>) -> Vec<Percentile> {
    histogram
        .iter_quantiles(CURVE_STEPS)
        .map(|value| Percentile { percentile: value.quantile() * 100.0, latency_us: micros(value.value_iterated_to()) })
        .collect()
}

impl Results {
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data without maps of odd keys is always JSON");
        text.push('\n');
        text
    }

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let l = &self.latency_us;
        let seconds = self.elapsed_us as f64 / MICROS_IN_SECOND;
        let loop_kind = self.rate.map_or("closed loop".to_owned(), |rate| format!("{rate} a second asked for"));
        let [t50, t90, t99, t999, t9999, max] = [l.p50, l.p90, l.p99, l.p99_9, l.p99_99, l.max].map(time);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}\n{} connections, {} {} on {}, {loop_kind}, {seconds:.1} s",
            self.url,
            self.connections,
            self.threads,
            if self.threads == 1 { "thread" } else { "threads" },
            self.engine
        );
        let _ = writeln!(
            text,
            "  requests  {} right, {} a second, {} received a second",
            count(self.requests),
            count(self.per_second.round() as u64),
            bytes(self.bytes_received as f64 / seconds.max(1e-6))
        );
        let _ =
            writeln!(text, "  latency   p50 {t50}   p90 {t90}   p99 {t99}   p99.9 {t999}   p99.99 {t9999}   max {max}");
        for (status, times) in &self.statuses {
            let _ = writeln!(text, "  status    {status}: {}", count(*times));
        }
        for (kind, error) in &self.errors {
            let _ = writeln!(text, "  errors    {} × {} (first: {})", count(error.count), kind.text(), error.example);
        }
        if self.errors.is_empty() {
            text.push_str("  errors    none\n");
        }
        if self.unsent > 0 {
            let _ = writeln!(
                text,
                "  the rate was not reached: {} requests were due and had not begun at the end",
                count(self.unsent)
            );
        }
        text
    }
}

/// Microseconds for people: "830 µs", "1.25 ms", "2.10 s".
pub fn time(micros: f64) -> String {
    match micros {
        micros if micros < 1_000.0 => format!("{micros:.0} µs"),
        micros if micros < 1_000_000.0 => format!("{:.2} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// 1234567 as "1,234,567".
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: f64) -> String {
    let mut scaled = number;
    for unit in ["B", "KiB", "MiB"] {
        if scaled < 1024.0 {
            return format!("{scaled:.1} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn tally(latencies_us: std::ops::RangeInclusive<u64>) -> Tally {
        let mut tally = Tally::default();
        latencies_us.for_each(|micros| tally.right(micros * 1000, Some(200), 10));
        tally
    }

    #[test]
    fn threads_and_intervals_merge_into_one_result_and_one_log() {
        let settings = super::super::load::tests::settings("http://127.0.0.1:1/");
        let mut log = Vec::new();
        let mut collector = Collector::new(&settings, Some(&mut log)).unwrap();
        for index in 0..10 {
            collector.interval(index, tally(1..=50)).unwrap();
            collector.interval(index, tally(51..=100)).unwrap();
        }
        collector.finished("uring", Duration::from_secs(10));
        let results = collector.results(&settings).unwrap();
        assert_eq!((results.requests, results.intervals.len()), (1000, 10));
        assert!((results.latency_us.p50 - 50.0).abs() < 1.0, "{:?}", results.latency_us);
        assert!((results.latency_us.p99 - 99.0).abs() < 1.0, "{:?}", results.latency_us);
        assert_eq!(results.per_second, 100.0);
        let parsed: Results = serde_json::from_str(&results.to_json()).unwrap();
        assert_eq!(parsed, results);

        let mut deserializer = Deserializer::new();
        let mut in_log = 0;
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = base64_of_log(interval.encoded_histogram());
                let histogram: Histogram<u64> = deserializer.deserialize(&mut &bytes[..]).unwrap();
                in_log += histogram.len();
            }
        }
        assert_eq!(in_log, 1000);
    }

    /// Plain base64 (RFC 4648 section 4), as the log's histograms are written in.
    fn base64_of_log(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let mut bytes = Vec::new();
        let (mut bits, mut held) = (0u32, 0);
        for byte in text.bytes().filter(|&byte| byte != b'=') {
            bits = bits << 6 | u32::from(value(byte));
            held += 6;
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held) as u8);
            }
        }
        bytes
    }

    #[test]
    fn a_report_that_is_late_is_not_lost() {
        let settings = super::super::load::tests::settings("http://127.0.0.1:1/");
        let mut collector = Collector::new(&settings, None::<&mut Vec<u8>>).unwrap();
        collector.interval(9, tally(1..=5)).unwrap();
        collector.interval(0, tally(1..=5)).unwrap();
        assert_eq!(collector.results(&settings).unwrap().requests, 10);
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([count(7), count(1000), count(1234567)], ["7", "1,000", "1,234,567"]);
        assert_eq!([time(12.4), time(1250.0), time(2.1e6)], ["12 µs", "1.25 ms", "2.10 s"]);
    }
}
