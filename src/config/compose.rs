//! One tree from several texts: files that `include:` names, and the templates that devices are made from.
//!
//! A device's own keys come before its template's, and its points are added to the template's or change single keys of
//! them. Nothing is checked here but what can't be seen any more in the tree that comes out.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use super::Outside;
use super::fields::read_value;
use super::files::Files;
use super::keys;
use super::problem::{Problem, Problems};
use super::scalar::Text;
use super::secrets::{hide_in_text, hide_in_tree};
use super::source;
use super::suggest::did_you_mean;
use super::templates::{self, Found, Unreadable};
use super::tree::{Entry, Node, Span, Value};
use super::yaml::{self, short};

/// Bytes of all files together: as many as one may have.
const MAX_TOTAL: usize = 8 << 20;
/// Sections whose entries have names: several files may each have some.
const NAMED: [&str; 3] = ["buses", "devices", "uplinks"];
/// Where a point is; a device that says it anew says it whole.
const LOCATION: [&str; 6] = ["coil", "discrete", "input", "holding", "register", "match"];
/// What a template can't say, because it is about one device.
const NOT_IN_TEMPLATES: [&str; 3] = ["bus", "unit_id", "template"];

/// The tree with everything in it that `root` refers to. `files` gets the texts.
pub(super) fn compose(root: Rc<Node>, files: &mut Files, outside: &Outside<'_>, problems: &mut Problems) -> Rc<Node> {
    let mut composer = Composer { files, outside, problems, templates: HashMap::new() };
    let root = composer.include(root);
    composer.expand(root)
}

struct Composer<'a> {
    files: &'a mut Files,
    outside: &'a Outside<'a>,
    problems: &'a mut Problems,
    /// By name; `None` for one that can't be used, which is told once.
    templates: HashMap<String, Option<Rc<Node>>>,
}

