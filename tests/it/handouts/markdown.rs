//! As much of Markdown as the documentation uses, in man(7).

use std::fmt::Write as _;

use super::roff::escape;

/// Headings of the second level become sections, those below become subsections, tables become lists.
pub fn to_roff(text: &str) -> String {
    let mut out = Out { page: String::new(), place: Place::Begun };
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            out.code(&code);
        } else if let Some(title) = line.strip_prefix("### ") {
            out.heading(".SS", &inline(title));
        } else if let Some(title) = line.strip_prefix("## ") {
            out.heading(".SH", &plain(title).to_uppercase());
        } else if line.starts_with("| ") {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            out.table(&rows);
        } else if let Some(first) = line.strip_prefix("- ") {
            let mut item = first.to_string();
            while let Some(more) = lines.next_if(|line| line.starts_with("  ") && !line.trim().is_empty()) {
                item.push(' ');
                item.push_str(more.trim());
            }
            out.item(&item);
        } else if line.trim().is_empty() {
            out.pause();
        } else {
            out.text(line);
        }
    }
    out.page
}

struct Out {
    page: String,
    place: Place,
}

#[derive(PartialEq)]
enum Place {
    /// Behind a heading, which begins a paragraph by itself.
    Begun,
    /// In a paragraph: text goes on in it.
    Inside,
    /// Behind something else: text needs a new paragraph.
    Outside,
}

impl Out {
    fn line(&mut self, line: &str) {
        self.page.push_str(line);
        self.page.push('\n');
    }

    fn heading(&mut self, request: &str, title: &str) {
        self.line(&format!("{request} {title}"));
        self.place = Place::Begun;
    }

    fn pause(&mut self) {
        if self.place == Place::Inside {
            self.place = Place::Outside;
        }
    }

    fn paragraph(&mut self) {
        if self.place == Place::Outside {
            self.line(".PP");
        }
        self.place = Place::Inside;
    }

    fn text(&mut self, line: &str) {
        self.paragraph();
        self.line(&inline(line.trim()));
    }

    fn item(&mut self, text: &str) {
        self.line(".IP \\(bu 2");
        self.line(&inline(text));
        self.place = Place::Outside;
    }

    fn code(&mut self, code: &[&str]) {
        self.paragraph();
        self.line(".RS 4\n.nf");
        code.iter().for_each(|line| self.line(&verbatim(line)));
        self.line(".fi\n.RE");
        self.place = Place::Outside;
    }

    /// The first cell names, the last one tells; what is between is the default.
    fn table(&mut self, rows: &[Vec<String>]) {
        let header = &rows[0];
        for row in rows.iter().skip(2) {
            let mut title = inline(&row[0]);
            let between = &row[1..row.len() - 1];
            for (cell, head) in between.iter().zip(&header[1..]).filter(|(cell, _)| !cell.is_empty()) {
                write!(title, " ({}: {})", inline(head), inline(cell)).unwrap();
            }
            self.line(".TP");
            self.line(&title);
            match row.last().map(String::as_str) {
                Some("") | None => self.line("\\&"),
                Some(last) => self.line(&inline(last)),
            }
        }
        self.place = Place::Outside;
    }
}

/// A bar behind a backslash does not end a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|');
    let row = row.strip_suffix('|').unwrap_or(row);
    row.replace("\\|", "\u{1}").split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

fn verbatim(line: &str) -> String {
    if line.is_empty() { "\\&".into() } else { escape(line) }
}

/// Without links and marks.
fn plain(text: &str) -> String {
    inline(text).replace("\\fB", "").replace("\\fR", "")
}

/// `code` and **words** in bold, links as their text.
pub fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        out.push_str(&escape_inside(&rest[..at]));
        let from = &rest[at..];
        let (end, skip, shown) = if let Some((code, _)) = from.strip_prefix('`').and_then(|after| after.split_once('`'))
        {
            (code.len() + 2, true, code)
        } else if let Some((words, _)) = from.strip_prefix("**").and_then(|after| after.split_once("**")) {
            (words.len() + 4, true, words)
        } else if let Some((words, _)) = from.strip_prefix('*').and_then(|after| after.split_once('*')) {
            (words.len() + 2, true, words)
        } else if let Some((words, after)) =
            from.strip_prefix('[').and_then(|after| after.split_once("](")).filter(|(words, _)| !words.contains(']'))
        {
            let target = after.find(')').map_or(after.len(), |end| end + 1);
            out.push_str(&inline(words));
            (words.len() + 3 + target, false, "")
        } else {
            out.push_str(&escape_inside(&from[..1]));
            (1, false, "")
        };
        if skip {
            write!(out, "\\fB{}\\fR", escape_inside(shown)).unwrap();
        }
        rest = &from[end..];
    }
    out.push_str(&escape_inside(rest));
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

fn escape_inside(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_fonts_and_links_their_text() {
        assert_eq!(
            inline("`a-b`, **see** [1] [the `x` page](y.md#z)"),
            "\\fBa\\-b\\fR, \\fBsee\\fR [1] the \\fBx\\fR page"
        );
        assert_eq!(inline(".5 * 2"), "\\&.5 * 2");
    }

    #[test]
    fn a_table_becomes_a_list() {
        let text = "| key | default | |\n| --- | --- | --- |\n| `id` | the host | a\\|b |\n";
        assert_eq!(to_roff(text), ".TP\n\\fBid\\fR (default: the host)\na|b\n");
    }
}
