//! What is wrong with a configuration: every mistake with its file, line and caret, for a person or as JSON.
//!
//! Mistakes are collected, never thrown: checking goes on after one, so that all are seen at once. Shown by
//! `ringgate check`, by a start and by a reload, in the same words.

use super::values::border_before;
use annotate_snippets::{AnnotationKind, Group, Level as Severity, Renderer, Snippet};
use serde::Serialize;
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// More than this many mistakes are counted, not shown.
pub const MISTAKES_SHOWN_MAX: usize = 100;

/// One file as it was read.
#[derive(Debug)]
pub struct Source {
    /// As messages show it.
    pub path: String,
    pub text: String,
}

/// Bytes `span` of the file with this index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: usize,
    pub span: Range<usize>,
}

/// Whether a mistake refuses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Error,
    Warning,
}

/// One thing that is wrong, or doubtful.
#[derive(Clone, Debug)]
pub struct Mistake {
    pub level: Level,
    pub title: String,
    /// Where, and what to say beside the caret. `None` is for what no line of a file shows.
    pub place: Option<(Place, String)>,
    /// The other places that it disagrees with, and what to say there.
    pub others: Vec<(Place, String)>,
    /// What is allowed, or how to mend it.
    pub helps: Vec<String>,
    /// It says that something is missing: not to be believed when a file could not be read whole.
    pub of_absence: bool,
}

impl Mistake {
    pub fn error(title: impl Into<String>, place: Place, label: impl Into<String>) -> Mistake {
        Mistake {
            level: Level::Error,
            title: title.into(),
            place: Some((place, label.into())),
            others: Vec::new(),
            helps: Vec::new(),
            of_absence: false,
        }
    }

    pub fn warning(title: impl Into<String>, place: Place, label: impl Into<String>) -> Mistake {
        Mistake { level: Level::Warning, ..Mistake::error(title, place, label) }
    }

    /// An error that no line of a file shows.
    pub fn of_no_place(title: impl Into<String>) -> Mistake {
        Mistake {
            level: Level::Error,
            title: title.into(),
            place: None,
            others: Vec::new(),
            helps: Vec::new(),
            of_absence: false,
        }
    }

    pub fn and(mut self, place: Place, label: impl Into<String>) -> Mistake {
        self.others.push((place, label.into()));
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Mistake {
        self.helps.push(text.into());
        self
    }

    pub fn help_if_any(mut self, text: Option<String>) -> Mistake {
        self.helps.extend(text);
        self
    }

    pub fn of_absence(mut self) -> Mistake {
        self.of_absence = true;
        self
    }
}

/// Where mistakes are collected while checking goes on.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    pub fn push(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    /// Whether there are more than will be shown: then finding out what was meant is work for nobody, and over a large
    /// file a lot of it.
    pub fn are_many(&self) -> bool {
        self.0.borrow().len() >= MISTAKES_SHOWN_MAX
    }

    pub fn into_inner(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// All that is wrong with a configuration, with the text that it was read from. `Display` is the form for people.
#[derive(Clone, Debug)]
pub struct Report {
    sources: Arc<Vec<Source>>,
    mistakes: Vec<Mistake>,
}

impl Report {
    /// Errors first, then warnings, each in the order of the file.
    pub fn new(sources: Arc<Vec<Source>>, mut mistakes: Vec<Mistake>) -> Report {
        let position = |mistake: &Mistake| mistake.place.as_ref().map(|(place, _)| (place.file, place.span.start));
        mistakes.sort_by_key(|mistake| (mistake.level, position(mistake)));
        Report { sources, mistakes }
    }

    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    pub fn errors(&self) -> usize {
        self.mistakes.iter().filter(|mistake| mistake.level == Level::Error).count()
    }

    pub fn warnings(&self) -> usize {
        self.mistakes.len() - self.errors()
    }

    /// The form for people, in colours if wanted.
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let mut shown = String::new();
        for mistake in self.mistakes.iter().take(MISTAKES_SHOWN_MAX) {
            shown.push_str(&renderer.render(&self.groups(mistake)));
            shown.push_str("\n\n");
        }
        if self.mistakes.len() > MISTAKES_SHOWN_MAX {
            shown.push_str(&format!("... and {} more\n\n", self.mistakes.len() - MISTAKES_SHOWN_MAX));
        }
        shown
    }

    fn groups<'a>(&'a self, mistake: &'a Mistake) -> Vec<Group<'a>> {
        let level = match mistake.level {
            Level::Error => Severity::ERROR,
            Level::Warning => Severity::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&mistake.title));
        let mut files: Vec<usize> = Vec::new();
        let places = mistake.place.iter().chain(&mistake.others);
        for (place, _) in places.clone() {
            if !files.contains(&place.file) {
                files.push(place.file);
            }
        }
        for file in files {
            let Some(source) = self.sources.get(file) else { continue };
            let mut snippet = Snippet::source(&source.text).path(&source.path);
            for (index, (place, label)) in places.clone().enumerate().filter(|(_, (place, _))| place.file == file) {
                let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                snippet = snippet.annotation(kind.span(within(&source.text, &place.span)).label(label.as_str()));
            }
            group = group.element(snippet);
        }
        for help in &mistake.helps {
            group = group.element(Severity::HELP.message(help.as_str()));
        }
        vec![group]
    }

    /// The form for programs: `{"ok", "errors": [...], "warnings": [...]}`, each mistake with its places.
    pub fn to_json(&self) -> serde_json::Value {
        let of = |level: Level| -> Vec<MistakeJson<'_>> {
            self.mistakes.iter().filter(|m| m.level == level).map(|m| self.mistake_json(m)).collect()
        };
        serde_json::json!({ "ok": !self.has_errors(), "errors": of(Level::Error), "warnings": of(Level::Warning) })
    }

    fn mistake_json<'a>(&'a self, mistake: &'a Mistake) -> MistakeJson<'a> {
        MistakeJson {
            message: &mistake.title,
            place: mistake.place.as_ref().and_then(|place| self.place_json(place)),
            others: mistake.others.iter().filter_map(|place| self.place_json(place)).collect(),
            help: &mistake.helps,
        }
    }

    fn place_json<'a>(&'a self, (place, label): &'a (Place, String)) -> Option<PlaceJson<'a>> {
        let source = self.sources.get(place.file)?;
        let span = within(&source.text, &place.span);
        let before = &source.text[..span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some(PlaceJson {
            file: &source.path,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            length: source.text[span].chars().count(),
            label,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Report {}

#[derive(Serialize)]
struct MistakeJson<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<PlaceJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<PlaceJson<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    help: &'a [String],
}

#[derive(Serialize)]
struct PlaceJson<'a> {
    file: &'a str,
    /// From 1, in characters.
    line: usize,
    column: usize,
    length: usize,
    label: &'a str,
}

/// `span` cut to what `text` has, on character borders and within one line: a caret under a whole table is noise.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = border_before(text, span.start);
    let end = border_before(text, span.end).max(start);
    let line_end = text[start..end].find('\n').map_or(end, |at| start + at);
    start..line_end.max(start)
}
