//! The checks of the fuzz targets over their seeds, and over seeds changed by chance: what `scripts/fuzz` does for as long
//! as it is let, in a second and without a fuzzer. Anything that a fuzzer ever found belongs into the corpus.

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;

/// The seeds of one target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = files
        .map(|file| file.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    seeds.extend(crate::conformance::seeds::of(target));
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

/// One change: bytes of another seed, of what parsers stumble over, or of chance, in place of some.
fn change(bytes: &mut Vec<u8>, (at, cut, piece): (usize, usize, Vec<u8>)) {
    let start = at % (bytes.len() + 1);
    let end = (start + cut).min(bytes.len());
    bytes.splice(start..end, piece);
}

fn any_change(seeds: &[(String, Vec<u8>)]) -> impl Strategy<Value = (usize, usize, Vec<u8>)> + use<> {
    let of_seeds: Vec<Vec<u8>> = seeds.iter().flat_map(|(_, bytes)| bytes.chunks(9)).map(<[u8]>::to_vec).collect();
    let awkward: [&[u8]; 12] =
        [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"0", b"\r\n\r\n", b"\xff", b"18446744073709551616"];
    let awkward = awkward.map(<[u8]>::to_vec).to_vec();
    let piece = prop_oneof![
        prop::sample::select(of_seeds),
        prop::sample::select(awkward),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    (any::<usize>(), 0usize..6, piece)
}

fn run(target: &str, check: fn(&[u8]), cases: u32) {
    let seeds = seeds(target);
    for (name, bytes) in &seeds {
        println!("{name}");
        check(bytes);
    }
    let changed = (0..seeds.len(), prop::collection::vec(any_change(&seeds), 1..5)).prop_map({
        let seeds = seeds.clone();
        move |(seed, changes)| {
            let mut bytes = seeds[seed].1.clone();
            changes.into_iter().for_each(|one| change(&mut bytes, one));
            bytes
        }
    });
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&changed, |bytes| {
        check(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{target}: {error}"));
}

/// Changed seeds for each target. Of configurations fewer: one takes as long as ten others.
fn cases(target: &str) -> u32 {
    if target == "configuration" { 1000 } else { 4000 }
}

#[test]
fn checks_hold_for_seeds_and_changed_seeds() {
    std::thread::scope(|scope| {
        for (target, check) in targets::ALL {
            scope.spawn(|| run(target, *check, cases(target)));
        }
    });
}

#[test]
fn every_folder_of_seeds_belongs_to_a_target() {
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")).unwrap();
    let mut folders: Vec<String> =
        folders.map(|folder| folder.unwrap().file_name().to_string_lossy().into_owned()).collect();
    folders.sort();
    assert_eq!(folders, targets::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
