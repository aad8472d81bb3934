//! A parser for tests that takes the text format 0.0.4 as its description words it and nothing looser: metadata before
//! samples, a metric's samples in one group, no series twice, whole histograms. Not for reading anybody else's metrics.

use std::collections::{BTreeMap, HashSet};

/// Every series with its value. The key is the line up to the value.
pub(crate) type Series = BTreeMap<String, f64>;

/// Takes a page apart; the first thing that is wrong with it, and its line, is the error.
pub(crate) fn parse(page: &str) -> Result<Series, String> {
    if !page.is_empty() && !page.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    let mut series = Series::new();
    let mut seen = HashSet::new();
    let mut family: Option<(String, String)> = None;
    let mut helped: Option<String> = None;
    for line in page.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or(format!("no help: {line}"))?;
            if help.contains('\\') || !seen.insert(name.to_owned()) {
                return wrong("a backslash in help, or a metric in two groups");
            }
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or(format!("no type: {line}"))?;
            if helped.as_deref() != Some(name) || !["counter", "gauge", "histogram"].contains(&kind) {
                return wrong("a type without its help, or an unknown type");
            }
            family = Some((name.to_owned(), kind.to_owned()));
        } else {
            let (name, labels, value) = sample(line)?;
            let Some((family, kind)) = &family else {
                return wrong("a sample before any type");
            };
            let suffix = name.strip_prefix(family.as_str());
            let fits = match kind.as_str() {
                "histogram" => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
                _ => suffix == Some(""),
            };
            if !fits {
                return wrong("a sample outside its group");
            }
            let key = format!("{name}{{{}}}", labels.join(","));
            if series.insert(key, value).is_some() {
                return wrong("a series twice");
            }
        }
    }
    histograms_are_whole(&series)?;
    Ok(series)
}

/// Name, labels as written, value.
fn sample(line: &str) -> Result<(&str, Vec<String>, f64), String> {
    let wrong = |why: &str| format!("{why}: {line}");
    let end = line.find(['{', ' ']).ok_or_else(|| wrong("no value"))?;
    let name = &line[..end];
    if !is_name(name) {
        return Err(wrong("not a name"));
    }
    let mut rest = &line[end..];
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or_else(|| wrong("not a label"))?;
            let length = quoted(after).ok_or_else(|| wrong("not a label value"))?;
            if !is_name(label) || label.contains(':') {
                return Err(wrong("not a label name"));
            }
            labels.push(format!("{label}=\"{}\"", &after[..length]));
            rest = &after[length + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').ok_or_else(|| wrong("labels do not end"))?;
    }
    let names: HashSet<_> = labels.iter().filter_map(|label| label.split('=').next()).collect();
    if names.len() != labels.len() {
        return Err(wrong("a label twice"));
    }
    let value = rest.strip_prefix(' ').ok_or_else(|| wrong("no value"))?;
    let value = value.parse().map_err(|_| wrong("not a value"))?;
    Ok((name, labels, value))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// The bytes before the closing quote; `None` if an escape is not one of the three that exist or no quote closes.
fn quoted(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at),
            b'\\' if !matches!(bytes.next(), Some((_, b'\\' | b'"' | b'n'))) => return None,
            _ => {}
        }
    }
    None
}

/// Buckets rise with `le`, the last is `+Inf` and equals `_count`.
fn histograms_are_whole(series: &Series) -> Result<(), String> {
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (key, count) in series {
        let Some((name, labels)) = key.split_once("_bucket{") else {
            continue;
        };
        let start = labels.find("le=\"").ok_or(format!("no le: {key}"))?;
        let le = labels[start + 4..].split('"').next().unwrap_or_default();
        let others = labels[..start].trim_end_matches(',');
        let le = if le == "+Inf" { f64::INFINITY } else { le.parse().map_err(|_| format!("le: {key}"))? };
        buckets.entry(format!("{name}_count{{{others}}}")).or_default().push((le, *count));
    }
    for (count, mut buckets) in buckets {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rises = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let last = buckets.last().filter(|(le, _)| le.is_infinite()).map(|(_, count)| count);
        if !rises || last != series.get(&count) {
            return Err(format!("not a histogram: {count}"));
        }
    }
    Ok(())
}
