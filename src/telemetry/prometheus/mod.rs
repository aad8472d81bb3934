//! Counters as text in the Prometheus exposition format, version 0.0.4.
//!
//! It formats and knows no listener or route: whoever calls it (the admin listener) says which things there are and
//! what they are called. It reads atomics only, so however long a page is, no worker waits for it.

use super::histogram::{BOUNDS, HistogramReading};
use super::stats::{CLASSES, Metric, Read, Row, Stats};
use crate::base::{Counter, Sharded};
use std::fmt::{Display, Write as _};

/// The content type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The shards that one series is summed over.
#[derive(Debug)]
pub enum Shards<'a, S> {
    One(&'a S),
    All(&'a Sharded<S>),
}

/// One thing that is counted: its labels as [`labels`] writes them, and its counters.
#[derive(Debug)]
pub struct Counted<'a, S> {
    pub labels: String,
    pub shards: Shards<'a, S>,
}

impl<S> Counted<'_, S> {
    fn each(&self, mut read: impl FnMut(&S)) {
        match self.shards {
            Shards::One(stats) => read(stats),
            Shards::All(shards) => shards.iter().for_each(read),
        }
    }
}

/// `name="value",...` without the braces. Values may be any text.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

/// A page of metrics that is being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// A page that has room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Page {
        Page { text: String::with_capacity(bytes) }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// All metrics of one table for all things of its kind. `reasons` names the failure kinds by index.
    pub fn table<S: Stats>(&mut self, things: &[Counted<'_, S>], reasons: &[&str]) {
        for row in S::TABLE {
            self.head(&row.metric);
            for thing in things {
                self.row(row, thing, reasons);
            }
        }
    }

    /// One metric with a value for each set of labels.
    pub fn metric<V: Display>(&mut self, metric: &Metric, samples: impl IntoIterator<Item = (String, V)>) {
        self.head(metric);
        for (labels, value) in samples {
            self.sample(metric.name, "", &labels, "", "", value);
        }
    }

    fn row<S: Stats>(&mut self, row: &Row<S>, thing: &Counted<'_, S>, reasons: &[&str]) {
        let (name, labels) = (row.metric.name, thing.labels.as_str());
        match row.read {
            Read::Counter(read) => {
                let mut sum = 0u64;
                thing.each(|stats| sum = sum.wrapping_add(read(stats).get()));
                self.sample(name, "", labels, "", "", sum);
            }
            Read::Gauge(read) => {
                let mut sum = 0i64;
                thing.each(|stats| sum = sum.wrapping_add(read(stats).get()));
                self.sample(name, "", labels, "", "", sum);
            }
            Read::Span(read) => {
                let mut micros = 0i64;
                thing.each(|stats| micros = micros.wrapping_add(read(stats).get()));
                self.sample(name, "", labels, "", "", format_args!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
            }
            Read::Histogram(read) => {
                let mut reading = HistogramReading::default();
                thing.each(|stats| reading.add(read(stats)));
                self.histogram(name, labels, &reading);
            }
            Read::Failures(read) => self.labelled(name, thing, read, "reason", reasons, false),
            Read::Classes(read) => self.labelled(name, thing, read, "class", &CLASSES, true),
        }
    }

    /// One series for each value of a label of the metric's own; those at 0 only if `zeros`.
    fn labelled<S>(
        &mut self,
        name: &str,
        thing: &Counted<'_, S>,
        read: fn(&S) -> &[Counter],
        label: &str,
        values: &[&str],
        zeros: bool,
    ) {
        for (index, value) in values.iter().enumerate() {
            let mut sum = 0u64;
            thing.each(|stats| sum = sum.wrapping_add(read(stats).get(index).map_or(0, Counter::get)));
            if zeros || sum > 0 {
                self.sample(name, "", &thing.labels, label, value, sum);
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, reading: &HistogramReading) {
        for (count, (_, le)) in reading.cumulative().into_iter().zip(BOUNDS) {
            self.sample(name, "_bucket", labels, "le", le, count);
        }
        // `_count` must equal the bucket of +Inf, so both are the same reading and not a counter of its own.
        let count = reading.count();
        self.sample(name, "_bucket", labels, "le", "+Inf", count);
        let micros = reading.sum_micros();
        self.sample(name, "_sum", labels, "", "", format_args!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
        self.sample(name, "_count", labels, "", "", count);
    }

    fn head(&mut self, metric: &Metric) {
        // Help texts are ours: no backslash and no line break is in them.
        let _ = writeln!(self.text, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(self.text, "# TYPE {} {}", metric.name, metric.kind.name());
    }

    /// `labels` are written already; `label` is one more, unless it is empty.
    fn sample(&mut self, name: &str, suffix: &str, labels: &str, label: &str, label_value: &str, value: impl Display) {
        let text = &mut self.text;
        text.push_str(name);
        text.push_str(suffix);
        if !labels.is_empty() || !label.is_empty() {
            text.push('{');
            text.push_str(labels);
            if !label.is_empty() {
                let comma = if labels.is_empty() { "" } else { "," };
                // The values are ours: reasons, classes and bounds need no escape.
                let _ = write!(text, "{comma}{label}=\"{label_value}\"");
            }
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

#[cfg(test)]
pub(crate) mod strict;
#[cfg(test)]
mod tests;
