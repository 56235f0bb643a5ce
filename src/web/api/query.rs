//! The parameters of a call: known ones, each once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use url::form_urlencoded;

use super::refused::Refused;

/// The longest wait for an answer: what proxies and clients bear by default.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

/// Parameters by their names.
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// # Errors
    /// A parameter that is not known here, or that stands twice.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, Refused> {
        let mut given = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let message =
                    format!("there is a parameter that is not known here: known are {}", known.join(", "));
                return Err(Refused::bad("unknown_parameter", message));
            }
            if given.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Refused::bad("bad_parameter", format!("{name} is given twice")));
            }
        }
        Ok(Self(given))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn number<T>(&self, name: &str, range: RangeInclusive<T>, default: T) -> Result<T, Refused>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let message = format!("{name} is a whole number from {} to {}", range.start(), range.end());
            Refused::bad("bad_parameter", message)
        })
    }

    pub fn flag(&self, name: &str) -> Result<bool, Refused> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refused::bad("bad_parameter", format!("{name} is true or false"))),
        }
    }

    /// How long an answer may wait until everything is settled; `None`: not at all.
    pub fn wait(&self) -> Result<Option<Duration>, Refused> {
        let Some(text) = self.text("wait") else { return Ok(None) };
        let wait = duration(text).filter(|wait| *wait <= WAIT_MAX);
        wait.map(Some).ok_or_else(|| {
            let message = format!("wait is a time like 30s, of {} s at most", WAIT_MAX.as_secs());
            Refused::bad("bad_parameter", message)
        })
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        "m" => Some(Duration::from_secs(u64::from(number) * 60)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(text: &str) -> Result<Option<Duration>, &'static str> {
        Query::parse(Some(text), &["wait"]).and_then(|query| query.wait()).map_err(|refused| refused.code)
    }

    #[test]
    fn a_wait_is_a_number_and_a_unit_up_to_a_minute() {
        assert_eq!(wait(""), Ok(None));
        assert_eq!(wait("wait=30s"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(wait("wait=250ms"), Ok(Some(Duration::from_millis(250))));
        assert_eq!(wait("wait=1m"), Ok(Some(WAIT_MAX)));
        for text in
            ["wait=61s", "wait=30", "wait=s", "wait=", "wait=-1s", "wait=4294967296s", "wait=1s&wait=1s"]
        {
            assert_eq!(wait(text), Err("bad_parameter"), "{text}");
        }
        assert_eq!(wait("await=1s"), Err("unknown_parameter"));
    }
}
