//! Holds the tree to its own rules: who may import whom, how long a file or function may grow, which words are used,
//! where `unsafe` may stand, and that every source file is part of the build. It reads text and knows no types, so it is
//! quick and its messages say what to do. It judges form, never behaviour.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/lexer.rs"]
mod lexer;

use lexer::{Token, TokenKind, line_of, tokens};

/// Folder (or file) of `src` and the others that it may import. `cli`, `main` and `lib` may import all.
/// This is the table of the architecture page, with these changes:
/// - `snapshot` and `upstream` carry the counters that belong to an identity, so they know the types of `telemetry`;
/// - `health` holds the failure table, which `telemetry` labels and `connection` answers by;
/// - `listener` asks an identity of `upstream` which kind of socket it has;
/// - `worker` makes the context that the connections of its listeners share;
/// - `control` wires what workers report to the admin pages through values, never through the engine.
const IMPORTS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("telemetry", &["base"]),
    ("engine", &["base", "telemetry"]),
    ("protocol", &["base"]),
    ("upstream", &["base", "telemetry"]),
    ("router", &["base", "protocol", "upstream"]),
    ("balancer", &["base", "upstream"]),
    ("health", &["base", "upstream"]),
    ("snapshot", &["base", "upstream", "router", "balancer", "health", "telemetry"]),
    (
        "connection",
        &["engine", "protocol", "router", "balancer", "upstream", "health", "snapshot", "telemetry", "base"],
    ),
    ("listener", &["engine", "connection", "protocol", "snapshot", "upstream", "telemetry", "base"]),
    ("worker", &["engine", "listener", "connection", "snapshot", "telemetry", "base"]),
    ("control", &["snapshot", "router", "balancer", "upstream", "health", "protocol", "telemetry", "base"]),
];

/// Folders whose code takes values in and gives effects out.
const PURE: &[&str] = &["protocol", "router", "balancer", "upstream", "health", "snapshot"];

/// What a pure folder never contains, and what the rule protects.
const IMPURE: &[(&str, &str)] = &[
    ("Mutex", "holds no lock"),
    ("RwLock", "holds no lock"),
    ("TcpStream", "does no I/O"),
    ("TcpListener", "does no I/O"),
    ("UdpSocket", "does no I/O"),
    ("File", "does no I/O"),
    ("async", "is not async"),
    ("await", "is not async"),
    ("tokio", "is not async"),
    ("thread", "starts nothing"),
];

/// Folders that run on worker threads: nothing in them may wait for anything but the engine.
const WORKER_SIDE: &[&str] = &["connection", "listener", "worker"];
const BLOCKING: &[&str] = &["Mutex", "RwLock", "Condvar", "tokio", "axum", "mpsc"];

/// Words that the glossary replaces, and by what.
const WORDS: &[(&str, &str)] = &[
    ("backend", "endpoint or upstream"),
    ("cluster", "upstream"),
    ("peer", "client, endpoint or the other side"),
    ("node", "endpoint"),
    ("vhost", "route or host"),
    ("frontend", "listener"),
    ("manager", "the noun of what it does"),
    ("util", "the noun of what it holds"),
    ("helper", "the noun of what it does"),
    ("common", "shared, or the noun of what it holds"),
    ("misc", "the noun of what it holds"),
];

/// Identifiers of others' interfaces that contain such a word.
const FOREIGN: &[&str] = &[
    "peer_addr",
    "getpeername",
    "SO_PEERCRED",
    "http_body_util",
    "hyper_util",
    "futures_util",
    "crossbeam_utils",
    "bench_util",
    "peer_pid",
    "ax_node",
];

/// Lines: a file above the first is listed, above the second it fails.
const FILE_LINES_AIM: usize = 500;
const FILE_LINES_MAX: usize = 1_000;
/// Lines from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that may be longer: (file, function, why).
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// Where `unsafe` may stand.
const UNSAFE_FOLDERS: &[&str] = &["src/engine/", "src/base/"];
/// Single files that may use `unsafe` too: (file, why).
const UNSAFE_FILES: &[(&str, &str)] = &[];

