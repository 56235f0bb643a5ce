//! What is accepted, and what is refused that an honest upstream might send.

use super::*;

const NOW: i64 = 1_614_265_330;

#[test]
fn tolerance_holds_on_both_sides_to_the_second() {
    for auth in [standard(&[STANDARD_SECRET]), standard(&[PRIVATE_KEY]), auth(Scheme::Hmac(slack()), &["s"])]
    {
        let delivery = Delivery::signed(&auth, "{}", NOW);
        for now in [NOW - 300, NOW, NOW + 300] {
            assert!(delivery.at(now).check(&auth).is_ok(), "{now}");
        }
        assert_eq!(delivery.at(NOW + 301).check(&auth), Err(Refused::Stale));
        assert_eq!(delivery.at(NOW - 301).check(&auth), Err(Refused::Future));
        assert_eq!(delivery.at(i64::MAX).check(&auth), Err(Refused::Stale));
        assert_eq!(delivery.at(i64::MIN).check(&auth), Err(Refused::Future));
    }
}

#[test]
fn future_times_pass_where_the_upstream_says_so() {
    let auth = auth(Scheme::Hmac(stripe()), &["whsec_test_secret"]);
    let delivery = Delivery::signed(&auth, "{}", NOW);
    assert!(delivery.at(NOW - 86_400).check(&auth).is_ok());
    assert_eq!(delivery.at(NOW + 301).check(&auth), Err(Refused::Stale));
}

#[test]
fn a_forged_delivery_is_not_called_stale() {
    let auth = standard(&[STANDARD_SECRET]);
    let delivery = Delivery::signed(&auth, "{}", NOW);
    let forged = Delivery { body: b"[]".to_vec(), ..delivery };
    assert_eq!(forged.at(NOW + 9_999).check(&auth), Err(Refused::NoMatch));
}

#[test]
fn a_rotation_accepts_both_secrets_and_says_which() {
    let old = auth(Scheme::Hmac(hookbridge()), &["old"]);
    let both = auth(Scheme::Hmac(hookbridge()), &["new", "old"]);
    assert_eq!(Delivery::signed(&old, "{}", NOW).check(&both).unwrap().secret, 1);
    assert_eq!(Delivery::signed(&both, "{}", NOW).check(&both).unwrap().secret, 0);
    assert_eq!(Delivery::signed(&both, "{}", NOW).check(&old), Err(Refused::NoMatch));

    let old = standard(&[STANDARD_SECRET]);
    let both = standard(&[PUBLIC_KEY, STANDARD_SECRET]);
    assert_eq!(Delivery::signed(&old, "{}", NOW).check(&both).unwrap().secret, 1);
    assert_eq!(Delivery::signed(&standard(&[PRIVATE_KEY]), "{}", NOW).check(&both).unwrap().secret, 0);
}

#[test]
fn any_signature_of_a_list_verifies() {
    let rule = auth(Scheme::Hmac(hookbridge()), &["secret"]);
    let delivery = Delivery::signed(&rule, "{}", NOW);
    let good = delivery.get("x-webhook-signature").to_owned();
    let other = format!("sha256={}", "0".repeat(64));
    for list in [format!("{good},{other}"), format!("{other},{good}"), format!("{other}, {good}")] {
        assert!(delivery.with("x-webhook-signature", &list).check(&rule).is_ok(), "{list}");
    }
    let single = auth(Scheme::Hmac(Hmac { separator: None, ..hookbridge() }), &["secret"]);
    let list = delivery.with("x-webhook-signature", &format!("{good},{good}"));
    assert_eq!(list.check(&single), Err(Refused::NoMatch));
}

#[test]
fn unknown_versions_are_skipped_and_prove_nothing() {
    let auth = standard(&[STANDARD_SECRET]);
    let delivery = Delivery::signed(&auth, "{}", NOW);
    let good = delivery.get("webhook-signature").to_owned();
    let unknown = good.replace("v1,", "v2,");
    let both = delivery.with("webhook-signature", &format!("{unknown} {good} v0,zzz nonsense"));
    assert!(both.check(&auth).is_ok());
    let alone = delivery.with("webhook-signature", &unknown);
    assert_eq!(alone.check(&auth), Err(Refused::NoSignature));
}

#[test]
fn a_mac_is_never_taken_for_an_ed25519_signature_nor_the_other_way_round() {
    let mac = Delivery::signed(&standard(&[STANDARD_SECRET]), "{}", NOW);
    let pair = Delivery::signed(&standard(&[PRIVATE_KEY]), "{}", NOW);
    let swapped = mac.get("webhook-signature").replace("v1,", "v1a,");
    let both = standard(&[STANDARD_SECRET, PUBLIC_KEY]);
    assert_eq!(mac.with("webhook-signature", &swapped).check(&both), Err(Refused::NoMatch));
    let swapped = pair.get("webhook-signature").replace("v1a,", "v1,");
    assert_eq!(pair.with("webhook-signature", &swapped).check(&both), Err(Refused::NoMatch));
}

