//! Forgeries: those that verifiers in the field have let pass, and random ones.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_614_265_330;

#[test]
fn empty_and_short_signatures_never_match() {
    let auth = standard(&[STANDARD_SECRET, PUBLIC_KEY]);
    for key in [STANDARD_SECRET, PRIVATE_KEY] {
        let delivery = Delivery::signed(&standard(&[key]), STANDARD_BODY, NOW);
        let value = delivery.get("webhook-signature").to_owned();
        for length in 0..value.len() {
            assert!(delivery.with("webhook-signature", &value[..length]).check(&auth).is_err(), "{length}");
        }
        for longer in [format!("{value}A"), format!("{value}="), format!("{value}{value}")] {
            assert!(delivery.with("webhook-signature", &longer).check(&auth).is_err(), "{longer}");
        }
    }
    let rule = super::auth(Scheme::Hmac(body_only("x-sig", "sha256=")), &["secret"]);
    let delivery = Delivery::signed(&rule, "{}", NOW);
    let value = delivery.get("x-sig").to_owned();
    for length in 0..value.len() {
        assert!(delivery.with("x-sig", &value[..length]).check(&rule).is_err(), "{length}");
    }
}

#[test]
fn another_spelling_of_the_signature_is_refused() {
    let rule = auth(Scheme::Hmac(body_only("x-sig", "sha256=")), &["secret"]);
    let delivery = Delivery::signed(&rule, "{}", NOW);
    let value = delivery.get("x-sig").to_owned();
    let hex = value.strip_prefix("sha256=").unwrap();
    let upper = format!("sha256={}", hex.to_uppercase());
    assert_ne!(upper, value);
    assert_eq!(delivery.with("x-sig", &upper).check(&rule), Err(Refused::NoMatch));
    for other in [hex.to_owned(), format!("sha1={hex}"), format!("SHA256={hex}"), format!(" {value}")] {
        assert_eq!(delivery.with("x-sig", &other).check(&rule), Err(Refused::NoSignature), "{other}");
    }
    let digits = value.replace(|byte: char| byte.is_ascii_digit(), "٣");
    assert!(delivery.with("x-sig", &digits).check(&rule).is_err());
}

#[test]
fn loose_bits_at_the_end_of_base64_are_refused() {
    let auth = standard(&[STANDARD_SECRET, PUBLIC_KEY]);
    for key in [STANDARD_SECRET, PRIVATE_KEY] {
        let delivery = Delivery::signed(&standard(&[key]), STANDARD_BODY, NOW);
        let value = delivery.get("webhook-signature").to_owned();
        let unpadded = value.trim_end_matches('=');
        assert!(delivery.with("webhook-signature", unpadded).check(&auth).is_err());
        let padding = &value[unpadded.len()..];
        let (start, last) = unpadded.split_at(unpadded.len() - 1);
        let loose = char::from(last.as_bytes()[0] + 1);
        assert!(
            delivery.with("webhook-signature", &format!("{start}{loose}{padding}")).check(&auth).is_err()
        );
    }
}

#[test]
fn hostile_times_are_refused_without_a_panic() {
    let hostile = [
        "",
        " ",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "-1",
        "+1614265330",
        "1614265330.0",
        "1614265330 ",
        "1e9",
        "0x6037",
        "nan",
        "١٦١٤٢٦٥٣٣٠",
        "99999999999999999999999999",
    ];
    let slack_auth = auth(Scheme::Hmac(slack()), &["secret"]);
    let standard_auth = standard(&[STANDARD_SECRET]);
    for text in hostile {
        let headers = [("webhook-id", "a"), ("webhook-timestamp", text), ("webhook-signature", "v1,")];
        assert_eq!(
            Delivery::new(&headers, "{}", NOW).check(&standard_auth),
            Err(Refused::MalformedTime),
            "{text}"
        );
        let mac = match &slack_auth.scheme {
            Scheme::Hmac(rule) => key::MacKey::of(rule, 1, &slack_auth.secrets[0]).unwrap(),
            _ => unreachable!(),
        };
        let signature = mac.sign(&[b"v0:", text.as_bytes(), b":", b"{}"], Encoding::Hex);
        let signature = format!("v0={signature}");
        let headers = [("x-slack-request-timestamp", text), ("x-slack-signature", signature.as_str())];
        let signed = Delivery::new(&headers, "{}", NOW).check(&slack_auth);
        assert_eq!(signed, Err(Refused::MalformedTime), "{text}");
    }
}

