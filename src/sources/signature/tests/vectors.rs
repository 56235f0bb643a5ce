//! Signatures that were made elsewhere: the upstreams' own examples, and values computed with other tools.

use super::*;

struct Vector {
    name: &'static str,
    auth: Auth,
    delivery: Delivery,
    /// The header with the signature.
    signature: &'static str,
    /// The header with the time, if it is signed.
    time: Option<&'static str>,
}

const DEAL: &str = r#"{"event":"deal.deleted","data":{"id":"3f8e1d2c-4b5a-6d7e-8f9a-0b1c2d3e4f5a"}}"#;
const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&\
    channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&\
    command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F\
    397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.\
    803a0bc887a14d10d2c447fce8b6703c";

fn standard_vector(name: &'static str, secret: &str, id: &str, time: i64, body: &str, value: &str) -> Vector {
    let time_text = time.to_string();
    let headers =
        [("webhook-id", id), ("webhook-timestamp", time_text.as_str()), ("webhook-signature", value)];
    Vector {
        name,
        auth: standard(&[secret]),
        delivery: Delivery::new(&headers, body, time),
        signature: "webhook-signature",
        time: Some("webhook-timestamp"),
    }
}

fn hmac_vector(name: &'static str, rule: Hmac, secret: &str, signed: Delivery) -> Vector {
    let signature =
        ["x-hub-signature-256", "x-slack-signature", "x-leadlex-signature", "x-webhook-signature"]
            .into_iter()
            .chain([
                "stripe-signature",
                "x-shopify-hmac-sha256",
                "x-hubspot-signature-v3",
                "x-hook-signature",
            ])
            .find(|name| *name == rule.header)
            .unwrap();
    let time = ["x-slack-request-timestamp", "x-webhook-timestamp", "x-hubspot-request-timestamp"]
        .into_iter()
        .find(|name| rule.timestamp.as_ref().is_some_and(|time| time.header == *name));
    Vector { name, auth: auth(Scheme::Hmac(rule), &[secret]), delivery: signed, signature, time }
}

