//! Texts with places in braces: how a target names a record (`{0}:{1}`), and what a signature covers
//! (`{timestamp}.{body}`). A brace that is meant is doubled.

use super::api::ItemPiece;
use super::source::Piece;
use super::target::{Template, TemplatePiece};

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    #[error("is empty")]
    Empty,
    #[error("has a brace without its other half")]
    Brace,
    #[error("has an unknown place {{{0}}}")]
    Unknown(String),
}

enum Part {
    Text(String),
    Place(String),
}

/// Reads the name of a record: places are the numbers of the key's parts, counted from 0.
///
/// # Errors
/// See [`TemplateFault`].
pub fn template(text: &str) -> Result<Template, TemplateFault> {
    let pieces = parts(text)?.into_iter().map(|part| match part {
        Part::Text(text) => Ok(TemplatePiece::Text(text)),
        Part::Place(name) => match name.parse() {
            Ok(index) if name.bytes().all(|byte| byte.is_ascii_digit()) => Ok(TemplatePiece::Part(index)),
            _ => Err(TemplateFault::Unknown(name)),
        },
    });
    Ok(Template(pieces.collect::<Result<_, _>>()?))
}

/// Reads what a signature covers: places are `id`, `timestamp`, `method`, `url` and `body`.
///
/// # Errors
/// See [`TemplateFault`].
pub fn signed(text: &str) -> Result<Vec<Piece>, TemplateFault> {
    let pieces = parts(text)?.into_iter().map(|part| match part {
        Part::Text(text) => Ok(Piece::Text(text)),
        Part::Place(name) => match name.as_str() {
            "id" => Ok(Piece::Id),
            "timestamp" => Ok(Piece::Timestamp),
            "method" => Ok(Piece::Method),
            "url" => Ok(Piece::Url),
            "body" => Ok(Piece::Body),
            _ => Err(TemplateFault::Unknown(name)),
        },
    });
    pieces.collect()
}

/// Reads what stands for a record in a request: places are `id` and the numbers of the key's parts.
///
/// # Errors
/// See [`TemplateFault`].
pub fn item(text: &str) -> Result<Vec<ItemPiece>, TemplateFault> {
    let pieces = parts(text)?.into_iter().map(|part| match part {
        Part::Text(text) => Ok(ItemPiece::Text(text)),
        Part::Place(name) if name == "id" => Ok(ItemPiece::Id),
        Part::Place(name) => match name.parse() {
            Ok(index) if name.bytes().all(|byte| byte.is_ascii_digit()) => Ok(ItemPiece::Part(index)),
            _ => Err(TemplateFault::Unknown(name)),
        },
    });
    pieces.collect()
}

/// Fills the places of a path with what `given` has for their names.
///
/// # Errors
/// See [`TemplateFault`]; a name that nothing is given for is unknown.
pub fn filled(text: &str, given: impl Fn(&str) -> Option<String>) -> Result<String, TemplateFault> {
    let pieces = parts(text)?.into_iter().map(|part| match part {
        Part::Text(text) => Ok(text),
        Part::Place(name) => given(&name).ok_or(TemplateFault::Unknown(name)),
    });
    pieces.collect()
}

fn parts(text: &str) -> Result<Vec<Part>, TemplateFault> {
    let mut parts = Vec::new();
    let mut fixed = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '{' | '}' if rest.next_if_eq(&character).is_some() => fixed.push(character),
            '{' => {
                if !fixed.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut fixed)));
                }
                parts.push(Part::Place(place(&mut rest)?));
            }
            '}' => return Err(TemplateFault::Brace),
            _ => fixed.push(character),
        }
    }
    if !fixed.is_empty() {
        parts.push(Part::Text(fixed));
    }
    if parts.is_empty() { Err(TemplateFault::Empty) } else { Ok(parts) }
}

fn place(rest: &mut impl Iterator<Item = char>) -> Result<String, TemplateFault> {
    let mut name = String::new();
    for character in rest {
        match character {
            '}' => return Ok(name),
            '{' => break,
            _ => name.push(character),
        }
    }
    Err(TemplateFault::Brace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i11_a_template_renders_the_parts_byte_for_byte() {
        let rendered = |text: &str| template(text).unwrap().render(&["2".into(), " W{1} ".into()]);
        assert_eq!(rendered("{0}:{1}").as_deref(), Some("2: W{1} "));
        assert_eq!(rendered("a{{{1}}}").as_deref(), Some("a{ W{1} }"));
        assert_eq!(rendered("{2}"), None);
    }

    #[test]
    fn signed_content_reads_every_place_in_order() {
        use Piece::{Body, Id, Method, Text, Timestamp, Url};
        let text = |text: &str| Text(text.to_owned());
        assert_eq!(signed("v0:{timestamp}:{body}").unwrap(), [text("v0:"), Timestamp, text(":"), Body]);
        assert_eq!(signed("{method}{url}{body}{timestamp}").unwrap(), [Method, Url, Body, Timestamp]);
        assert_eq!(signed("{id}.{timestamp}.{body}").unwrap(), [Id, text("."), Timestamp, text("."), Body]);
    }

    #[test]
    fn an_item_names_the_id_and_the_parts_and_a_path_takes_what_is_given() {
        use ItemPiece::{Id, Part, Text};
        assert_eq!(item("a{id}{1}").unwrap(), [Text("a".into()), Id, Part(1)]);
        assert_eq!(item("{list}"), Err(TemplateFault::Unknown("list".into())));
        let given = |name: &str| (name == "list").then(|| "7".to_owned());
        assert_eq!(filled("/lists/{list}/x", given).unwrap(), "/lists/7/x");
        assert_eq!(filled("/{other}", given), Err(TemplateFault::Unknown("other".into())));
    }

    #[test]
    fn what_is_no_template_is_refused_by_name() {
        let unknown = |name: &str| Err(TemplateFault::Unknown(name.to_owned()));
        assert_eq!(template(""), Err(TemplateFault::Empty));
        for text in ["{", "}", "{0", "{0}}", "{{0}", "{0{1}"] {
            assert_eq!(template(text), Err(TemplateFault::Brace), "{text}");
        }
        for name in ["", "+1", "-1", "x", "99999999999999999999"] {
            assert_eq!(template(&format!("{{{name}}}")), unknown(name));
        }
        assert_eq!(signed("{0}"), Err(TemplateFault::Unknown("0".to_owned())));
    }
}
