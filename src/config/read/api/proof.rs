//! Reads how requests to an API prove themselves.

use super::super::super::Secret;
use super::super::super::api::{Auth, Oauth};
use super::super::super::file::Value;
use super::super::feed::carried;
use super::super::{Field, Section};

#[derive(Clone, Copy)]
enum Scheme {
    None,
    Header,
    Bearer,
    Oauth,
}

const SCHEMES: [(&str, Scheme); 4] = [
    ("none", Scheme::None),
    ("header", Scheme::Header),
    ("bearer", Scheme::Bearer),
    ("oauth", Scheme::Oauth),
];

const WAYS: [(&str, bool); 2] = [("basic", false), ("body", true)];

/// `auth`, with `api_key` beside it.
pub(super) fn auth(api: &Section<'_>, base: Option<&str>) -> Option<Auth> {
    let key = api.get("api_key");
    let mend = "say how requests prove themselves, like auth = { scheme = \"bearer\" }";
    api.required("auth", mend, |field| field.section(|section| of(section, api, key.as_ref(), base)))
}

fn of(section: &Section<'_>, api: &Section<'_>, key: Option<&Field<'_>>, base: Option<&str>) -> Option<Auth> {
    let scheme =
        section.chosen("scheme", "write one of \"none\", \"header\", \"bearer\", \"oauth\"", &SCHEMES)?;
    let key = match (scheme, key) {
        (Scheme::None, None) => return Some(Auth::None),
        (Scheme::None, Some(_)) => {
            return api.fault("api_key", "is used by nothing", "leave it out, or choose another auth.scheme");
        }
        (_, Some(field)) => carried(field),
        (_, None) => {
            api.fault("api_key", "missing", "write api_key = { env = \"NAME\" } or { file = \"…\" }")
        }
    };
    match scheme {
        Scheme::None => None,
        Scheme::Header => {
            let name = section.required("header", "name the header that takes the key", Field::header);
            let prefix = section.or("prefix", String::new(), |field| field.text().map(ToOwned::to_owned));
            Some(Auth::Header { name: name?, value: behind(&prefix, &key?) })
        }
        Scheme::Bearer => {
            Some(Auth::Header { name: "authorization".into(), value: behind("Bearer ", &key?) })
        }
        Scheme::Oauth => oauth(section, key, base).map(Auth::Oauth),
    }
}

fn behind(prefix: &str, key: &Secret) -> Secret {
    Secret::new([prefix.as_bytes(), key.expose()].concat())
}

fn oauth(section: &Section<'_>, client_secret: Option<Secret>, base: Option<&str>) -> Option<Oauth> {
    let mend = "name where tokens are had: token_url = \"https://…/oauth/token\", or a path under base_url";
    let token_url = section.required("token_url", mend, |field| match field.text()? {
        path if path.starts_with('/') => Some(format!("{}{path}", base?)),
        _ => field.url(),
    });
    let mend = "name the client, like client_id = \"…\"; its secret is api_key";
    let client_id = section.required("client_id", mend, |field| match &field.node.value {
        Value::Text(text) if !text.is_empty() => Some(Secret::new(text.as_str())),
        _ => field.secret(),
    });
    let lifetime = section.or("lifetime", Oauth::LIFETIME, Field::duration);
    let renew_before = section.or("renew_before", Oauth::RENEW_BEFORE, Field::duration);
    if renew_before >= lifetime {
        let mend = "write less than lifetime, or each request would ask for a token";
        section.fault::<()>("renew_before", "is as long as a token is good for", mend);
    }
    Some(Oauth {
        scope: section.optional("scope", |field| field.text().map(ToOwned::to_owned)),
        in_body: section.or("credentials", false, |field| field.choice(&WAYS)),
        lifetime,
        renew_before,
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
    })
}
