//! The guides' examples: every file that they show passes `ringgate check`, and what `ringgate demo` tells a newcomer to
//! type works.

use crate::harness::{Client, Engine, Gate, curl, on_each_engine};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

on_each_engine!(the_demo_does_what_it_says);

fn guides() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    let pages = fs::read_dir(root.join("docs")).expect("there are guides").flatten().map(|entry| entry.path());
    found.extend(pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    found
}

/// The fenced blocks of this language, each with the number of its first line. A block marked `toml fragment` is no whole
/// file, and not of the language `toml` here.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut block: Option<(usize, String)> = None;
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), fenced) {
            (Some(info), false) => {
                fenced = true;
                block = (info == language).then(|| (index + 2, String::new()));
            }
            (Some(_), true) => {
                fenced = false;
                found.extend(block.take());
            }
            (None, _) => {
                if let Some((_, text)) = &mut block {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    found
}

/// The blocks that are indented and no part of a list, each with the number of its first line.
fn indented(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("    "), open, line.is_empty()) {
            (Some(code), true, _) => {
                if let Some((_, block)) = found.last_mut() {
                    block.push_str(code);
                    block.push('\n');
                }
            }
            (Some(code), false, _) => {
                open = true;
                found.push((index + 1, format!("{code}\n")));
            }
            // An empty line may stand within a block.
            (None, _, true) => {}
            (None, _, false) => open = false,
        }
    }
    found
}

/// Every whole configuration that a guide shows: what is marked as one, and each indented block that has both ends of a
/// request's way.
fn files_shown(text: &str) -> Vec<(usize, String)> {
    let whole = |(_, block): &(usize, String)| block.contains("[[listener]]") && block.contains("[upstream.");
    blocks(text, "toml").into_iter().chain(indented(text).into_iter().filter(whole)).collect()
}

#[test]
fn every_file_that_a_guide_shows_passes_the_check() {
    let folder = std::env::temp_dir().join(format!("ringgate-it-guides-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let file = folder.join("shown.toml");
    let mut count = 0;
    for guide in guides() {
        for (line, text) in files_shown(&fs::read_to_string(&guide).expect("a text")) {
            fs::write(&file, text).expect("a temporary file");
            let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
            let output = command.arg("check").arg(&file).output().expect("the program starts");
            let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{}:{line}: {out}{error}", guide.display());
            count += 1;
        }
    }
    fs::remove_dir_all(&folder).expect("our own folder");
    assert!(count >= 4, "the guides show {count} files");
}

#[test]
fn links_between_guides_lead_somewhere() {
    for guide in guides() {
        let text = fs::read_to_string(&guide).expect("a text");
        let folder = guide.parent().expect("a file has a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or(link);
            if !link.contains("://") && !path.is_empty() {
                assert!(folder.join(path).exists(), "{}: nothing is at {link}", guide.display());
            }
        }
    }
}

fn the_demo_does_what_it_says(engine: Engine) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    command.env("RINGGATE_ENGINE", engine.name());
    let mut demo = Gate::start_demo(command);
    // The three lines to try, as they stand there.
    let text = demo.wait_output("Ctrl-C");
    let urls: Vec<&str> = text.split_whitespace().filter(|word| word.starts_with("http://")).collect();
    assert!(urls.len() >= 3, "{text}");
    for url in &urls {
        assert!(!curl(&["-f", url]).is_empty(), "{url}");
    }
    let mut client = Client::connect(demo.address("web"));
    let mut answers: Vec<String> = (0..10).map(|_| client.get("/").text()).collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 2, "both fast origins answer: {answers:?}");
    for _ in 0..10 {
        assert_eq!(client.get("/flaky").status, 200, "nobody notices the flaky origin");
    }
    // The sample handshake of RFC 6455 section 1.3, then one text frame, masked with nothing.
    let handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut socket = Client::connect(demo.address("web"));
    let accepted = socket.send(handshake).response();
    assert_eq!(accepted.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    socket.send(b"\x81\x85\0\0\0\0hello").expect(b"\x81\x05hello");
    Client::connect(demo.address("echo")).send("hello").expect("hello");
    demo.signal("INT");
    assert_eq!(demo.wait_exit().code(), Some(0));
}
