//! `docs/http-conformance.md`, written from the cases.

use super::areas;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

const HEADING: &str = "\
# HTTP/1.1 conformance, case by case

Every row is a test that sends these bytes to the gateway over a socket, once in one piece and once byte by byte, on both
drivers, and compares what the client and the origin get. The number is the RFC's and its section. \"Closed\" means that
the client gets the answer and then an orderly end of its connection; \"kept open\" that the next request on the same
connection is answered.

This page is written from the tables in `tests/it/conformance/`; [HTTP](http.md) says the same in rules.
";

fn page() -> String {
    let mut text = HEADING.to_owned();
    let count: usize = areas().iter().map(|(_, cases)| cases.len()).sum();
    text.push_str(&format!("\n{count} cases.\n"));
    for (title, cases) in areas() {
        text.push_str(&format!(
            "\n## {title}\n\n| RFC | case | what the RFC says | what Ringgate does |\n|---|---|---|---|\n"
        ));
        for case in cases {
            let why = if case.why.is_empty() { String::new() } else { format!(". {}", case.why) };
            let row = format!("| {} | {} | {} | {}{why} |\n", case.section, case.name, case.rfc, case.outcome());
            text.push_str(&row);
        }
    }
    text
}

#[test]
fn the_page_is_that_of_the_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http-conformance.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, page()).expect("the guide can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "the page is not that of the cases: run UPDATE_GOLDEN=1 cargo test --test it conformance");
}

#[test]
fn every_case_has_a_name_of_its_own_and_says_what_the_rfc_says() {
    let mut names = HashSet::new();
    let mut count = 0;
    for (title, cases) in areas() {
        for case in cases {
            assert!(names.insert((title, case.section, case.name)), "twice: {} {}", case.section, case.name);
            assert!(!case.rfc.is_empty(), "{} {} does not say what the RFC says", case.section, case.name);
            count += 1;
        }
    }
    assert!(count >= 200, "{count} cases");
}
