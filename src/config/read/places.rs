//! Readers of where things stand: JSON pointers, URLs, templates.

use url::{Host, Url};

use super::super::file::Value;
use super::super::source::{Piece, Pointer, Pointers};
use super::super::target::Template;
use super::super::template;
use super::values::shown;
use super::{Field, Section};
use crate::domain::Key;

const POINTER_MEND: &str =
    "write a JSON pointer like \"/data/id\", from the item on, or \"#/data/id\", from the body on";

impl Field<'_> {
    /// One JSON pointer (RFC 6901), or a list of alternatives.
    pub(super) fn pointers(&self) -> Option<Pointers> {
        self.all(Self::pointer)
    }

    /// The parts of a key: each a pointer or a list of alternatives.
    pub(super) fn key_parts(&self) -> Option<Vec<Pointers>> {
        let parts = self.items()?;
        if parts.is_empty() || parts.len() > Key::PARTS_MAX {
            let mend = "name its parts, like [\"/boardId\", [\"/mlsNumber\", \"/mls_number\"]]";
            return self.fault(format!("a key has 1 to {} parts", Key::PARTS_MAX), mend);
        }
        let parts: Vec<Option<Pointers>> = parts.iter().map(Field::pointers).collect();
        parts.into_iter().collect()
    }

    fn pointer(&self) -> Option<Pointer> {
        let Value::Text(text) = &self.node.value else {
            return self.unexpected("a JSON pointer", POINTER_MEND);
        };
        pointer(text).or_else(|| self.fault(format!("{} is not a JSON pointer", shown(text)), POINTER_MEND))
    }

    /// How a target names a record.
    pub(super) fn template(&self) -> Option<Template> {
        let text = self.text()?;
        template::template(text).map_or_else(
            |fault| {
                self.fault(
                    format!("{} {fault}", shown(text)),
                    "write the key's parts like \"{0}:{1}\", a brace itself as \"{{\"",
                )
            },
            Some,
        )
    }

    /// What a signature covers; must hold the body, or it proves nothing about it.
    pub(super) fn signed(&self) -> Option<Vec<Piece>> {
        let text = self.text()?;
        let mend =
            "write it like \"{timestamp}.{body}\"; places are {id}, {timestamp}, {method}, {url} and {body}";
        match template::signed(text) {
            Err(fault) => self.fault(format!("{} {fault}", shown(text)), mend),
            Ok(pieces) if !pieces.contains(&Piece::Body) => {
                self.fault("does not cover the body, so anybody could change it", mend)
            }
            Ok(pieces) => Some(pieces),
        }
    }

    /// An absolute URL, `https` except towards this machine; without the slash at its end. Not shown, since
    /// a wrong one may hold a credential.
    pub(super) fn url(&self) -> Option<String> {
        self.url_like(self.text()?)
    }

    /// As [`Self::url`], for a text that this value gives once its places are filled.
    pub(super) fn url_like(&self, text: &str) -> Option<String> {
        let mend = "write it like \"https://api.example.com\"";
        let Ok(url) = Url::parse(text) else { return self.fault("is not an absolute URL", mend) };
        if !url.username().is_empty() || url.password().is_some() {
            return self.fault("holds a credential", "give it as a secret, not in the URL");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return self
                .fault("has a query or a fragment", "leave them out; a feed's query stands in feed.query");
        }
        match url.scheme() {
            "https" => Some(text.trim_end_matches('/').to_owned()),
            "http" if is_loopback(&url) => Some(text.trim_end_matches('/').to_owned()),
            "http" => {
                self.fault("is not encrypted", "write https://; http:// is for loopback addresses only")
            }
            _ => self.fault("is not an https URL", mend),
        }
    }

    /// `sqlite://PATH`, which names a file.
    pub(super) fn sqlite_path(&self, text: &str) -> Option<String> {
        match text.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() && !path.contains(['?', '#']) => Some(path.to_owned()),
            _ => self.fault("is not the URL of an SQLite file", "write it like \"sqlite://data/replica.db\""),
        }
    }
}

/// Schemes of the servers that a replica may live in.
const SERVERS: [&str; 4] = ["postgres", "postgresql", "mysql", "mariadb"];

impl Field<'_> {
    /// The address of a replica: an SQLite file, or a database of a server.
    pub(super) fn database_url(&self, text: &str) -> Option<()> {
        if text.starts_with("sqlite:") {
            return self.sqlite_path(text).map(drop);
        }
        let mend =
            "write \"sqlite://PATH\", \"postgres://USER@HOST/DATABASE\" or \"mysql://USER@HOST/DATABASE\"";
        let url = Url::parse(text).ok().filter(|url| SERVERS.contains(&url.scheme()));
        let Some(url) = url else { return self.fault("is not the URL of a database", mend) };
        let told = |names: &[&str]| url.query_pairs().any(|(name, _)| names.contains(&&*name));
        if url.path().trim_matches('/').is_empty() && !told(&["dbname"]) {
            return self.fault("names no database", "write its name behind the host, like /replica");
        }
        if url.host_str().is_none_or(str::is_empty) && !told(&["host", "hostaddr", "socket"]) {
            return self.fault("names no host", mend);
        }
        Some(())
    }
}

impl Section<'_> {
    /// Pointers that may be left out.
    pub(super) fn pointers(&self, key: &'static str) -> Pointers {
        self.or(key, Pointers::new(), Field::pointers)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// `/a~1b/0` from the item on, `#/a` from the body on; the empty text is the item itself, `#` the body.
fn pointer(text: &str) -> Option<Pointer> {
    let (whole, path) = match text.strip_prefix('#') {
        Some(path) => (true, path),
        None => (false, text),
    };
    if path.is_empty() {
        return Some(Pointer { whole, tokens: Vec::new() });
    }
    let tokens: Option<Vec<String>> = path.strip_prefix('/')?.split('/').map(unescaped).collect();
    Some(Pointer { whole, tokens: tokens? })
}

fn unescaped(token: &str) -> Option<String> {
    let mut pieces = token.split('~');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let (character, rest) = match piece.as_bytes().first()? {
            b'0' => ('~', &piece[1..]),
            b'1' => ('/', &piece[1..]),
            _ => return None,
        };
        text.push(character);
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_rfc_6901_has_them() {
        let read = |text: &str| pointer(text).map(|pointer| (pointer.whole, pointer.tokens.join("|")));
        for (text, whole, tokens) in [
            ("", false, ""),
            ("/a/b", false, "a|b"),
            ("/", false, ""),
            ("/a~1b/m~0n/~01", false, "a/b|m~n|~1"),
            ("#", true, ""),
            ("#/event", true, "event"),
            ("/additional_data/0", false, "additional_data|0"),
        ] {
            assert_eq!(read(text), Some((whole, tokens.to_owned())), "{text}");
        }
        assert_eq!(pointer("").unwrap().tokens.len(), 0);
        assert_eq!(pointer("/").unwrap().tokens.len(), 1);
        for text in ["a", "data/id", "/a~", "/a~2", "#a", "$.data.id"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