#[test]
fn stripe_headers_with_a_missing_or_second_time_are_refused() {
    let rule = auth(Scheme::Hmac(stripe()), &["whsec_test_secret"]);
    let delivery = Delivery::signed(&rule, "{}", NOW);
    let value = delivery.get("stripe-signature").to_owned();
    let signature = value.split(',').nth(1).unwrap();
    for other in [
        signature.to_owned(),
        format!("t=1,{value}"),
        format!("{value},t=1"),
        format!("t={value}"),
        format!("t=,{signature}"),
    ] {
        assert!(delivery.with("stripe-signature", &other).check(&rule).is_err(), "{other}");
    }
    let unknown = delivery.with("stripe-signature", &format!("{value},v0=6ffbb,junk"));
    assert!(unknown.check(&rule).is_ok());
}

#[test]
fn missing_and_repeated_headers_are_refused() {
    let auths = [
        standard(&[STANDARD_SECRET]),
        auth(Scheme::Hmac(hookbridge()), &["s"]),
        auth(Scheme::Hmac(stripe()), &["s"]),
        auth(Scheme::Bearer, &["s"]),
    ];
    for auth in auths {
        let delivery = Delivery::signed(&auth, "{}", NOW);
        for index in 0..delivery.headers.len() {
            let mut without = delivery.clone();
            let header = without.headers.remove(index);
            assert_eq!(without.check(&auth), Err(Refused::MissingHeader), "{}", header.0);
            let mut twice = delivery.clone();
            twice.headers.push(header.clone());
            assert_eq!(twice.check(&auth), Err(Refused::DuplicateHeader), "{}", header.0);
        }
    }
}

#[test]
fn ids_that_make_the_signed_content_ambiguous_are_refused() {
    let auth = standard(&[STANDARD_SECRET]);
    // Signed as id `x` at time 1 with the body `1614265330.{}`; the same bytes, cut elsewhere, look fresh.
    let body = format!("{NOW}.{{}}");
    let url = "https://www.example.com/webhook_uri";
    let draft = Draft { method: "POST", url, id: "x", body: body.as_bytes() };
    let old = Signer::new(&auth).unwrap().sign(&draft, Timestamp::from_seconds(1));
    let now = NOW.to_string();
    let headers = [
        ("webhook-id", "x.1"),
        ("webhook-timestamp", now.as_str()),
        ("webhook-signature", old[2].1.as_str()),
    ];
    assert_eq!(Delivery::new(&headers, "{}", NOW).check(&auth), Err(Refused::MalformedId));

    let longest = "a".repeat(ID_CHARS_MAX);
    for (id, expected) in [
        ("", Err(Refused::MalformedId)),
        ("a b", Err(Refused::MalformedId)),
        ("a/b", Err(Refused::MalformedId)),
        ("é", Err(Refused::MalformedId)),
        (&format!("{longest}a"), Err(Refused::MalformedId)),
        (&longest, Ok(longest.clone())),
        ("A-z_0", Ok("A-z_0".to_owned())),
    ] {
        let draft = Draft { method: "POST", url, id, body: b"{}" };
        let headers = Signer::new(&auth).unwrap().sign(&draft, Timestamp::from_seconds(NOW));
        let delivery = Delivery { headers, ..Delivery::new(&[], "{}", NOW) };
        assert_eq!(delivery.check(&auth).map(|verified| verified.delivery_id.unwrap()), expected, "{id}");
    }
}

