//! Problems shown inside the user's own lines, in the look of rustc. The only file that names annotate-snippets.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::files::Files;
use super::problem::{Problem, Problems};
use super::tree::Span;
use super::types::Place;

/// More are counted, not shown.
const MAX_SHOWN: usize = 50;
/// The longest text of a problem, in characters: what it quotes may be as long as the file.
const MAX_TEXT: usize = 400;
/// The longest line that is shown as it is, in bytes. No person wrote a longer one, and laying it out takes time.
const MAX_LINE: usize = 1_000;

/// Everything that is wrong with a configuration. Its `Display` has no colours.
#[derive(Clone)]
pub struct Report {
    /// As typed, with secrets masked.
    files: Files,
    problems: Vec<Problem>,
    total: usize,
}

/// How a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// For files, pipes and the journal.
    Plain,
    /// With ANSI colours, for terminals.
    Colour,
}

impl Report {
    pub(super) fn new(files: Files, problems: Problems) -> Report {
        let (mut problems, total, secrets) = problems.into_parts();
        for problem in &mut problems {
            let texts = [&mut problem.title, &mut problem.label].into_iter();
            let texts = texts.chain(problem.also.iter_mut().map(|(_, label)| label)).chain(&mut problem.help);
            texts.for_each(|text| *text = printable(text));
        }
        Report { files: files.masked(&secrets), problems, total }
    }

    /// The file as it was named.
    pub fn file(&self) -> &Path {
        self.files.first()
    }

    /// The problems in the order of the file, at most 200.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many problems there are, shown or not.
    pub fn count(&self) -> usize {
        self.total
    }

    /// Where a problem is; `None` when it is about the whole file.
    pub fn place(&self, problem: &Problem) -> Option<Place> {
        problem.at.as_ref().map(|at| self.files.place(at.start))
    }

    /// The report as text, ending with a line feed.
    pub fn render(&self, look: Look) -> String {
        let renderer = match look {
            Look::Plain => Renderer::plain(),
            Look::Colour => Renderer::styled(),
        };
        let mut out = String::new();
        for problem in self.problems.iter().take(MAX_SHOWN) {
            out.push_str(&renderer.render(&[self.group(problem)]));
            out.push_str("\n\n");
        }
        out.push_str(&self.last_line());
        out
    }

    fn last_line(&self) -> String {
        let file = self.file().display();
        match self.total {
            1 => format!("{file}: 1 problem\n"),
            total if total > MAX_SHOWN => format!("{file}: {total} problems; these are {MAX_SHOWN} of them\n"),
            total => format!("{file}: {total} problems\n"),
        }
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let mut group = Group::with_title(Level::ERROR.primary_title(problem.title.as_str()));
        let Some(at) = &problem.at else {
            let group = group.element(Origin::path(self.file().display().to_string()));
            return group.elements(problem.help.iter().map(|help| Level::HELP.message(help.as_str())));
        };
        let window = self.window(problem, at);
        let inside = |span: &Span| {
            let clamp = |at: usize| at.clamp(window.start, window.start + window.text.len()) - window.start;
            clamp(span.start)..clamp(span.end)
        };
        let mut snippet = Snippet::source(window.text).line_start(window.line);
        let place = self.files.place(at.start);
        let path = place.file.display().to_string();
        if window.is_cut {
            // The excerpt does not begin with the line, so the place is told by itself.
            group = group.element(Origin::path(path).line(place.line).char_column(place.column));
        } else {
            snippet = snippet.path(path);
        }
        snippet = snippet.annotation(AnnotationKind::Primary.span(inside(at)).label(problem.label.as_str()));
        for (span, label) in problem.also.iter().filter(|(span, _)| window.shows(span)) {
            snippet = snippet.annotation(AnnotationKind::Context.span(inside(span)).label(label.as_str()));
        }
        group = group.element(snippet);
        group.elements(problem.help.iter().map(|help| Level::HELP.message(help.as_str())))
    }
}

/// The lines that a problem is about, cut out of the file.
struct Window<'a> {
    text: &'a str,
    /// Where `text` begins in the file, in bytes.
    start: usize,
    /// Its first line, from 1.
    line: usize,
    /// It begins inside a line that is too long to show.
    is_cut: bool,
}

impl Window<'_> {
    fn shows(&self, span: &Span) -> bool {
        (self.start..=self.start + self.text.len()).contains(&span.start)
    }
}

impl Report {
    fn window(&self, problem: &Problem, at: &Span) -> Window<'_> {
        let file = self.files.range(at.start);
        let text = self.files.text();
        // What belongs to it in another file can't be shown in one excerpt.
        let also = problem.also.iter().map(|(span, _)| span).filter(|span| file.contains(&span.start));
        let spans = || std::iter::once(at).chain(also.clone());
        let first = spans().map(|span| span.start).min().unwrap_or(0);
        let last = spans().map(|span| span.end).max().unwrap_or(0);
        let mut start = text[file.start..first].rfind('\n').map_or(file.start, |at| file.start + at + 1);
        let mut end = text[last..file.end].find('\n').map_or(file.end, |at| last + at);
        let is_long = text[start..end].split('\n').any(|line| line.len() > MAX_LINE);
        let mut is_cut = false;
        if is_long {
            let around = at.start.saturating_sub(MAX_LINE / 4)..(at.start + MAX_LINE / 2).min(file.end);
            let around = text.ceil_char_boundary(around.start)..text.floor_char_boundary(around.end);
            let line = text[file.start..at.start].rfind('\n').map_or(file.start, |at| file.start + at + 1);
            start = line.max(around.start);
            is_cut = start > line;
            end = text[at.start..around.end].find('\n').map_or(around.end, |feed| at.start + feed);
        }
        Window { text: &text[start..end], start, line: text[file.start..start].matches('\n').count() + 1, is_cut }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Look::Plain))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}

/// Quoted text may hold anything that YAML can escape; a terminal gets none of it.
fn printable(text: &str) -> String {
    let safe = |c: char| {
        let direction = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || direction { '\u{FFFD}' } else { c }
    };
    let mut out: String = text.chars().take(MAX_TEXT).map(safe).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        out.push('…');
    }
    out
}

/// Every character of a secret becomes one that takes as many bytes, so that places stay where they are.
pub(super) fn mask(text: &str, secrets: &[Span]) -> String {
    let mut secrets = secrets.to_vec();
    secrets.sort_by_key(|span| span.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for span in secrets {
        let (start, end) = (span.start.max(done), span.end.min(text.len()));
        if start >= end {
            continue;
        }
        out.push_str(&text[done..start]);
        out.extend(text[start..end].chars().map(|c| match (c, c.len_utf8()) {
            ('\n' | '\r', _) => c,
            (_, 1) => '*',
            (_, 2) => '·',
            (_, 3) => '•',
            _ => '\u{1F7B6}',
        }));
        done = end;
    }
    out.push_str(&text[done..]);
    out
}
