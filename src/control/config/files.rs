//! The configuration file and the fragments that it includes: read, with a limit on everything, and parsed as TOML.
//! What the parser cannot read becomes mistakes; the rest of the file is still checked.

use super::check::Document;
use super::keys::{FILE_BYTES_MAX, FRAGMENTS_MAX};
use super::report::{MISTAKES_SHOWN_MAX, Mistake, Place, Source};
use super::values::{border_before, shown, size_text};
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// All files of a configuration as text, the main file first.
#[derive(Debug, Default)]
pub struct Files {
    pub sources: Vec<Source>,
    /// For each source, where its relative paths begin.
    pub directories: Vec<PathBuf>,
    /// What to watch: the files, and the included directory.
    pub paths: Vec<PathBuf>,
    /// What could not be read.
    pub mistakes: Vec<Mistake>,
}

impl Files {
    /// One file that is not on disk.
    pub fn of_text(path: &str, text: &str) -> Files {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        Files { sources: vec![source], directories: vec![PathBuf::new()], ..Files::default() }
    }

    fn add(&mut self, path: &Path) -> Result<(), String> {
        let text = read_text(path)?;
        self.sources.push(Source { path: path.display().to_string(), text });
        self.directories.push(path.parent().map(Path::to_owned).unwrap_or_default());
        self.paths.push(path.to_owned());
        Ok(())
    }
}

/// Reads the file at `path` and the fragments of the directory that its `include` names.
pub fn read(path: &Path) -> Files {
    let mut files = Files::default();
    if let Err(why) = files.add(path) {
        let mistake = Mistake::of_no_place(format!("cannot read {}: {why}", path.display()));
        files.mistakes.push(mistake.help("say which file to read: `ringgate check FILE`, `ringgate run FILE`"));
        return files;
    }
    let Some((directory, place)) = included(&files) else {
        return files;
    };
    let fragments = match fragment_paths(&directory) {
        Ok(fragments) => fragments,
        Err(why) => {
            let title = format!("cannot read the directory {}", directory.display());
            files.mistakes.push(Mistake::error(title, place, why));
            return files;
        }
    };
    files.paths.push(directory);
    for fragment in fragments {
        if let Err(why) = files.add(&fragment) {
            let title = format!("cannot read {}: {why}", fragment.display());
            files.mistakes.push(Mistake::error(title, place.clone(), "included here"));
        }
    }
    files
}

/// The directory that the main file includes, and where it says so.
fn included(files: &Files) -> Option<(PathBuf, Place)> {
    let (source, directory) = (files.sources.first()?, files.directories.first()?);
    let (root, _) = DeTable::parse_recoverable(&source.text);
    let value = root.get_ref().get("include")?;
    match value.get_ref() {
        DeValue::String(include) if !include.is_empty() => {
            Some((directory.join(include.as_ref()), Place { file: 0, span: value.span() }))
        }
        _ => None,
    }
}

/// The `*.toml` files of a directory in the order of their names; hidden ones are left alone.
fn fragment_paths(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
        if paths.len() > FRAGMENTS_MAX {
            return Err(format!("more than {FRAGMENTS_MAX} files"));
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file at the limit from one above it.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {}", size_text(FILE_BYTES_MAX)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

/// What the TOML parser could not read.
#[derive(Debug, Default)]
pub struct BrokenLines {
    mistakes: Vec<Mistake>,
    /// File and lines: what else is said of them is noise.
    lines: Vec<Place>,
}

impl BrokenLines {
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Whether so little could be read that checking the rest says nothing.
    pub fn is_most(&self) -> bool {
        self.mistakes.len() >= MISTAKES_SHOWN_MAX
    }

    /// Whether `mistake` is about a line that could not be read.
    pub fn cover(&self, mistake: &Mistake) -> bool {
        let Some((place, _)) = &mistake.place else { return false };
        let on = |line: &Place| line.file == place.file && line.span.contains(&place.span.start);
        self.lines.iter().any(on)
    }

    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }
}

/// Parses every source. A document is there even for a file with mistakes: what could be read of it.
pub fn parse<'i>(sources: &'i [Source], directories: &[PathBuf]) -> (Vec<Document<'i>>, BrokenLines) {
    let mut broken = BrokenLines::default();
    let mut documents = Vec::with_capacity(sources.len());
    for (file, source) in sources.iter().enumerate() {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            // Of a file that is no TOML at all, each line is a mistake: beyond those shown, finding out more is work for nobody.
            if broken.mistakes.len() >= MISTAKES_SHOWN_MAX {
                let place = Place { file, span };
                broken.mistakes.push(Mistake::error("this is not TOML", place, error.message()));
                continue;
            }
            broken.lines.push(Place { file, span: line_around(&source.text, span.start) });
            broken.mistakes.push(syntax_mistake(&source.text, file, &root, error.message(), span));
        }
        let directory = directories.get(file).cloned().unwrap_or_default();
        documents.push(Document { file, root, directory });
    }
    (documents, broken)
}

fn line_around(text: &str, at: usize) -> std::ops::Range<usize> {
    let at = border_before(text, at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len() + 1, |newline| at + newline + 1);
    start..end
}

fn syntax_mistake(
    text: &str,
    file: usize,
    root: &Spanned<DeTable<'_>>,
    message: &str,
    span: std::ops::Range<usize>,
) -> Mistake {
    let place = Place { file, span: span.clone() };
    if message != "duplicate key" {
        return Mistake::error("this is not TOML", place, message.to_owned());
    }
    let name = text.get(span.clone()).unwrap_or_default();
    let mistake = Mistake::error(format!("`{}` is given twice", shown(name)), place, "again here");
    let first = last_key_before(root.get_ref(), name.trim_matches(['"', '\'']), span.start);
    match first.or_else(|| same_header_before(text, &span)) {
        Some(first) => mistake.and(Place { file, span: first }, "first here"),
        None => mistake,
    }
}

/// The key at `span` in an earlier line that is equal to its own: of two equal table headers, the parser keeps the last.
fn same_header_before(text: &str, span: &std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
    let own = line_around(text, span.start);
    let line = text.get(own.start..own.end.min(text.len()))?.trim_end();
    let mut at = 0;
    for earlier in text.get(..own.start)?.split_inclusive('\n') {
        if line.starts_with('[') && earlier.trim_end() == line {
            let start = at + (span.start - own.start);
            return Some(start..start + span.len());
        }
        at += earlier.len();
    }
    None
}

/// The last key of this name before `end`: of two equal keys in one table, the first.
fn last_key_before(table: &DeTable<'_>, name: &str, end: usize) -> Option<std::ops::Range<usize>> {
    let mut found: Option<std::ops::Range<usize>> = None;
    for (key, value) in table {
        let own = (key.get_ref() == name && key.span().start < end).then(|| key.span());
        let inner = match value.get_ref() {
            DeValue::Table(inner) => last_key_before(inner, name, end),
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| last_key_before(item.get_ref().as_table()?, name, end))
                .max_by_key(|span| span.start),
            _ => None,
        };
        found = [found, own, inner].into_iter().flatten().max_by_key(|span| span.start);
    }
    found
}
