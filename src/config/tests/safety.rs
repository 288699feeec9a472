//! Settings by which a server would be less safe than its operator thinks.

use super::*;

#[test]
fn secure_port() {
    let (_, warnings) = good("secureClientPort=2281\nssl.keyStore.password=hunter2\n");
    assert!(
        warnings[0].contains("NOTHING LISTENS on the secure port 2281"),
        "{warnings:?}"
    );
    assert!(warnings.iter().all(|warning| !warning.contains("hunter2")));
    let errors = World::new("dataDir={dir}\nsecureClientPort=2281\n").fail();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("zoo.cfg:2: secureClientPort: TLS is not built yet"));
}

#[test]
fn what_would_change_who_may_do_what_is_refused() {
    for lines in [
        "sessionRequireClientSASLAuth=true",
        "quorum.auth.enableSasl=true",
        "ssl.authProvider=mine",
        "audit.enable=true\naudit.impl.class=x.Y",
        "testingonly.initialZxid=5",
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest\nDigestAuthenticationProvider.enabled=false",
        "enforce.auth.enabled=true",
        "DigestAuthenticationProvider.digestAlg=SHA_256",
    ] {
        assert_eq!(bad(lines).len(), 1, "{lines}");
    }
}

#[test]
fn dangerous_settings_are_warned_of() {
    for lines in [
        "skipACL=yes",
        "forceSync=no",
        "snapshot.trust.empty=true",
        "skipACL=true",
    ] {
        assert_eq!(good(lines).1.len(), 1, "{lines}");
    }
    let class = "org.apache.zookeeper.server.auth";
    assert_eq!(
        good(&format!(
            "authProvider.1={class}.DigestAuthenticationProvider"
        ))
        .1,
        [""; 0]
    );
    let sasl = good(&format!(
        "authProvider.sasl={class}.SASLAuthenticationProvider"
    ))
    .1;
    assert!(sasl[0].contains("SASL is not built yet"));
    assert!(good("authProvider.1=com.example.Mine").1[0].contains("IS MISSING"));
}

#[test]
fn the_super_digest_is_not_shown() {
    let (settings, _) = good("DigestAuthenticationProvider.superDigest=super:hunter2=\n");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let (settings, warnings) = good("DigestAuthenticationProvider.superDigest=hunter2\n");
    assert_eq!((settings.auth.super_digest, warnings.len()), (None, 1));
    assert!(!warnings[0].contains("hunter2"), "{warnings:?}");
}
