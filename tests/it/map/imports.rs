//! No import circles: neither of files, nor of a folder's children. Imports are read from `use` lines and from paths in
//! the code; a name that a module re-exports is an import of the module that defines it.

use crate::source;
use std::collections::{BTreeMap, BTreeSet};

type Graph = BTreeMap<String, BTreeSet<String>>;

/// A module: its code, and the paths its `use` lines name, each with whether it is re-exported.
struct Module {
    code: String,
    uses: Vec<(Vec<String>, bool)>,
}

/// The modules of `src` by their paths (`store/writer`; the crate is the empty one).
fn modules() -> BTreeMap<String, Module> {
    let mut modules = BTreeMap::new();
    for (path, text) in source::files() {
        let name = path.with_extension("").to_string_lossy().replace("/mod", "");
        if !source::is_tests(&path) && name != "main" {
            let (code, uses) = split_uses(&source::code(&text));
            modules.insert(if name == "lib" { String::new() } else { name }, Module { code, uses });
        }
    }
    modules
}

/// The code without its `use` statements, and what they name.
fn split_uses(code: &str) -> (String, Vec<(Vec<String>, bool)>) {
    let (mut rest, mut uses) = (String::new(), Vec::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let mut statement = line.trim_start().to_owned();
        let Some(at) = statement.find("use ").filter(|at| *at == 0 || statement.starts_with("pub")) else {
            rest += &format!("{line}\n");
            continue;
        };
        while !statement.contains(';') {
            statement += lines.next().expect("a use statement ends").trim();
        }
        let mut paths = Vec::new();
        expand(&mut Vec::new(), statement[at + 4..].split(';').next().unwrap(), &mut paths);
        uses.extend(paths.into_iter().map(|path| (path, at > 0)));
    }
    (rest, uses)
}

/// The paths of a tree such as `a::{b, c::{d, e as f}}`.
fn expand(before: &mut Vec<String>, tree: &str, paths: &mut Vec<Vec<String>>) {
    let (mut depth, mut begin, mut items) = (0, 0, Vec::new());
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&tree[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    items.push(&tree[begin..]);
    for item in items.into_iter().map(str::trim).filter(|item| !item.is_empty()) {
        let (path, inner) = item.split_once('{').map_or((item, None), |(path, inner)| (path, Some(inner)));
        let segments: Vec<String> =
            path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let length = before.len();
        before.extend(segments);
        match inner {
            Some(inner) => expand(before, inner.trim_end().strip_suffix('}').unwrap(), paths),
            None => paths.push(before.clone()),
        }
        before.truncate(length);
    }
}

/// The paths in code (`super::words::pick`), by their segments.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c| !part(c)).filter(|word| word.contains("::"));
    words.map(|word| word.split("::").map(str::to_owned).collect()).collect()
}

/// The module that a path in `from` leads to, through re-exports.
fn target(modules: &BTreeMap<String, Module>, from: &str, path: &[String], depth: usize) -> Option<String> {
    let parent = |module: &str| module.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
    let join =
        |module: &str, child: &str| if module.is_empty() { child.to_owned() } else { format!("{module}/{child}") };
    let mut path = path.iter().map(|part| part.split(' ').next().unwrap());
    let mut first = path.next()?;
    let mut here = if first == "crate" { String::new() } else { from.to_owned() };
    while first == "super" {
        here = parent(&here);
        first = path.next().unwrap_or("");
    }
    let is_start = ["crate", "self"].contains(&first);
    let mut rest: Vec<&str> = if is_start { Vec::new() } else { vec![first] };
    rest.extend(path);
    let began = here != from || is_start;
    for (place, part) in rest.iter().enumerate() {
        if modules.contains_key(&join(&here, part)) {
            here = join(&here, part);
        } else if place == 0 && !began {
            return None; // a crate, or a name of the file's own
        } else {
            // An item: what the module imports under that name is followed, anything else is its own.
            let named = |path: &[String]| {
                path.last().is_some_and(|last| last == part || last.ends_with(&format!(" as {part}")))
            };
            let imported = modules[&here].uses.iter().find(|(path, _)| named(path));
            let found = imported.filter(|_| depth < 8).and_then(|(path, _)| target(modules, &here, path, depth + 1));
            return Some(found.unwrap_or(here));
        }
    }
    Some(here)
}

