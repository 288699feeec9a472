//! What an ACL list may hold, and whom it permits what.

use std::collections::HashSet;

use jute::{Acl, ErrorCode, Id, Text, perms};

use super::ip;
use crate::state::{Identity, Rules};

/// Whether one of `identities` has any of the `perms` bits.
///
/// `skip`: the setting that lets everything pass.
///
/// zk: ZooKeeperServer.checkACL: an empty list and the super identity pass too.
pub fn permits(list: &[Acl], identities: &[Identity], perms: i32, skip: bool) -> bool {
    if skip || list.is_empty() {
        return true;
    }
    let entries = || list.iter().filter(|entry| entry.perms & perms != 0);
    if entries().any(|entry| is_anyone(&entry.id)) {
        return true;
    }
    identities.iter().any(|identity| {
        &*identity.scheme == "super" || entries().any(|entry| matches(&entry.id, identity))
    })
}

fn is_anyone(id: &Id) -> bool {
    text(&id.scheme) == Some("world") && text(&id.id) == Some("anyone")
}

/// zk: matches() of the providers. A scheme without a provider gives no connection an identity.
fn matches(id: &Id, identity: &Identity) -> bool {
    let (Some(scheme), Some(expected)) = (text(&id.scheme), text(&id.id)) else {
        return false;
    };
    if scheme != &*identity.scheme {
        return false;
    }
    match scheme {
        "ip" => ip::matches(&identity.id, expected),
        "digest" | "x509" | "sasl" => &*identity.id == expected,
        _ => false,
    }
}

/// A list as it will be stored.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::state) enum Fixed {
    /// `world:anyone`, all permissions: not counted.
    Open,
    /// Anything else. Its texts may still share the request's memory.
    List(Vec<Acl>),
}

/// Judges a list that a client wants to store, and replaces `auth` by the caller's identities.
///
/// zk: PrepRequestProcessor.fixupACL, also where it runs into a null: then -5 instead of -114.
pub(in crate::state) fn fix(
    list: Option<&[Acl]>,
    identities: &[Identity],
    rules: &Rules,
) -> Result<Fixed, ErrorCode> {
    let list = list.unwrap_or_default();
    if let [entry] = list
        && entry.perms == perms::ALL
        && is_anyone(&entry.id)
    {
        return Ok(Fixed::Open);
    }
    let unique = without_duplicates(list)?;
    if unique.is_empty() {
        return Err(ErrorCode::INVALID_ACL);
    }
    let mut fixed = Vec::with_capacity(unique.len());
    for entry in unique {
        let scheme = text(&entry.id.scheme).ok_or(ErrorCode::INVALID_ACL)?;
        let id = text(&entry.id.id);
        match scheme {
            "world" if id == Some("anyone") => fixed.push(entry.clone()),
            "world" if id.is_none() => return Err(ErrorCode::MARSHALLING_ERROR),
            "auth" => {
                let before = fixed.len();
                fixed.extend(
                    identities
                        .iter()
                        .filter(|identity| proves_who(&identity.scheme, rules))
                        .map(|identity| acl_of(entry.perms, identity)),
                );
                if fixed.len() == before {
                    return Err(ErrorCode::INVALID_ACL);
                }
            }
            _ => {
                let is_valid = validator(scheme, rules).ok_or(ErrorCode::INVALID_ACL)?;
                if !is_valid(id.ok_or(ErrorCode::MARSHALLING_ERROR)?) {
                    return Err(ErrorCode::INVALID_ACL);
                }
                fixed.push(entry.clone());
            }
        }
    }
    match fixed.as_slice() {
        [entry] if entry.perms == perms::ALL && is_anyone(&entry.id) => Ok(Fixed::Open),
        _ => Ok(Fixed::List(fixed)),
    }
}

