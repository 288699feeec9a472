//! What auth packets prove, who is admitted, and what whoAmI tells.

use std::sync::Arc;

use super::*;
use crate::auth::DigestAlgorithm;

const SUPER: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
const BOB: &str = "bob:SBgazSKz7a68ikR4aKfffOYpkgo=";

fn schemes() -> Schemes {
    Schemes::new(Config {
        super_digest: Some(SUPER.into()),
        ..Config::default()
    })
}

fn peer() -> IpAddr {
    [10, 0, 0, 7].into()
}

fn at_first() -> Identities {
    Schemes::of_connection(peer()).into()
}

fn texts(identities: &[Identity]) -> Vec<String> {
    identities
        .iter()
        .map(|identity| format!("{}:{}", identity.scheme, identity.id))
        .collect()
}

/// The order is that of [`super::order`], which has tests of its own.
fn sorted(identities: &[Identity]) -> Vec<String> {
    let mut texts = texts(identities);
    texts.sort();
    texts
}

#[test]
fn a_connection_starts_with_its_address() {
    let check = |peer: &str, expected| {
        assert_eq!(
            texts(&Schemes::of_connection(peer.parse().unwrap())),
            [expected]
        );
    };
    check("127.0.0.1", "ip:127.0.0.1");
    check("::1", "ip:0:0:0:0:0:0:0:1");
    check("::ffff:10.1.2.3", "ip:10.1.2.3");
}

/// protocol 11.2, and what the genuine providers do with null and empty.
#[test]
fn what_an_auth_packet_proves() {
    let check = |scheme: Option<&str>, auth: Option<&[u8]>, expected: Result<&[&str], _>| {
        let proved = schemes().authenticate(scheme, auth, peer(), &at_first());
        let added = proved.map(|all| {
            let mut texts = sorted(&all);
            let ip = texts.iter().position(|text| text == "ip:10.0.0.7");
            texts.remove(ip.unwrap());
            texts
        });
        let expected = expected.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect());
        assert_eq!(added, expected, "{scheme:?} {auth:?}");
    };
    let bob = format!("digest:{BOB}");
    let super_digest = format!("digest:{SUPER}");
    check(Some("digest"), Some(b"bob"), Ok(&[&bob]));
    check(
        Some("digest"),
        Some(b"super:admin"),
        Ok(&[&super_digest, "super:"]),
    );
    check(
        Some("digest"),
        Some(b"super:adm"),
        Ok(&["digest:super:r6E2C++zNwVMDz3XvPehmL0jqnY="]),
    );
    check(
        Some("digest"),
        Some(b""),
        Ok(&["digest::2jmj7l5rSw0yVb/vlWAYkK/YBwk="]),
    );
    check(Some("digest"), None, Err(AuthRefused::NoCredentials));
    check(Some("ip"), None, Ok(&[]));
    check(Some("ip"), Some(b"1.2.3.4"), Ok(&[]));
    for scheme in [
        "world", "auth", "super", "sasl", "x509", "host", "", "Digest", "digest ",
    ] {
        check(Some(scheme), Some(b"super:admin"), Err(AuthRefused::Scheme));
        check(Some(scheme), None, Err(AuthRefused::Scheme));
    }
    check(None, Some(b"super:admin"), Err(AuthRefused::Scheme));
    check(None, None, Err(AuthRefused::Scheme));
}

#[test]
fn identities_add_up_without_duplicates() {
    let schemes = schemes();
    let add = |scheme, auth, have: &Identities| {
        schemes
            .authenticate(Some(scheme), Some(auth), peer(), have)
            .unwrap()
    };
    let first = at_first();
    let bob = add("digest", b"bob", &first);
    assert!(Arc::ptr_eq(&bob, &add("digest", b"bob", &bob)));
    assert!(Arc::ptr_eq(&bob, &add("ip", b"", &bob)));
    let both = add("digest", b"super:admin", &bob);
    let mut expected = [
        "ip:10.0.0.7".into(),
        format!("digest:{BOB}"),
        "super:".into(),
        format!("digest:{SUPER}"),
    ];
    expected.sort();
    assert_eq!(sorted(&both), expected);
    assert!(Arc::ptr_eq(&both, &add("digest", b"super:admin", &both)));
    assert_eq!(first.len(), 1, "what was handed out does not change");
}

