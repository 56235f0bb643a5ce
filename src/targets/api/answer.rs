//! What an answer proves, id by id; and what an error says of the request.
//!
//! Exists because vendors say "success" of requests that did half of the work. Nothing is told of a record
//! that the answer does not prove (I7, I8). Pure.

use std::collections::HashMap;

use serde_json::Value;

use super::http::Response;
use crate::config::api::{Answer, ErrorMeans, Unlisted, WordMeans};
use crate::config::source::{Pointer, Pointers};

/// Bytes of a vendor's code that are shown: the longest known one has 25.
const CODE_BYTES_MAX: usize = 40;

/// What the answer says of one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Deleted,
    Absent,
    Gone,
    /// With the vendor's code, where it has one.
    Failed {
        code: Option<String>,
        retry: bool,
    },
    Unproven,
}

/// What the answer says of each id, in order; `None` if it is not the answer that the configuration describes.
pub(super) fn judge(answer: &Answer, body: &Value, told_as: &Pointers, ids: &[&str]) -> Option<Vec<Told>> {
    let list = if answer.items.is_empty() { None } else { find(body, body, &answer.items) };
    let items = match list {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(items)) => items,
        Some(_) => return None,
    };
    let mut listed: HashMap<String, Told> = HashMap::new();
    let mut strangers = Vec::new();
    for item in items {
        let told = word(answer, body, item);
        let id = find(body, item, told_as).and_then(text);
        match id.filter(|id| ids.contains(&id.as_str())) {
            // Twice in a list, and differently: neither is proof.
            Some(id) => {
                let before = listed.insert(id.clone(), told.clone());
                if before.is_some_and(|before| before != told) {
                    listed.insert(id, Told::Unproven);
                }
            }
            None => strangers.push(told),
        }
    }
    let rest = ids.len() - ids.iter().filter(|id| listed.contains_key(**id)).count();
    let rest = unlisted(answer, body, &listed, &strangers, rest, ids.len())?;
    Some(ids.iter().map(|id| listed.get(*id).unwrap_or(&rest).clone()).collect())
}

/// What is true of every one of the `count` ids that the answer does not name.
fn unlisted(
    answer: &Answer,
    body: &Value,
    listed: &HashMap<String, Told>,
    strangers: &[Told],
    count: usize,
    asked: usize,
) -> Option<Told> {
    if count == 0 {
        return Some(Told::Unproven);
    }
    if asked == 1
        && let Some(told) = strangers.first()
    {
        // One id was asked for: whatever the answer calls it, it speaks of that one.
        return Some(if strangers.len() == 1 { told.clone() } else { Told::Unproven });
    }
    let hides = find(body, body, &answer.has_errors).and_then(Value::as_bool) == Some(true);
    let unexplained = !strangers.is_empty() || (hides && listed.is_empty());
    match answer.unlisted {
        Unlisted::Unproven => Some(Told::Unproven),
        Unlisted::Deleted => Some(if unexplained { Told::Unproven } else { Told::Deleted }),
        Unlisted::Counted => {
            let deleted = find(body, body, &answer.deleted).and_then(Value::as_u64)?;
            let named = listed.values().filter(|told| **told == Told::Deleted).count() as u64;
            Some(match deleted.checked_sub(named) {
                Some(0) if unexplained && asked == 1 => Told::Failed { code: None, retry: true },
                _ if unexplained => Told::Unproven,
                Some(all) if all == count as u64 => Told::Deleted,
                Some(0) => Told::Absent,
                _ => Told::Unproven,
            })
        }
    }
}

/// Whether an answer of 2xx says that nothing was done.
pub(super) fn denies(answer: &Answer, body: &Value) -> bool {
    let denied = find(body, body, &answer.success).and_then(Value::as_bool) == Some(false);
    denied && find(body, body, &answer.deleted).and_then(Value::as_u64).unwrap_or(0) == 0
}

fn word(answer: &Answer, body: &Value, item: &Value) -> Told {
    let word = find(body, item, &answer.word).and_then(text);
    let means = word.as_ref().and_then(|word| answer.words.get(word)).copied().unwrap_or(answer.otherwise);
    match means {
        WordMeans::Deleted => Told::Deleted,
        WordMeans::Absent => Told::Absent,
        WordMeans::Gone => Told::Gone,
        WordMeans::Failed => Told::Failed { code: word.and_then(presentable), retry: true },
        WordMeans::Refused => Told::Failed { code: word.and_then(presentable), retry: false },
    }
}

/// What an error means, and the vendor's code for it.
pub(super) fn error(
    means: &std::collections::BTreeMap<String, ErrorMeans>,
    code: &Pointers,
    response: &Response,
) -> (ErrorMeans, Option<String>) {
    let body = response.json();
    let code = find(&body, &body, code).and_then(text);
    let status = response.status.to_string();
    let chosen = code.as_ref().and_then(|code| means.get(code)).or_else(|| means.get(&status));
    let usual = match response.status {
        401 | 403 => ErrorMeans::Credential,
        402 => ErrorMeans::Quota,
        429 => ErrorMeans::Rate,
        200..300 | 400 | 409 | 413 | 414 | 422 => ErrorMeans::Refused,
        408 | 425 | 500.. => ErrorMeans::Down,
        _ => ErrorMeans::Misconfigured,
    };
    (chosen.copied().unwrap_or(usual), code.and_then(presentable))
}

/// A code may be shown if it is one: a word of letters, digits and marks that no customer's data looks like.
fn presentable(code: String) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let letters = code.bytes().filter(u8::is_ascii_alphabetic).count();
    let word = code.len() <= CODE_BYTES_MAX && code.bytes().all(plain) && letters * 2 > code.len();
    word.then_some(code)
}

/// The first pointer that leads somewhere; `#` starts at the body, everything else at `item`.
pub(super) fn find<'v>(body: &'v Value, item: &'v Value, pointers: &Pointers) -> Option<&'v Value> {
    pointers.iter().find_map(|Pointer { whole, tokens }| {
        let start = if *whole { body } else { item };
        tokens.iter().try_fold(start, |value, token| match value {
            Value::Object(members) => members.get(token),
            Value::Array(items) => items.get(token.parse::<usize>().ok()?),
            _ => None,
        })
    })
}

/// An id is text, or a whole number as it stands. One too large for 64 bits is neither, and matches nothing.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
