//! The cases as seeds for the fuzz targets. The everyday checks take them from here; `scripts/fuzz` has them written to a
//! folder (`SEEDS_FOLDER`).

use super::{requests, responses};
use std::fs;
use std::path::Path;

/// No longer than the limits of the checks let matter.
const SEED_MAX: usize = 2048;

/// The seeds of one target; none for a target that the cases are of no use to.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let requests = || requests().into_iter().map(|case| (case.name, case.sent));
    let seeds: Vec<(&str, Vec<u8>)> = match target {
        "request_head" => requests().collect(),
        "response_head" => responses::cases().into_iter().map(|case| (case.name, case.script.bytes)).collect(),
        "chunked_body" => requests().filter_map(|(name, sent)| Some((name, chunks(&sent)?))).collect(),
        "path" => requests().filter_map(|(name, sent)| Some((name, path(&sent)?))).collect(),
        _ => Vec::new(),
    };
    let small = seeds.into_iter().filter(|(_, bytes)| bytes.len() <= SEED_MAX);
    small.map(|(name, bytes)| (format!("conformance: {name}"), bytes)).collect()
}

/// What follows the head of a chunked request.
fn chunks(sent: &[u8]) -> Option<Vec<u8>> {
    let end = sent.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    String::from_utf8_lossy(&sent[..end]).contains("chunked").then(|| sent[end..].to_vec())
}

/// What the second word is, if it looks like a path.
fn path(sent: &[u8]) -> Option<Vec<u8>> {
    let word = sent.split(|byte| *byte == b' ').nth(1)?;
    word.starts_with(b"/").then(|| word.to_vec())
}

#[test]
fn every_parser_has_seeds() {
    for target in ["request_head", "response_head", "chunked_body", "path"] {
        let seeds = of(target);
        assert!(seeds.len() >= 15, "{target} has {} seeds", seeds.len());
        let Some(folder) = std::env::var_os("SEEDS_FOLDER") else { continue };
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder).expect("a folder");
        for (number, (_, bytes)) in seeds.into_iter().enumerate() {
            fs::write(folder.join(format!("case-{number}")), bytes).expect("a file");
        }
    }
}
