//! The program's own source, reduced to the code that ships: no comments, no text in quotes, no tests.
//!
//! Reads just enough of the language for that; it is no parser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::project;

/// One file below `src`.
pub struct Source {
    /// Below `src`, with slashes: `web/hooks.rs`.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// What ships of it, with every line where it was.
    pub code: String,
}

impl Source {
    /// The modules that it is, from the root: `["web", "hooks"]`.
    pub fn module(&self) -> Vec<&str> {
        self.path.trim_end_matches(".rs").split('/').filter(|name| !["lib", "main"].contains(name)).collect()
    }
}

/// All files below `src` in the order of their names; a file of tests has no code.
pub fn sources() -> Vec<Source> {
    let root = project("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut tests = BTreeSet::new();
    let mut sources: Vec<Source> = files
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let (code, modules) = without_tests(&blanked(&text));
            tests.extend(modules.iter().map(|name| beside(&path, name)));
            Source { path, text, code }
        })
        .collect();
    for source in &mut sources {
        let module = source.path.trim_end_matches(".rs");
        if tests.iter().any(|test| module == test || module.starts_with(&format!("{test}/"))) {
            source.code.clear();
        }
    }
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// Where `mod name;` in the file at `path` leads, without its ending.
fn beside(path: &str, name: &str) -> String {
    match path.trim_end_matches(".rs") {
        "lib" | "main" => name.to_owned(),
        module => format!("{module}/{name}"),
    }
}

/// The code with blanks for comments and for what stands in quotes.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (length, kept) = match next {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            '"' => (quoted(rest), false),
            'r' if !ends_in_a_name(&out) && raw_quotes(rest).is_some() => (raw(rest), false),
            '\'' => (character(rest), false),
            _ => (next.len_utf8(), true),
        };
        let (taken, left) = rest.split_at(length);
        if kept {
            out.push_str(taken);
        } else {
            out.extend(taken.chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
        }
        rest = left;
    }
    out
}

fn ends_in_a_name(code: &str) -> bool {
    // `br"…"` is a raw text too.
    code.strip_suffix('b').unwrap_or(code).ends_with(|char: char| char.is_alphanumeric() || char == '_')
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// How many `#` follow the `r` of a raw text; `None` if it is none.
fn raw_quotes(rest: &str) -> Option<usize> {
    let behind = rest.strip_prefix('r')?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    behind[hashes..].starts_with('"').then_some(hashes)
}

fn raw(rest: &str) -> usize {
    let hashes = raw_quotes(rest).unwrap_or(0);
    let end = format!("\"{}", "#".repeat(hashes));
    let start = hashes + 2;
    rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
}

/// The length of a character in quotes; 1 for the tick of a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(rest.len(), |at| at + 4),
        Some(_) => chars.next().filter(|(_, char)| *char == '\'').map_or(1, |(at, _)| at + 1),
        None => 1,
    }
}

/// Blanks every item behind `#[cfg(test)]`; gives the modules among them that are files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut modules, mut rest) = (String::with_capacity(code.len()), Vec::new(), code);
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        let length = item_length(item, MARK.len());
        out.push_str(before);
        out.extend(item[..length].chars().filter(|char| *char == '\n'));
        if let Some(name) = item[MARK.len()..length].trim().strip_suffix(';')
            && let Some((_, name)) = name.split_once("mod ")
        {
            modules.push(name.trim().to_owned());
        }
        rest = &item[length..];
    }
    out.push_str(rest);
    (out, modules)
}

/// Up to the item's semicolon or closing brace.
fn item_length(item: &str, start: usize) -> usize {
    let mut depth = 0;
    for (at, char) in item.char_indices().skip_while(|(at, _)| *at < start) {
        match char {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

#[test]
fn comments_quotes_and_tests_are_no_code() {
    let text = r##"
use a::b; // use c::d
/* e /* f */ g */ let h = "i \" j"; let k = r#"l " m"#; let n = 'o'; let p = '\''; let q: &'static str = br"r";
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod testing { fn s() { "}" } }
fn t() {}
"##;
    let (code, modules) = without_tests(&blanked(text));
    let words: Vec<&str> =
        code.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    assert_eq!(
        words,
        [
            "use", "a", "b", "let", "h", "let", "k", "let", "n", "let", "p", "let", "q", "static", "str",
            "b", "fn", "t"
        ]
    );
    assert_eq!(modules, ["tests"]);
    assert_eq!(code.lines().count(), text.lines().count());
}