struct Source {
    /// Relative to the package, with forward slashes.
    path: String,
    text: String,
    tokens: Vec<Token>,
    /// Byte offset of the first `#[cfg(test)]` item that ends the file, or its length.
    product_end: usize,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let relative = path.strip_prefix(root).expect("found under the root").to_string_lossy().replace('\\', "/");
        let tokens = tokens(&text);
        let product_end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        Source { path: relative, text, tokens, product_end }
    }

    /// The folder of `src`, or the stem of a file that lies directly in it; `None` outside `src`.
    fn folder(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs"))
    }

    fn is_test(&self) -> bool {
        !self.path.starts_with("src/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Tokens of kind code that are part of the product: not of a test module at the end of the file.
    fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test() { 0 } else { self.product_end };
        self.code().filter(move |(offset, _)| *offset < end)
    }

    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.tokens
            .iter()
            .filter(|token| token.kind == TokenKind::Code)
            .map(|token| (token.start, &self.text[token.start..token.end]))
    }

    fn place(&self, offset: usize) -> String {
        format!("{}:{}", self.path, line_of(&self.text, offset))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("out") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for folder in folders {
        rust_files(&root.join(folder), &mut paths);
    }
    paths.iter().map(|path| Source::read(&root, path)).collect()
}

fn fail_on(findings: &[String], rule: &str) {
    let mut message = String::new();
    for finding in findings {
        let _ = writeln!(message, "  {finding}");
    }
    assert!(findings.is_empty(), "{rule}\n{message}");
}

/// The modules of this crate that the code names: `crate::a::b`, `use crate::{a::b, c}`.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let code: Vec<(usize, &str)> = source.product_code().collect();
    let mut found = Vec::new();
    for (index, (offset, word)) in code.iter().enumerate() {
        if *word != "crate" || code.get(index + 1).map(|token| token.1) != Some("::") {
            continue;
        }
        match code.get(index + 2) {
            Some((_, "{")) => found.extend(braced(&code[index + 3..])),
            Some((_, name)) => found.push((*offset, (*name).to_string())),
            None => {}
        }
    }
    found
}

/// The first names of the parts of a braced import, up to its closing brace.
fn braced(code: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut depth = 0;
    let mut first = true;
    let mut found = Vec::new();
    for (offset, word) in code {
        match *word {
            "{" => depth += 1,
            "}" if depth == 0 => break,
            "}" => depth -= 1,
            "," if depth == 0 => first = true,
            name if first && depth == 0 => {
                found.push((*offset, name.to_string()));
                first = false;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn folders_import_only_what_the_table_allows() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let folder = source.folder().expect("under src").to_string();
        if matches!(folder.as_str(), "main" | "lib" | "cli") {
            continue;
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == folder) else {
            findings.push(format!("{}: the folder `{folder}` has no row in IMPORTS", source.path));
            continue;
        };
        for (offset, module) in imports(&source) {
            let known = module == "cli" || IMPORTS.iter().any(|(name, _)| *name == module);
            if known && module != folder && !allowed.contains(&module.as_str()) {
                findings.push(format!("{}: `{folder}` may not import `{module}`", source.place(offset)));
            }
        }
    }
    fail_on(&findings, "The import table (IMPORTS in tests/tidy.rs, from the architecture page) is broken:");
}

#[test]
fn pure_folders_read_no_clock_and_wait_for_nothing() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let folder = source.folder().expect("under src").to_string();
        let code: Vec<(usize, &str)> = source.product_code().collect();
        for (index, (offset, word)) in code.iter().enumerate() {
            let clock =
                matches!(*word, "Instant" | "SystemTime") && code.get(index + 2).is_some_and(|next| next.1 == "now");
            if PURE.contains(&folder.as_str()) {
                if clock {
                    findings.push(format!("{}: a pure module reads no clock; take `now`", source.place(*offset)));
                }
                if let Some((_, rule)) = IMPURE.iter().find(|(name, _)| name == word) {
                    findings.push(format!("{}: `{word}`: a pure module {rule}", source.place(*offset)));
                }
            }
            if WORKER_SIDE.contains(&folder.as_str()) && BLOCKING.contains(word) {
                findings.push(format!("{}: `{word}`: a worker waits for the engine alone", source.place(*offset)));
            }
        }
    }
    fail_on(&findings, "A module does what its folder never does:");
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests", "bench", "fuzz"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}: split it", source.path));
        } else if lines > FILE_LINES_AIM {
            println!("{}: {lines} lines, the aim is {FILE_LINES_AIM}", source.path);
        }
    }
    fail_on(&findings, "Files too long:");
}