#[test]
fn headers_of_one_prefix_belong_together() {
    let auth = standard(&[STANDARD_SECRET]);
    let mut delivery = Delivery::signed(&auth, "{}", NOW);
    for header in &mut delivery.headers {
        header.0 = header.0.replace("webhook-", "svix-");
    }
    assert_eq!(delivery.check(&auth).unwrap().delivery_id.as_deref(), Some(STANDARD_ID));
    delivery.headers[0].0 = "webhook-id".to_owned();
    assert_eq!(delivery.check(&auth), Err(Refused::MissingHeader));
}

#[test]
fn a_delivery_id_counts_only_where_it_is_signed() {
    let unsigned = Hmac { id_header: Some("x-id".to_owned()), ..body_only("x-sig", "") };
    let unsigned = auth(Scheme::Hmac(unsigned), &["s"]);
    let delivery = Delivery::signed(&unsigned, "{}", NOW);
    assert_eq!(delivery.get("x-id"), STANDARD_ID);
    assert_eq!(delivery.check(&unsigned).unwrap().delivery_id, None);

    let signed = vec![Piece::Id, text("."), Piece::Body];
    let signed = Hmac { id_header: Some("x-id".to_owned()), signed, ..body_only("x-sig", "") };
    let signed = auth(Scheme::Hmac(signed), &["s"]);
    let delivery = Delivery::signed(&signed, "{}", NOW);
    assert_eq!(delivery.check(&signed).unwrap().delivery_id.as_deref(), Some(STANDARD_ID));
    assert_eq!(delivery.with("x-id", "other").check(&signed), Err(Refused::NoMatch));
}

#[test]
fn a_signed_url_must_be_the_one_that_was_called() {
    let rule = auth(Scheme::Hmac(hubspot()), &["secret"]);
    let delivery = Delivery::signed(&rule, "{}", NOW);
    let other =
        Delivery { url: Some("https://www.example.com/webhook_uri?x=1".to_owned()), ..delivery.clone() };
    assert_eq!(other.check(&rule), Err(Refused::NoMatch));
    let unknown = Delivery { url: None, ..delivery };
    assert_eq!(unknown.check(&rule), Err(Refused::UrlUnknown));
}

#[test]
fn other_hashes_and_key_encodings_work() {
    for algorithm in [HmacAlgorithm::Sha1, HmacAlgorithm::Sha512] {
        let rule = Hmac { algorithm, secret_encoding: SecretEncoding::Hex, ..body_only("x-sig", "") };
        let auth = auth(Scheme::Hmac(rule), &["00ff10"]);
        let delivery = Delivery::signed(&auth, "{}", NOW);
        assert!(delivery.check(&auth).is_ok());
        assert_eq!(delivery.get("x-sig").len(), if algorithm == HmacAlgorithm::Sha1 { 40 } else { 128 });
    }
    let hex = Hmac { secret_encoding: SecretEncoding::Hex, ..body_only("x-sig", "") };
    let base64 = Hmac { secret_encoding: SecretEncoding::Base64, ..hex.clone() };
    let delivery = Delivery::signed(&auth(Scheme::Hmac(hex), &["00ff10"]), "{}", NOW);
    assert!(delivery.check(&auth(Scheme::Hmac(base64), &["AP8Q"])).is_ok());
}

#[test]
fn iso_times_are_read_where_the_scheme_has_them() {
    let time = timed("x-time", TimeFormat::Iso8601);
    let signed = vec![Piece::Timestamp, Piece::Body];
    let rule = Hmac { timestamp: Some(time), signed, ..body_only("x-sig", "") };
    let auth = auth(Scheme::Hmac(rule), &["s"]);
    let delivery = Delivery::signed(&auth, "{}", NOW);
    assert_eq!(delivery.get("x-time"), "2021-02-25T15:02:10Z");
    assert!(delivery.check(&auth).is_ok());
    assert_eq!(delivery.at(NOW + 301).check(&auth), Err(Refused::Stale));
}