impl Composer<'_> {
    /// The top level with what the included files have.
    fn include(&mut self, root: Rc<Node>) -> Rc<Node> {
        let Some(entries) = root.entries() else { return root };
        let Some(include) = entries.iter().find(|entry| entry.key == "include") else { return root };
        let mut top = Top::new(entries);
        let single = [Rc::clone(&include.value)];
        let patterns = match &include.value.value {
            Value::List(items) => items.as_slice(),
            _ => &single,
        };
        for pattern in patterns {
            for Found { path, bytes } in self.included(pattern) {
                let Some(node) = self.read(&path, &bytes, &pattern.span) else { continue };
                if node.is_nothing() {
                    continue;
                }
                let Some(entries) = node.entries() else {
                    self.problems.push(
                        Problem::at(&node.span, "an included file has keys of the top level")
                            .label(node.describe())
                            .help("it begins for example with `devices:`"),
                    );
                    continue;
                };
                entries.iter().for_each(|entry| top.add(entry, self.files, self.problems));
            }
        }
        Rc::new(Node { span: root.span.clone(), weight: root.weight, value: Value::Map(top.into_entries()) })
    }

    /// The files that a pattern stands for, in the order of their names.
    fn included(&mut self, pattern: &Node) -> Vec<Found> {
        let reader = Text { wanted: "the path of a file, or a pattern such as conf.d/*.yaml", max: 4_096 };
        let Some(written) = read_value(pattern, "`include`", &reader, self.problems) else { return Vec::new() };
        let full = self.files.path(pattern.span.start).parent().unwrap_or(Path::new("")).join(&written);
        let (Some(folder), Some(name)) = (full.parent(), full.file_name().and_then(|name| name.to_str())) else {
            self.problems.push(Problem::at(&pattern.span, "`include` names no file").label("a folder, or nothing"));
            return Vec::new();
        };
        let wild = |text: &str| text.contains(['*', '?', '[']);
        if wild(&folder.to_string_lossy()) {
            self.problems.push(
                Problem::at(&pattern.span, "`*`, `?` and `[` can only be in the name of a file, not of a folder")
                    .label("this pattern")
                    .help("name each folder: `include: [plant/*.yaml, cloud/*.yaml]`"),
            );
            return Vec::new();
        }
        let paths = if wild(name) {
            let Ok(pattern_of_name) = glob::Pattern::new(name) else {
                self.problems.push(
                    Problem::at(&pattern.span, format!("`{}` is no pattern", short(name)))
                        .label("`[` without its `]`, or `**`"),
                );
                return Vec::new();
            };
            let listed = (self.outside.list)(folder);
            let mut paths = match listed {
                Ok(paths) => paths,
                // An empty or missing conf.d is an ordinary thing.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => {
                    self.problems.push(
                        Problem::at(
                            &pattern.span,
                            format!("cannot list the folder {}: {}", folder.display(), source::reason(&error)),
                        )
                        .label("for this pattern"),
                    );
                    return Vec::new();
                }
            };
            paths.retain(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| !name.starts_with('.') && pattern_of_name.matches(name))
            });
            paths.sort();
            paths
        } else {
            vec![full]
        };
        let mut found = Vec::new();
        for path in paths {
            match (self.outside.read)(&path) {
                Ok(bytes) => found.push(Found { path, bytes }),
                Err(error) => self.problems.push(
                    Problem::at(&pattern.span, format!("cannot read {}: {}", path.display(), source::reason(&error)))
                        .label("included here")
                        .help("a relative path starts at the folder of this file"),
                ),
            }
        }
        found
    }

    /// Devices with what their templates say.
    fn expand(&mut self, root: Rc<Node>) -> Rc<Node> {
        let Some(entries) = root.entries() else { return root };
        let Some(devices) = entries.iter().find(|entry| entry.key == "devices") else { return root };
        let Some(named) = devices.value.entries() else { return root };
        if !named.iter().any(|device| key(&device.value, "template").is_some()) {
            return root;
        }
        let named = named.iter().map(|device| self.device(device)).collect();
        let devices = with_value(devices, Value::Map(named));
        let entries =
            entries.iter().map(|entry| if entry.key == "devices" { Rc::clone(&devices) } else { Rc::clone(entry) });
        Rc::new(Node { span: root.span.clone(), weight: root.weight, value: Value::Map(entries.collect()) })
    }

    fn device(&mut self, device: &Rc<Entry>) -> Rc<Entry> {
        let (Some(own), Some(named)) = (device.value.entries(), key(&device.value, "template")) else {
            return Rc::clone(device);
        };
        let Some(template) = self.template(&named.value) else { return Rc::clone(device) };
        let general = template.entries().unwrap_or_default();
        let mut merged: Vec<Rc<Entry>> = Vec::new();
        for entry in own {
            match general.iter().find(|other| other.key == entry.key) {
                Some(theirs) if entry.key == "points" => merged.push(points(entry, theirs)),
                _ => merged.push(Rc::clone(entry)),
            }
        }
        let added =
            general.iter().filter(|entry| entry.key != "about" && !own.iter().any(|mine| mine.key == entry.key));
        merged.extend(added.map(Rc::clone));
        with_value(device, Value::Map(merged))
    }

    fn template(&mut self, named: &Node) -> Option<Rc<Node>> {
        let reader = Text { wanted: "the name of a template such as eastron/sdm120", max: 256 };
        let name = read_value(named, "`template`", &reader, self.problems)?;
        if let Some(known) = self.templates.get(&name) {
            return known.clone();
        }
        let found = self.find_template(&name, &named.span);
        self.templates.insert(name, found.clone());
        found
    }

    fn find_template(&mut self, name: &str, at: &Span) -> Option<Rc<Node>> {
        if !templates::is_name(name) {
            self.problems.push(
                Problem::at(at, format!("`{}` can't be the name of a template", short(name)))
                    .label("not a maker and a model")
                    .help("write it without folder and ending: `template: eastron/sdm120`"),
            );
            return None;
        }
        let folder = self.files.first().parent().unwrap_or(Path::new("")).to_owned();
        let found = match templates::find(name, &folder, self.outside) {
            Ok(found) => found,
            Err(Unreadable { path, error }) => {
                self.problems.push(
                    Problem::at(at, format!("cannot read {}: {}", path.display(), source::reason(&error)))
                        .label("this template"),
                );
                return None;
            }
        };
        let Some(Found { path, bytes }) = found else {
            let problem =
                Problem::at(at, format!("there is no template `{}`", short(name))).label("looked for by this name");
            let like = did_you_mean(name, templates::names());
            let problem = match like {
                Some(like) => problem.help(format!("did you mean `{like}`?")),
                None => problem
                    .help(format!("a template of your own is a file {}", templates::own(name, &folder).display())),
            };
            self.problems.push(problem.help("`fieldway templates` lists those that come with this version"));
            return None;
        };
        let node = self.read(&path, &bytes, at)?;
        self.check_template(&node);
        node.entries()?;
        Some(node)
    }

    /// What nobody would see in the device that comes out.
    fn check_template(&mut self, node: &Node) {
        let Some(entries) = node.entries() else {
            self.problems.push(
                Problem::at(&node.span, "a template is a group of keys of a device")
                    .label(node.describe())
                    .help("it begins with `about:` and has `points:`"),
            );
            return;
        };
        for entry in entries.iter().filter(|entry| NOT_IN_TEMPLATES.contains(&entry.key.as_str())) {
            self.problems.push(
                Problem::at(&entry.key_span, format!("a template can't have `{}`", entry.key))
                    .label("this is said where the device is")
                    .help("remove it here"),
            );
        }
        match key(node, "about") {
            Some(about) => templates::check_about(about, self.problems),
            None => self.problems.push(
                Problem::at(&(node.span.start..node.span.start), "this template does not say what it is about")
                    .label("`about` is missing")
                    .help(format!("for example `about: {}`", keys::ABOUT.example)),
            ),
        }
    }

    /// Another file as a tree; `None` when it is none, which is told.
    fn read(&mut self, path: &Path, bytes: &[u8], at: &Span) -> Option<Rc<Node>> {
        if self.files.text().len() + bytes.len() > MAX_TOTAL {
            self.problems.push(
                Problem::at(at, format!("the files of a configuration have at most {} MiB together", MAX_TOTAL >> 20))
                    .label("with this they have more"),
            );
            return None;
        }
        match source::decode(bytes) {
            Ok(text) => {
                let range = self.files.add(path, &text);
                let node = yaml::parse(self.files.text(), range.clone(), self.problems);
                match &node {
                    Some(node) => hide_in_tree(node, self.problems),
                    None => hide_in_text(self.files.text(), range, self.problems),
                }
                node
            }
            Err(refused) => {
                let (text, problem) = *refused;
                let range = self.files.add(path, &text);
                hide_in_text(self.files.text(), range.clone(), self.problems);
                self.problems.push(problem.shifted(range.start));
                None
            }
        }
    }
}