/// Name, offset and lines of each function with a body.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let code: Vec<(usize, &str)> = source.code().collect();
    let mut found = Vec::new();
    for (index, (offset, word)) in code.iter().enumerate() {
        let Some((_, name)) = code.get(index + 1) else { break };
        if *word != "fn" || !name.starts_with(|first: char| first.is_alphabetic() || first == '_') {
            continue;
        }
        if let Some(end) = body_end(&code[index + 2..]) {
            let lines = line_of(&source.text, end) - line_of(&source.text, *offset) + 1;
            found.push(((*name).to_string(), *offset, lines));
        }
    }
    found
}

/// The offset of the brace that closes the first block; `None` where a semicolon comes first (no body).
fn body_end(code: &[(usize, &str)]) -> Option<usize> {
    let mut braces = 0usize;
    let mut brackets = 0usize;
    for (offset, word) in code {
        match *word {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.checked_sub(1)?,
            "{" => braces += 1,
            "}" if braces <= 1 => return (braces == 1).then_some(*offset),
            "}" => braces -= 1,
            ";" if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn functions_stay_short_enough_to_read() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests", "bench", "fuzz"]) {
        for (name, offset, lines) in functions(&source) {
            let named = LONG_FUNCTIONS.iter().any(|(file, function, _)| *file == source.path && *function == name);
            if lines > FUNCTION_LINES_MAX && !named {
                findings.push(format!("{}: `{name}` has {lines} lines", source.place(offset)));
            }
        }
    }
    fail_on(
        &findings,
        &format!(
            "Functions above {FUNCTION_LINES_MAX} lines (cut where a name says more, or name the exception in LONG_FUNCTIONS):"
        ),
    );
}

#[test]
fn long_function_exceptions_are_still_needed() {
    let sources = sources(&["src", "tests", "bench", "fuzz"]);
    let mut findings = Vec::new();
    for (file, function, _) in LONG_FUNCTIONS {
        let long = sources.iter().filter(|source| source.path == *file).any(|source| {
            functions(source).iter().any(|(name, _, lines)| name == function && *lines > FUNCTION_LINES_MAX)
        });
        if !long {
            findings.push(format!("{file}: `{function}` is not that long any more: remove it from LONG_FUNCTIONS"));
        }
    }
    fail_on(&findings, "Exceptions that nothing needs:");
}

#[test]
fn every_file_says_what_it_is() {
    let findings: Vec<String> = sources(&["src", "tests", "bench", "fuzz"])
        .iter()
        .filter(|source| !source.text.starts_with("//!") && !source.text.starts_with("#![no_main]\n//!"))
        .map(|source| format!("{}: open it with `//!`: what it is, what it is not, who calls it", source.path))
        .collect();
    fail_on(&findings, "Files that do not say what they are:");
}

/// The files that the `mod` lines of `source` name, where they exist.
fn children(source: &Source) -> Vec<String> {
    let file = Path::new(&source.path);
    let parent = file.parent().expect("a file has a folder");
    let stem = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
    let inside = if matches!(stem.as_str(), "lib" | "main" | "mod") { parent.to_path_buf() } else { parent.join(stem) };
    let code: Vec<(usize, &str)> = source.code().collect();
    let mut found = Vec::new();
    for window in code.windows(3) {
        if let [(_, "mod"), (_, name), (_, ";")] = window {
            found.push(inside.join(format!("{name}.rs")).to_string_lossy().into_owned());
            found.push(inside.join(name).join("mod.rs").to_string_lossy().into_owned());
        }
    }
    // `#[path = "tidy/lexer.rs"]` is relative to the folder of the file.
    for line in source.text.lines() {
        if let Some(path) = line.trim().strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            let (folder, path) = match path.strip_prefix("../") {
                Some(path) => (parent.parent().expect("below the top level"), path),
                None => (parent, path),
            };
            found.push(folder.join(path).to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn every_file_is_part_of_the_build() {
    let sources = sources(&["src", "tests"]);
    let is_root = |path: &str| {
        let depth = path.matches('/').count();
        matches!(path, "src/lib.rs" | "src/main.rs" | "tests/fuzz/fuzzer.rs" | "tests/fuzz/parsers.rs")
            || (path.starts_with("tests/") && (depth == 1 || (depth == 2 && path.ends_with("/main.rs"))))
            // The fuzzer's targets, which a macro lists.
            || path.starts_with("tests/fuzz/targets/")
    };
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = sources.iter().map(|s| s.path.clone()).filter(|path| is_root(path)).collect();
    while let Some(path) = open.pop() {
        if let Some(source) = sources.iter().find(|source| source.path == path)
            && reached.insert(path)
        {
            open.extend(children(source));
        }
    }
    let findings: Vec<String> = sources
        .iter()
        .filter(|source| !reached.contains(&source.path))
        .map(|source| format!("{}: no `mod` line reaches it", source.path))
        .collect();
    fail_on(&findings, "Files that are built by nothing:");
}

/// The lower-case words of an identifier or text, with the offset of each: `UpstreamIndex`, `in_flight`, "two words".
fn words(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut start = 0;
    let mut lower_before = false;
    for (offset, character) in text.char_indices() {
        let split = !character.is_ascii_alphabetic() || (character.is_ascii_uppercase() && lower_before);
        if split && !word.is_empty() {
            found.push((start, std::mem::take(&mut word)));
        }
        if character.is_ascii_alphabetic() {
            if word.is_empty() {
                start = offset;
            }
            word.push(character.to_ascii_lowercase());
        }
        lower_before = character.is_ascii_lowercase();
    }
    if !word.is_empty() {
        found.push((start, word));
    }
    found
}

/// The glossary's replacement for `word`, singular or plural, if it is a word not used.
fn replacement(word: &str) -> Option<&'static str> {
    let singular = word.strip_suffix('s').unwrap_or(word);
    WORDS.iter().find(|(unused, _)| *unused == word || *unused == singular).map(|(_, instead)| *instead)
}

/// Whether the text of this token is ours to choose: in the product that is also what it prints.
fn is_worded(source: &Source, token: &Token) -> bool {
    match token.kind {
        TokenKind::Code => !FOREIGN.contains(&&source.text[token.start..token.end]),
        TokenKind::Comment => true,
        TokenKind::Text => {
            !source.is_test() && !source.path.starts_with("src/cli/bench") && token.start < source.product_end
        }
    }
}

/// The text with foreign names, where they stand whole, made blank.
fn without_foreign(text: &str) -> String {
    let part_of_a_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut text = text.to_string();
    for foreign in FOREIGN {
        let mut from = 0;
        while let Some(found) = text[from..].find(foreign) {
            let (start, end) = (from + found, from + found + foreign.len());
            if !text[..start].ends_with(part_of_a_name) && !text[end..].starts_with(part_of_a_name) {
                text.replace_range(start..end, &" ".repeat(foreign.len()));
            }
            from = end;
        }
    }
    text
}

#[test]
fn words_come_from_the_glossary() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests", "bench", "fuzz"]) {
        // This file names the words.
        if source.path == "tests/tidy.rs" {
            continue;
        }
        for token in source.tokens.iter().filter(|token| is_worded(&source, token)) {
            let text = without_foreign(&source.text[token.start..token.end]);
            for (offset, word) in words(&text) {
                if let Some(instead) = replacement(&word) {
                    findings.push(format!("{}: `{word}`: say {instead}", source.place(token.start + offset)));
                }
            }
        }
    }
    fail_on(&findings, "Words that are not used here (foreign names go to FOREIGN in tests/tidy.rs):");
}

/// A request has a target (RFC 9112 section 3.2), so `protocol` has types of that name; what a route sends to is none.
#[test]
fn no_type_is_called_a_target() {
    let mut findings = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| source.folder() != Some("protocol")) {
        let code: Vec<(usize, &str)> = source.product_code().collect();
        for window in code.windows(2) {
            if let [(_, "struct" | "enum" | "trait"), (offset, name)] = window
                && words(name).iter().any(|(_, word)| word == "target")
            {
                findings.push(format!("{}: `{name}`: say upstream, endpoint or destination", source.place(*offset)));
            }
        }
    }
    fail_on(&findings, "Words that are not used here:");
}