#[test]
fn a_static_secret_is_taken_from_any_of_its_headers() {
    let headers = vec!["x-hook-secret".to_owned(), "x-api-key".to_owned()];
    let auth = auth(Scheme::StaticSecret { headers }, &["new-secret", "old-secret"]);
    let with = |headers: &[(&str, &str)]| Delivery::new(headers, "{}", 0).check(&auth);
    assert_eq!(Delivery::signed(&auth, "{}", 0).headers, [("x-hook-secret".into(), "new-secret".into())]);
    assert_eq!(with(&[("x-api-key", "old-secret")]).unwrap().secret, 1);
    assert_eq!(with(&[("x-hook-secret", "other"), ("x-api-key", "new-secret")]).unwrap().secret, 0);
    assert_eq!(with(&[("x-hook-secret", "new-secret"), ("x-api-key", "other")]).unwrap().secret, 0);
    for other in ["", "n", "new-secre", "new-secrett", "New-secret", "new-secretnew-secret"] {
        assert_eq!(with(&[("x-api-key", other)]), Err(Refused::NoMatch), "{other}");
    }
    assert_eq!(with(&[("authorization", "new-secret")]), Err(Refused::MissingHeader));
    let twice = [("x-api-key", "new-secret"), ("x-api-key", "new-secret")];
    assert_eq!(with(&twice), Err(Refused::DuplicateHeader));
}

#[test]
fn authorization_schemes_are_named_in_any_case_and_compared_exactly() {
    let basic = auth(Scheme::Basic, &["user:pass"]);
    let bearer = auth(Scheme::Bearer, &["tok-1"]);
    let with = |value: &str, auth: &Auth| Delivery::new(&[("authorization", value)], "{}", 0).check(auth);
    assert_eq!(Delivery::signed(&basic, "", 0).get("authorization"), "Basic dXNlcjpwYXNz");
    assert_eq!(Delivery::signed(&bearer, "", 0).get("authorization"), "Bearer tok-1");
    for value in ["Basic dXNlcjpwYXNz", "bAsIc dXNlcjpwYXNz", "Basic  dXNlcjpwYXNz"] {
        assert!(with(value, &basic).is_ok(), "{value}");
    }
    for value in ["Basic dXNlcjpwYXNzMQ==", "Basic ", "Basic x", "Basic dXNlcjpwYXN"] {
        assert!(with(value, &basic).is_err(), "{value}");
    }
    for value in ["Basic", "", "BasicdXNlcjpwYXNz", "Bearer dXNlcjpwYXNz", "dXNlcjpwYXNz"] {
        assert_eq!(with(value, &basic), Err(Refused::NoSignature), "{value}");
    }
    assert!(with("BEARER tok-1", &bearer).is_ok());
    assert_eq!(with("Bearer Tok-1", &bearer), Err(Refused::NoMatch));
}

#[test]
fn secrets_that_are_no_keys_are_refused_by_number() {
    let fault = |auth: &Auth| Verifier::new(auth).unwrap_err();
    assert_eq!(fault(&standard(&[])), AuthFault::NoSecret);
    assert_eq!(fault(&standard(&[STANDARD_SECRET, ""])), AuthFault::Empty(2));
    for short in ["whsec_", "whsec_AA==", "AA==", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLQ=="] {
        assert_eq!(fault(&standard(&[short])), AuthFault::TooShort(1), "{short}");
    }
    assert_eq!(fault(&standard(&[STANDARD_SECRET, "whsec_***"])), AuthFault::NotBase64(2));
    for public in ["whpk_", "whpk_AA==", "whpk_*", "whsk_AA==", "whsk_"] {
        assert_eq!(fault(&standard(&[public])), AuthFault::NotEd25519(1), "{public}");
    }
    let hex = Hmac { secret_encoding: SecretEncoding::Hex, ..body_only("x-sig", "") };
    assert_eq!(fault(&auth(Scheme::Hmac(hex), &["xyz"])), AuthFault::NotHex(1));
    assert_eq!(Signer::new(&standard(&[PUBLIC_KEY])).unwrap_err(), CannotSign::PublicKey);
}

#[test]
fn schemes_that_prove_nothing_are_refused() {
    let fault = |rule: Hmac| Verifier::new(&auth(Scheme::Hmac(rule), &["s"])).unwrap_err();
    assert_eq!(fault(Hmac { signed: vec![Piece::Method], ..body_only("x", "") }), AuthFault::BodyNotSigned);
    let signed = vec![Piece::Id, Piece::Body];
    assert_eq!(fault(Hmac { signed, ..body_only("x", "") }), AuthFault::NoIdHeader);
    let signed = vec![Piece::Timestamp, Piece::Body];
    assert_eq!(fault(Hmac { signed, ..body_only("x", "") }), AuthFault::NoTimestampHeader);
}

#[test]
fn i10_debug_shows_no_key() {
    let shown = format!("{:?}", Verifier::new(&auth(Scheme::Bearer, &["tok-1"])).unwrap());
    assert_eq!(shown, "Verifier { .. }");
    assert_eq!(format!("{:?}", Signer::new(&auth(Scheme::Bearer, &["tok-1"])).unwrap()), "Signer { .. }");
}
