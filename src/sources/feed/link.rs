//! The `Link` header (RFC 8288 section 3), of which only `rel="next"` matters here.
//!
//! Strict where leniency would end a walk early: a header that cannot be taken apart may have held the next
//! link, so it is a fault and not the end.

/// A header that is not a list of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The target of the first link to the next page, as it was written.
pub(super) fn next(header: &str) -> Result<Option<&str>, Malformed> {
    let mut rest = header.trim();
    let mut found = None;
    while !rest.is_empty() {
        let (target, after) =
            rest.strip_prefix('<').and_then(|text| text.split_once('>')).ok_or(Malformed)?;
        let (is_next, after) = parameters(after)?;
        if is_next && found.is_none() {
            found = Some(target.trim());
        }
        rest = after;
    }
    Ok(found)
}

/// Whether the parameters up to the next link say `rel="next"` of this very page, and what follows them.
fn parameters(text: &str) -> Result<(bool, &str), Malformed> {
    let mut relation: Option<String> = None;
    let mut of_another_page = false;
    let mut rest = text.trim_start();
    while let Some(parameter) = rest.strip_prefix(';') {
        let (name, value, after) = parameter_at(parameter.trim_start())?;
        // Only the first `rel` counts (section 3.3).
        if name.eq_ignore_ascii_case("rel") && relation.is_none() {
            relation = Some(value);
        } else if name.eq_ignore_ascii_case("anchor") {
            of_another_page = true;
        }
        rest = after.trim_start();
    }
    let is_next = relation.is_some_and(|relation| {
        relation.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case("next"))
    });
    match rest.strip_prefix(',') {
        Some(after) => Ok((is_next && !of_another_page, after.trim_start_matches([' ', '\t', ',']))),
        None if rest.is_empty() => Ok((is_next && !of_another_page, rest)),
        None => Err(Malformed),
    }
}

/// One `name`, `name=token` or `name="text"`, and what follows it.
fn parameter_at(text: &str) -> Result<(&str, String, &str), Malformed> {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, rest) = (text[..end].trim(), &text[end..]);
    let Some(value) = rest.strip_prefix('=').map(str::trim_start) else {
        return Ok((name, String::new(), rest));
    };
    let Some(quoted) = value.strip_prefix('"') else {
        let end = value.find([';', ',']).unwrap_or(value.len());
        return Ok((name, value[..end].trim().to_owned(), &value[end..]));
    };
    let mut unescaped = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((name, unescaped, &quoted[index + 1..])),
            '\\' => unescaped.extend(characters.next().map(|(_, escaped)| escaped)),
            other => unescaped.push(other),
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_link_in_every_notation() {
        for (header, target) in [
            ("", None),
            ("<https://a/x?page=2>; rel=\"next\"", Some("https://a/x?page=2")),
            ("</x>;rel=next", Some("/x")),
            ("</x> ; REL = \"prev NEXT\" ; title=a", Some("/x")),
            ("</a>; rel=\"last\", </b>; rel=\"next\", </c>; rel=\"next\"", Some("/b")),
            ("</a,b;c>; title=\"x, </no>; rel=\\\"next\\\"\"; rel=next", Some("/a,b;c")),
            ("</a>; rel=\"last\"; rel=\"next\"", None),
            ("</a>; rel=next; anchor=\"#part\"", None),
            ("</a>; nofollow; rel=next,", Some("/a")),
            ("</a>", None),
        ] {
            assert_eq!(next(header), Ok(target), "{header}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_taken_apart_is_not_the_end() {
        for header in ["https://a/x; rel=next", "</x; rel=next", "</x>; rel=\"next", "</x> rel=next", "</x>x"]
        {
            assert_eq!(next(header), Err(Malformed), "{header}");
        }
    }
}