#[test]
fn guides_use_the_glossary_too() {
    let root = root();
    let mut paths = vec![root.join("README.md"), root.join("CHANGELOG.md"), root.join("conf/ringgate.toml")];
    paths.extend(fs::read_dir(root.join("docs")).into_iter().flatten().flatten().map(|entry| entry.path()));
    let mut findings = Vec::new();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            for (_, word) in words(line) {
                if let Some(instead) = replacement(&word) {
                    findings.push(format!("{}:{}: `{word}`: say {instead}", path.display(), number + 1));
                }
            }
        }
    }
    fail_on(&findings, "Words that are not used here:");
}

#[test]
fn unsafe_stands_only_beneath_and_gives_its_reason() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests"]) {
        let allowed = UNSAFE_FOLDERS.iter().any(|folder| source.path.starts_with(folder))
            || UNSAFE_FILES.iter().any(|(file, _)| *file == source.path);
        let lines: Vec<&str> = source.text.lines().collect();
        let code: Vec<(usize, &str)> = source.code().collect();
        for window in code.windows(2) {
            let [(offset, "unsafe"), (_, next)] = window else {
                continue;
            };
            if !allowed {
                findings.push(format!("{}: `unsafe` stands only in {UNSAFE_FOLDERS:?}", source.place(*offset)));
            }
            let line = line_of(&source.text, *offset);
            let before = &lines[line.saturating_sub(12)..line];
            if matches!(*next, "{" | "impl") && !before.iter().any(|line| line.contains("SAFETY:")) {
                findings.push(format!("{}: say why it holds in a `// SAFETY:` above", source.place(*offset)));
            }
        }
    }
    fail_on(&findings, "`unsafe` that the rules do not allow:");
}