fn imports() -> Graph {
    let modules = modules();
    let mut graph = Graph::new();
    for (name, module) in &modules {
        let edges = graph.entry(name.clone()).or_default();
        let uses = module.uses.iter().filter(|(_, again)| !again).map(|(path, _)| path.clone());
        for path in uses.chain(inline_paths(&module.code)) {
            edges.extend(target(&modules, name, &path, 0).filter(|target| target != name));
        }
    }
    graph.remove(""); // the crate's root declares everything
    graph
}

/// The groups that import each other, each as its imports.
fn circles(graph: &Graph) -> Vec<String> {
    let reached = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(node) = open.pop() {
            let next = graph.get(&node).into_iter().flatten().filter(|next| seen.insert((*next).clone()));
            open.extend(next.cloned().collect::<Vec<_>>());
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|node| (node, reached(node))).collect();
    let both = |a: &String, b: &String| reach[a].contains(b) && reach.get(b).is_some_and(|back| back.contains(a));
    let edges = graph.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    edges.filter(|(from, to)| both(from, to)).map(|(from, to)| format!("{from} -> {to}")).collect()
}

/// The graph of a folder's children, a folder of which is one node.
fn children(graph: &Graph, folder: &str) -> Graph {
    let inside = |module: &String| {
        let rest = if folder.is_empty() { module } else { module.strip_prefix(folder)?.strip_prefix('/')? };
        Some(format!("{folder}/{}", rest.split('/').next().unwrap()))
    };
    let mut children = Graph::new();
    for (from, targets) in graph {
        if let Some(from) = inside(from) {
            let targets = targets.iter().filter_map(inside).filter(|to| *to != from);
            children.entry(from.clone()).or_default().extend(targets);
        }
    }
    children
}

#[test]
fn files_and_folders_have_no_import_circles() {
    let graph = imports();
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 200, "imports were read");
    let folders: BTreeSet<&str> =
        graph.keys().map(|module| module.rsplit_once('/').map_or("", |(folder, _)| folder)).collect();
    let mut found = circles(&graph);
    found.extend(folders.iter().flat_map(|folder| circles(&children(&graph, folder))));
    assert!(found.is_empty(), "{} imports are part of a circle:\n{}", found.len(), found.join("\n"));
}

#[test]
fn import_reader_follows_uses_paths_and_re_exports() {
    let module = |text: &str| split_uses(text);
    let sources = [
        ("", "mod a;"),
        ("a", "pub use one::{One, Other as Two};\nfn f() { crate::b::go() }"),
        ("a/one", "use super::{\n    two::Thing,\n};"),
        ("a/two", "use crate::a::Two;\nfn g() { super::one::x() }"),
        ("b", "use crate::a::one::{self, One};"),
    ];
    let modules = sources.map(|(name, text)| {
        let (code, uses) = module(text);
        (name.to_owned(), Module { code, uses })
    });
    let modules = BTreeMap::from(modules);
    let to =
        |from: &str, path: &str| target(&modules, from, &path.split("::").map(str::to_owned).collect::<Vec<_>>(), 0);
    assert_eq!(to("a/two", "crate::a::Two").as_deref(), Some("a/one"));
    assert_eq!(to("a/two", "super::one::x").as_deref(), Some("a/one"));
    assert_eq!(to("b", "std::fmt"), None);
    assert_eq!(modules["a/one"].uses, [(vec!["super".to_owned(), "two".into(), "Thing".into()], false)]);
    let two = |a: &str, b: &str| (a.to_owned(), BTreeSet::from([b.to_owned()]));
    assert_eq!(circles(&Graph::from([two("a", "b"), two("b", "a"), two("c", "a")])), ["a -> b", "b -> a"]);
}