/// The top level while files are added to it.
struct Top {
    entries: Vec<(Rc<Entry>, Vec<Rc<Entry>>)>,
}

impl Top {
    fn new(entries: &[Rc<Entry>]) -> Top {
        Top { entries: entries.iter().map(|entry| (Rc::clone(entry), Vec::new())).collect() }
    }

    fn add(&mut self, entry: &Rc<Entry>, files: &Files, problems: &mut Problems) {
        if entry.key == "include" {
            problems.push(
                Problem::at(&entry.key_span, "an included file can't include others")
                    .label("here")
                    .help(format!("write all of them into {}", files.first().display())),
            );
            return;
        }
        let Some((first, added)) = self.entries.iter_mut().find(|(first, _)| first.key == entry.key) else {
            self.entries.push((Rc::clone(entry), Vec::new()));
            return;
        };
        let twice = |first: &Entry, second: &Entry| {
            let place = files.place(first.key_span.start);
            Problem::at(&second.key_span, format!("`{}` is written twice", short(&second.key)))
                .label("and here again")
                .help(format!("the first one is at {place}"))
                .help("keep one of them; two of anything need two names")
        };
        let (true, Some(known), Some(more)) =
            (NAMED.contains(&entry.key.as_str()), first.value.entries(), entry.value.entries())
        else {
            if !entry.value.is_nothing() {
                problems.push(twice(first, entry));
            }
            return;
        };
        for one in more {
            match known.iter().chain(added.iter()).find(|other| other.key == one.key) {
                Some(other) => problems.push(twice(other, one)),
                None => added.push(Rc::clone(one)),
            }
        }
    }

    fn into_entries(self) -> Vec<Rc<Entry>> {
        let joined = self.entries.into_iter().map(|(first, added)| match first.value.entries() {
            Some(known) if !added.is_empty() => {
                with_value(&first, Value::Map(known.iter().cloned().chain(added).collect()))
            }
            _ => first,
        });
        joined.collect()
    }
}

/// A device's points over those of its template.
fn points(own: &Rc<Entry>, theirs: &Rc<Entry>) -> Rc<Entry> {
    let (Some(mine), Some(general)) = (own.value.entries(), theirs.value.entries()) else {
        return if own.value.is_nothing() { Rc::clone(theirs) } else { Rc::clone(own) };
    };
    let mut merged: Vec<Rc<Entry>> = Vec::new();
    for point in general {
        merged.push(match mine.iter().find(|other| other.key == point.key) {
            Some(changed) => changed_point(changed, point),
            None => Rc::clone(point),
        });
    }
    let added = mine.iter().filter(|point| !general.iter().any(|other| other.key == point.key));
    merged.extend(added.map(Rc::clone));
    with_value(own, Value::Map(merged))
}

/// One point with what the device says about it before what the template says.
fn changed_point(own: &Rc<Entry>, theirs: &Rc<Entry>) -> Rc<Entry> {
    let (Some(mine), Some(general)) = (own.value.entries(), theirs.value.entries()) else { return Rc::clone(own) };
    let is_moved = mine.iter().any(|entry| LOCATION.contains(&entry.key.as_str()));
    let kept = general.iter().filter(|entry| {
        let said = mine.iter().any(|other| other.key == entry.key);
        !(said || is_moved && LOCATION.contains(&entry.key.as_str()))
    });
    with_value(own, Value::Map(mine.iter().chain(kept).cloned().collect()))
}

fn key<'a>(node: &'a Node, name: &str) -> Option<&'a Rc<Entry>> {
    node.entries()?.iter().find(|entry| entry.key == name)
}

fn with_value(entry: &Entry, value: Value) -> Rc<Entry> {
    let node = Node { span: entry.value.span.clone(), weight: entry.value.weight, value };
    Rc::new(Entry { key: entry.key.clone(), key_span: entry.key_span.clone(), value: Rc::new(node) })
}