/// Files that pace a load; nothing in them waits for a result by sleeping.
const PACED: &[&str] =
    &["tests/it/crowd.rs", "tests/soak/main.rs", "tests/soak/clients.rs", "tests/soak/gate.rs", "tests/soak/story.rs"];

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests"]) {
        let start = if source.is_test() { 0 } else { source.product_end };
        for (offset, word) in source.code() {
            if word == "sleep"
                && offset >= start
                && !PACED.contains(&source.path.as_str())
                && uses_wall_clock(&source, offset)
            {
                findings.push(format!("{}: wait for the condition, with a deadline", source.place(offset)));
            }
        }
    }
    fail_on(&findings, "Tests that sleep:");
}

/// Whether the name at `offset` is the sleep of a real thread or runtime, and not of an engine with its own time.
fn uses_wall_clock(source: &Source, offset: usize) -> bool {
    let before = &source.text[..offset];
    before.ends_with("thread::") || before.ends_with("tokio::time::")
}

#[test]
fn the_top_level_holds_only_what_is_fixed() {
    const FIXED: &[&str] = &[
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "bench",
        "conf",
        "scripts",
        "tests",
        "docs",
        "fuzz",
        "README.md",
        "LICENSE",
    ];
    const TOOLS: &[&str] = &["CHANGELOG.md", "target"];
    let mut findings = Vec::new();
    for entry in fs::read_dir(root()).expect("the package has a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !FIXED.contains(&name.as_str()) && !TOOLS.contains(&name.as_str()) {
            findings.push(format!("{name}: it has no place at the top level"));
        }
    }
    fail_on(&findings, "The top level is fixed:");
}