/// Keeps the first of equal entries.
///
/// zk: PrepRequestProcessor.removeDuplicates, over the generated `equals`, which compares perms,
/// scheme, id in this order and fails for a null of its own that it comes to.
fn without_duplicates(list: &[Acl]) -> Result<Vec<&Acl>, ErrorCode> {
    if let [only] = list {
        // As most are.
        return Ok(vec![only]);
    }
    // What has been kept: each entry's permissions, these with its scheme, and all three.
    let mut known = HashSet::with_capacity(3 * list.len());
    let mut unique: Vec<&Acl> = Vec::with_capacity(list.len());
    for entry in list {
        let (perms, scheme, id) = (entry.perms, text(&entry.id.scheme), text(&entry.id.id));
        let is_known = match (scheme, id) {
            (None, _) if known.contains(&(perms, None, None)) => {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
            (Some(_), None) if known.contains(&(perms, scheme, None)) => {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
            (Some(_), Some(_)) => known.contains(&(perms, scheme, id)),
            (None, _) | (Some(_), None) => false,
        };
        if is_known {
            continue;
        }
        known.insert((perms, None, None));
        known.insert((perms, scheme, None));
        if scheme.is_some() {
            known.insert((perms, scheme, id));
        }
        unique.push(entry);
    }
    Ok(unique)
}

/// Whether an identity of this scheme says who the caller is, not only where.
///
/// zk: AuthenticationProvider.isAuthenticated.
fn proves_who(scheme: &str, rules: &Rules) -> bool {
    match scheme {
        "digest" => rules.digest_enabled,
        "sasl" | "x509" => true,
        _ => false,
    }
}

/// The check of ids of a scheme that has a provider here.
///
/// zk: ProviderRegistry: sasl and x509 are registered only where they are configured.
fn validator(scheme: &str, rules: &Rules) -> Option<fn(&str) -> bool> {
    match scheme {
        "ip" => Some(ip::is_valid),
        "digest" if rules.digest_enabled => Some(is_digest),
        _ => None,
    }
}

/// zk: DigestAuthenticationProvider.isValid: Java's split at ':' gives two parts; it drops empty
/// parts at the end.
fn is_digest(id: &str) -> bool {
    id.trim_end_matches(':').matches(':').count() == 1
}

fn acl_of(perms: i32, identity: &Identity) -> Acl {
    let scheme = Some(Text::from(&*identity.scheme));
    let id = Some(Text::from(&*identity.id));
    Acl {
        perms,
        id: Id { scheme, id },
    }
}

/// What of a digest id callers without ADMIN may see: `user:x`.
///
/// zk: FinalRequestProcessor, getACL: `replaceAll(":.*", ":x")`, whose dot stops at a line end.
pub(in crate::state) fn masked(id: &str) -> String {
    let mut shown = String::with_capacity(id.len());
    let mut rest = id;
    while let Some((user, secret)) = rest.split_once(':') {
        shown.push_str(user);
        shown.push_str(":x");
        let line_end = secret.find(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
        rest = line_end.and_then(|at| secret.get(at..)).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

fn text(text: &Option<Text>) -> Option<&str> {
    text.as_ref().map(Text::as_str)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl {
            perms,
            id: Id {
                scheme: Some(Text::from(scheme)),
                id: Some(Text::from(id)),
            },
        }
    }

    fn identity(scheme: &str, id: &str) -> Identity {
        Identity {
            scheme: Arc::from(scheme),
            id: Arc::from(id),
        }
    }

    fn fixed(list: &[Acl]) -> Result<Fixed, ErrorCode> {
        let caller = [
            identity("ip", "127.0.0.1"),
            identity("digest", "u:h"),
            identity("super", ""),
        ];
        fix(Some(list), &caller, &Rules::default())
    }

    #[test]
    fn open_is_recognised() {
        assert_eq!(fixed(&[acl(31, "world", "anyone")]), Ok(Fixed::Open));
        let twice = [acl(31, "world", "anyone"), acl(31, "world", "anyone")];
        assert_eq!(fixed(&twice), Ok(Fixed::Open));
        let read = acl(1, "world", "anyone");
        assert_eq!(
            fixed(std::slice::from_ref(&read)),
            Ok(Fixed::List(vec![read]))
        );
    }

    #[test]
    fn auth_becomes_the_digest_identities() {
        let list = [acl(7, "auth", "whatever")];
        assert_eq!(fixed(&list), Ok(Fixed::List(vec![acl(7, "digest", "u:h")])));
        let nobody = [identity("ip", "127.0.0.1")];
        let refused = fix(Some(&list), &nobody, &Rules::default());
        assert_eq!(refused, Err(ErrorCode::INVALID_ACL));
        let off = Rules {
            digest_enabled: false,
            ..Rules::default()
        };
        let refused = fix(Some(&list), &[identity("digest", "u:h")], &off);
        assert_eq!(refused, Err(ErrorCode::INVALID_ACL));
    }

    #[test]
    fn refusals() {
        let refused = [
            acl(31, "world", "everyone"),
            acl(31, "digest", "nocolon"),
            acl(31, "digest", "a:b:c"),
            acl(31, "digest", "a:"),
            acl(31, "ip", "host"),
            acl(31, "sasl", "bob"),
            acl(31, "x509", "CN=bob"),
            acl(31, "super", ""),
            acl(31, "host", "h"),
            Acl {
                perms: 1,
                id: Id {
                    scheme: None,
                    id: Some(Text::from("x")),
                },
            },
        ];
        for entry in refused {
            assert_eq!(
                fixed(std::slice::from_ref(&entry)),
                Err(ErrorCode::INVALID_ACL),
                "{entry:?}"
            );
        }
        assert_eq!(fixed(&[]), Err(ErrorCode::INVALID_ACL));
        assert_eq!(
            fix(None, &[], &Rules::default()),
            Err(ErrorCode::INVALID_ACL)
        );
        for id in ["a:b", ":b", "a:b:", "a:b:::"] {
            assert!(is_digest(id), "{id}");
        }
        for id in ["", ":", "::", "a", "a:", "a::b", "::b"] {
            assert!(!is_digest(id), "{id}");
        }
    }

    #[test]
    fn nulls_that_make_zookeeper_fail() {
        let null = |perms, scheme: Option<&str>| Acl {
            perms,
            id: Id {
                scheme: scheme.map(Text::from),
                id: None,
            },
        };
        assert_eq!(
            fixed(&[null(1, Some("world"))]),
            Err(ErrorCode::MARSHALLING_ERROR)
        );
        assert_eq!(
            fixed(&[null(1, Some("digest"))]),
            Err(ErrorCode::MARSHALLING_ERROR)
        );
        assert_eq!(fixed(&[null(1, Some("none"))]), Err(ErrorCode::INVALID_ACL));
        let behind_equal_perms = [acl(1, "world", "anyone"), null(1, None)];
        assert_eq!(
            fixed(&behind_equal_perms),
            Err(ErrorCode::MARSHALLING_ERROR)
        );
        let behind_other_perms = [acl(2, "world", "anyone"), null(1, None)];
        assert_eq!(fixed(&behind_other_perms), Err(ErrorCode::INVALID_ACL));
        assert_eq!(
            fixed(&[null(9, Some("auth"))]),
            Ok(Fixed::List(vec![acl(9, "digest", "u:h")]))
        );
    }

    /// As it is in ZooKeeper: one entry after the other, each compared with all before it.
    fn naively(list: &[Acl]) -> Result<Vec<&Acl>, ErrorCode> {
        let mut unique: Vec<&Acl> = Vec::new();
        'entries: for entry in list {
            for earlier in unique.iter().filter(|it| it.perms == entry.perms) {
                let Id { scheme, id } = &entry.id;
                if scheme.is_none() || (*scheme == earlier.id.scheme && id.is_none()) {
                    return Err(ErrorCode::MARSHALLING_ERROR);
                }
                if *earlier == entry {
                    continue 'entries;
                }
            }
            unique.push(entry);
        }
        Ok(unique)
    }

    proptest::proptest! {
        #[test]
        fn duplicates_go_as_if_compared_one_by_one(
            list in proptest::collection::vec((0..3, 0..4_usize, 0..4_usize), 0..8)
        ) {
            let word = |at: usize| [None, Some(""), Some("a"), Some("b")][at].map(Text::from);
            let acl = |(perms, scheme, id)| {
                let id = Id { scheme: word(scheme), id: word(id) };
                Acl { perms, id }
            };
            let list: Vec<Acl> = list.into_iter().map(acl).collect();
            proptest::prop_assert_eq!(without_duplicates(&list), naively(&list));
        }
    }

    /// As many as a request may hold, and more; one by one they would take a minute.
    #[test]
    fn a_long_list_takes_no_longer_than_its_entries() {
        let list: Vec<Acl> = (0..200_000)
            .map(|user| acl(1, "digest", &format!("u{user}:h")))
            .collect();
        let begun = tokio::time::Instant::now();
        let Ok(Fixed::List(kept)) = fixed(&list) else {
            panic!("the list is good")
        };
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
        assert_eq!(kept, list);
    }

    #[test]
    fn permissions() {
        let list = [
            acl(1, "world", "anyone"),
            acl(2, "digest", "u:h"),
            acl(4, "ip", "10.0.0.0/8"),
        ];
        let bob = [identity("ip", "10.9.9.9"), identity("digest", "u:h")];
        let eve = [identity("ip", "11.9.9.9"), identity("digest", "e:h")];
        assert!(permits(&list, &eve, perms::READ, false));
        assert!(!permits(&list, &eve, perms::WRITE | perms::CREATE, false));
        assert!(permits(&list, &bob, perms::WRITE, false));
        assert!(permits(&list, &bob, perms::CREATE | perms::ADMIN, false));
        assert!(!permits(&list, &bob, perms::ADMIN, false));
        assert!(permits(&list, &eve, perms::ADMIN, true));
        assert!(permits(
            &list,
            &[identity("super", "")],
            perms::ADMIN,
            false
        ));
        assert!(permits(&[], &eve, perms::ADMIN, false));
    }

    #[test]
    fn masking() {
        assert_eq!(masked("u:hash"), "u:x");
        assert_eq!(masked("u:a:b"), "u:x");
        assert_eq!(masked("plain"), "plain");
        assert_eq!(masked("u:a\nb:c"), "u:x\nb:x");
    }
}