#[test]
fn at_most_eight_signatures_are_tried() {
    let standard_auth = standard(&[STANDARD_SECRET]);
    let hmac_auth = auth(Scheme::Hmac(hookbridge()), &["secret"]);
    for (auth, name, bad, separator) in [
        (&standard_auth, "webhook-signature", "v1,AAAA", " "),
        (&hmac_auth, "x-webhook-signature", "sha256=00", ","),
    ] {
        let delivery = Delivery::signed(auth, "{}", NOW);
        let good = delivery.get(name).to_owned();
        let after = |count: usize| {
            let mut list = vec![bad; count];
            list.push(&good);
            delivery.with(name, &list.join(separator)).check(auth)
        };
        assert!(after(SIGNATURES_MAX - 1).is_ok());
        assert_eq!(after(SIGNATURES_MAX), Err(Refused::NoMatch));
        assert_eq!(after(1_000), Err(Refused::NoMatch));
    }
}

fn schemes() -> impl Strategy<Value = Auth> {
    let hmacs = prop_oneof![
        Just(body_only("x-sig", "sha256=")),
        Just(hookbridge()),
        Just(stripe()),
        Just(slack()),
        Just(hubspot()),
        Just(shopify()),
    ];
    prop_oneof![
        (hmacs, "[ -~]{1,40}").prop_map(|(rule, secret)| auth(Scheme::Hmac(rule), &[&secret])),
        Just(standard(&[STANDARD_SECRET])),
        Just(standard(&[PRIVATE_KEY])),
        "[!-~]{1,40}".prop_map(|secret| auth(Scheme::Bearer, &[&secret])),
    ]
}

proptest! {
    #[test]
    fn a_signed_delivery_verifies_and_any_changed_byte_does_not(
        auth in schemes(),
        body in vec(any::<u8>(), 0..200),
        seconds in 0..4_000_000_000_i64,
        place in any::<prop::sample::Index>(),
        byte in b' '..=b'~',
        flip in 1..=u8::MAX,
    ) {
        let url = "https://www.example.com/webhook_uri";
        let now = Timestamp::from_seconds(seconds);
        let draft = Draft { method: "POST", url, id: STANDARD_ID, body: &body };
        let headers = Signer::new(&auth).unwrap().sign(&draft, now);
        let delivery = Delivery { url: Some(url.to_owned()), headers, body, now };
        prop_assert!(delivery.check(&auth).is_ok());

        if !delivery.body.is_empty() && auth.scheme != Scheme::Bearer {
            let mut other = delivery.clone();
            let index = place.index(other.body.len());
            other.body[index] ^= flip;
            prop_assert_eq!(other.check(&auth), Err(Refused::NoMatch));
        }
        for index in 0..delivery.headers.len() {
            let mut other = delivery.clone();
            let value = &mut other.headers[index].1;
            let at = place.index(value.len());
            let harmless = auth.scheme == Scheme::Bearer && at < "bearer".len();
            let changed = value.as_bytes()[at] != byte && !harmless;
            value.replace_range(at..=at, char::from(byte).encode_utf8(&mut [0; 4]));
            prop_assert!(!changed || other.check(&auth).is_err(), "{}", other.headers[index].1);
        }
    }

    #[test]
    fn no_header_panics(
        id in "\\PC{0,40}",
        time in "[-+0-9.eE]{0,24}|\\PC{0,24}",
        signature in "(v1a?,|t=|sha256=|\\PC{0,10}){0,4}\\PC{0,90}",
        now in any::<i64>(),
    ) {
        let headers = [
            ("webhook-id", id.as_str()), ("webhook-timestamp", &time), ("webhook-signature", &signature),
            ("x-webhook-timestamp", &time), ("x-webhook-signature", &signature), ("stripe-signature", &signature),
        ];
        let delivery = Delivery { now: Timestamp::from_micros(now), ..Delivery::new(&headers, "{}", 0) };
        for auth in [
            standard(&[STANDARD_SECRET, PUBLIC_KEY]),
            auth(Scheme::Hmac(hookbridge()), &["s"]),
            auth(Scheme::Hmac(stripe()), &["s"]),
        ] {
            prop_assert!(delivery.check(&auth).is_err());
        }
    }
}