/// Published by the upstreams themselves.
fn official() -> Vec<Vector> {
    let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let slack_headers = [
        ("x-slack-request-timestamp", "1531420618"),
        ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
    ];
    let v1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let v1a = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let email = r#"{"email":"test@example.com","username":"test_user"}"#;
    vec![
        standard_vector("svix v1", STANDARD_SECRET, STANDARD_ID, 1_614_265_330, STANDARD_BODY, v1),
        standard_vector(
            "standard webhooks v1",
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            email,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        standard_vector("svix v1a", PUBLIC_KEY, STANDARD_ID, 1_614_265_330, STANDARD_BODY, v1a),
        hmac_vector(
            "github",
            body_only("x-hub-signature-256", "sha256="),
            "It's a Secret to Everybody",
            Delivery::new(&[("x-hub-signature-256", github)], "Hello, World!", 0),
        ),
        hmac_vector(
            "slack",
            slack(),
            "8f742231b10e8888abcd99yyyzzz85a5",
            Delivery::new(&slack_headers, SLACK_BODY, 1_531_420_618),
        ),
    ]
}

/// Computed with other tools, where the upstream publishes none.
fn computed() -> Vec<Vector> {
    let leadlex = "sha256=891387b0308d98845767adfd2b27c8dbc2a0e907be565bea465fb60da56156af";
    let hookbridge_headers = [
        ("x-webhook-timestamp", "1775398991"),
        ("x-webhook-signature", "sha256=503487bc7ca517e90f77c35332eba10ff237469b65a1ebfe1e7f46ab2fda304b"),
    ];
    let stripe_value = "t=1614265330,v1=3c5817089d739023dd6190f70a3757e04f7a2fd8b5dab12c2e000f51970dccff";
    let hubspot_headers = [
        ("x-hubspot-request-timestamp", "1614265330000"),
        ("x-hubspot-signature-v3", "tpCufWLOupRpVXpoJy1Cdw0BOVgWjilpkfjxyo2w2OQ="),
    ];
    let asana = "10468027b67df18c739cc4794c6fc2d2806dcaaf2259fc3e1ed9d26433659853";
    vec![
        hmac_vector(
            "leadlex",
            body_only("x-leadlex-signature", "sha256="),
            "leadlex_test_secret",
            Delivery::new(&[("x-leadlex-signature", leadlex)], DEAL, 0),
        ),
        hmac_vector(
            "hookbridge",
            hookbridge(),
            "hookbridge_test_secret",
            Delivery::new(&hookbridge_headers, DEAL, 1_775_398_991),
        ),
        hmac_vector(
            "stripe",
            stripe(),
            "whsec_test_secret",
            Delivery::new(
                &[("stripe-signature", stripe_value)],
                r#"{"id":"evt_test_webhook","object":"event"}"#,
                1_614_265_330,
            ),
        ),
        hmac_vector(
            "shopify",
            shopify(),
            "shopify_test_secret",
            Delivery::new(
                &[("x-shopify-hmac-sha256", "g0QghvIRM7bsBbYsPXVPgdcwYmP3A9K4tOlrILBAzmU=")],
                "{}",
                0,
            ),
        ),
        hmac_vector(
            "hubspot v3",
            hubspot(),
            "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",
            Delivery::new(&hubspot_headers, r#"{"example_field":"example_value"}"#, 1_614_265_330),
        ),
        hmac_vector(
            "asana",
            body_only("x-hook-signature", ""),
            "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81",
            Delivery::new(&[("x-hook-signature", asana)], r#"{"events":[]}"#, 0),
        ),
    ]
}

fn vectors() -> Vec<Vector> {
    official().into_iter().chain(computed()).collect()
}

/// The same text with one letter or digit changed, at `position` counted from the end.
fn altered(text: &str, position: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let index = bytes.len() - 1 - position;
    bytes[index] = if bytes[index] == b'7' { b'8' } else { b'7' };
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_vector_verifies() {
    for vector in vectors() {
        let verified = vector.delivery.check(&vector.auth);
        assert_eq!(verified.map(|verified| verified.secret), Ok(0), "{}", vector.name);
    }
}

#[test]
fn every_vector_is_refused_with_another_body() {
    for vector in vectors() {
        for body in [&vector.delivery.body[..vector.delivery.body.len() - 1], b"", b"{}\n"] {
            let other = Delivery { body: body.to_vec(), ..vector.delivery.clone() };
            assert_eq!(other.check(&vector.auth), Err(Refused::NoMatch), "{}", vector.name);
        }
    }
}

#[test]
fn every_vector_is_refused_with_another_signature() {
    for vector in vectors() {
        let value = vector.delivery.get(vector.signature).to_owned();
        for other in [
            altered(&value, 1),
            altered(&value, 20),
            value[..value.len() - 1].to_owned(),
            format!("{value}0"),
        ] {
            let other = vector.delivery.with(vector.signature, &other);
            assert_eq!(other.check(&vector.auth), Err(Refused::NoMatch), "{}", vector.name);
        }
    }
}

#[test]
fn every_vector_is_refused_with_another_time() {
    let mut timed = 0;
    for vector in vectors() {
        if let Some(header) = vector.time {
            let time = altered(vector.delivery.get(header), 0);
            let other = vector.delivery.with(header, &time);
            assert_eq!(other.check(&vector.auth), Err(Refused::NoMatch), "{}", vector.name);
            timed += 1;
        }
    }
    assert_eq!(timed, 6);
    let stripe = computed().into_iter().find(|vector| vector.name == "stripe").unwrap();
    let value = stripe.delivery.get("stripe-signature").replace("t=1614265330", "t=1614265331");
    assert_eq!(stripe.delivery.with("stripe-signature", &value).check(&stripe.auth), Err(Refused::NoMatch));
}

#[test]
fn every_vector_is_refused_with_another_secret() {
    for vector in vectors() {
        let other = match &vector.auth.scheme {
            Scheme::StandardWebhooks { .. } => standard(&[
                "whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
                "whpk_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=",
            ]),
            Scheme::Hmac(_) => auth(vector.auth.scheme.clone(), &["another secret"]),
            _ => unreachable!(),
        };
        assert_eq!(vector.delivery.check(&other), Err(Refused::NoMatch), "{}", vector.name);
    }
}

#[test]
fn signing_gives_the_headers_of_every_vector() {
    for vector in vectors() {
        let auth = match vector.name {
            "svix v1a" => standard(&[PRIVATE_KEY]),
            _ => vector.auth.clone(),
        };
        let id = vector.delivery.headers.iter().find(|header| header.0 == "webhook-id");
        let draft = Draft {
            method: "POST",
            url: vector.delivery.url.as_deref().unwrap(),
            id: id.map_or("unused", |header| &header.1),
            body: &vector.delivery.body,
        };
        let headers = Signer::new(&auth).unwrap().sign(&draft, vector.delivery.now);
        assert_eq!(headers, vector.delivery.headers, "{}", vector.name);
    }
}