#[test]
fn identities_are_bounded() {
    let schemes = schemes();
    let huge = vec![b'x'; Schemes::IDENTITIES_BYTES_MAX];
    let add = |auth: &[u8], have: &Identities| {
        schemes.authenticate(Some("digest"), Some(auth), peer(), have)
    };
    assert_eq!(add(&huge, &at_first()), Err(AuthRefused::TooMany));
    let mut have = at_first();
    let mut added = 0;
    while let Ok(more) = add(format!("user{added}:password").as_bytes(), &have) {
        have = more;
        added += 1;
    }
    assert!((1000..2000).contains(&added), "{added}");
    let refused = add(b"one:more", &have).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "identities of the connection exceed 65536 bytes"
    );
    assert_eq!(add(b"user3:password", &have).unwrap().len(), have.len());
}

#[test]
fn settings_of_digest() {
    let check = |config: Config, auth: &[u8], expected: Result<&[&str], _>| {
        let proved =
            Schemes::new(config).authenticate(Some("digest"), Some(auth), peer(), &at_first());
        let expected = expected.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect());
        assert_eq!(proved.map(|all| sorted(&all)), expected);
    };
    let off = Config {
        digest_enabled: false,
        ..Config::default()
    };
    check(off, b"u:p", Err(AuthRefused::Scheme));
    let no_super = Config::default();
    check(
        no_super,
        b"super:admin",
        Ok(&[&format!("digest:{SUPER}"), "ip:10.0.0.7"]),
    );
    let sha256 = "super:wtZw1Um4mq1rRKbXqxHs8ueodBP35/JhtBP/nwJ62WY=";
    let config = Config {
        digest_algorithm: DigestAlgorithm::Sha256,
        super_digest: Some(sha256.into()),
        ..Config::default()
    };
    check(
        config,
        b"super:admin",
        Ok(&[&format!("digest:{sha256}"), "ip:10.0.0.7", "super:"]),
    );
}

/// protocol 11.6.
#[test]
fn enforced_schemes_admit() {
    let check = |enforce, enforced: &[&str], have: &[&str], expected| {
        let enforced_schemes = enforced.iter().map(|scheme| (*scheme).to_owned()).collect();
        let schemes = Schemes::new(Config {
            enforce,
            enforced_schemes,
            ..Config::default()
        });
        let have: Vec<_> = have.iter().map(|scheme| identity(scheme, "x")).collect();
        assert_eq!(schemes.admitted(&have), expected, "{enforced:?} {have:?}");
    };
    check(false, &[], &["ip"], true);
    check(false, &["digest"], &["ip"], true);
    check(true, &["digest"], &["ip"], false);
    check(true, &["digest"], &["ip", "digest"], true);
    check(true, &["digest", "sasl"], &["ip", "x509"], false);
    check(true, &["digest", "sasl"], &["ip", "sasl"], true);
    check(true, &["ip"], &["ip"], true);
    check(true, &["digest"], &["ip", "super"], false);
    check(true, &[], &["ip", "digest"], false);
}

/// protocol 11.8.
#[test]
fn who_am_i_names_users_only() {
    let have = [
        identity("ip", "10.0.0.7"),
        identity("super", ""),
        identity("super", "CN=root"),
        identity("digest", BOB),
        identity("digest", ":2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
        identity("x509", "CN=a,O=b"),
        identity("sasl", "svc/host@REALM"),
        identity("odd", "secret"),
    ];
    let users = schemes().who_am_i(&have);
    let told: Vec<_> = users
        .iter()
        .map(|(scheme, user)| format!("{scheme} {user}"))
        .collect();
    let expected = [
        "ip 10.0.0.7",
        "super ",
        "super ",
        "digest bob",
        "digest ",
        "x509 CN=a,O=b",
        "sasl svc/host@REALM",
        "odd ",
    ];
    assert_eq!(told, expected);
    let off = Schemes::new(Config {
        digest_enabled: false,
        ..Config::default()
    });
    let expected = [("digest".to_owned(), String::new())];
    assert_eq!(off.who_am_i(&[identity("digest", BOB)]), expected);
}
