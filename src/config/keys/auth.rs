//! Who clients are and what that lets them do.
//!
//! A setting that only adds a way in (a super user by X.509, a scheme) is accepted when the way does
//! not exist yet: without it fewer clients get in. One that demands a scheme we lack is refused.

use super::super::builder::Builder;
use super::super::key::{Key, flag, text, unset_flag, unset_text};

const SASL: &str = "no client can authenticate by SASL";
const X509: &str = "no client can authenticate by certificate";

#[rustfmt::skip] // A table: one row, one line.
pub(super) static KEYS: &[Key] = &[
    text(
        "DigestAuthenticationProvider.superDigest",
        "",
        Builder::set_super_digest,
        "`super:<base64(sha1(\"super:password\"))>`: whoever proves to be it passes every ACL",
    )
    .lenient(),
    flag(
        "DigestAuthenticationProvider.enabled",
        "true",
        |d, on| d.settings.auth.digest_enabled = on,
        "the scheme digest exists",
    ),
    text(
        "DigestAuthenticationProvider.digestAlg",
        "SHA1",
        Builder::set_digest_algorithm,
        "hash of digest ids: SHA1, or what else Java 17 has: MD2, MD5, SHA-224 to SHA-512, SHA-512/224, SHA-512/256, SHA3-224 to SHA3-512",
    ),
    unset_flag("IPAuthenticationProvider.usexforwardedfor", "false", "IP of AdminServer clients").later("it belongs to the AdminServer"),
    unset_text("X509AuthenticationProvider.superUser", "", "certificate subject that is super").later(X509),
    unset_text("superUser*", "", "`superUser`, `superUser.N`: SASL name that is super").later(SASL),
    text(
        "authProvider.*",
        "",
        |_, class| match class.strip_prefix("org.apache.zookeeper.server.auth.") {
            Some("DigestAuthenticationProvider" | "IPAuthenticationProvider") => Ok(()),
            Some("SASLAuthenticationProvider") => Err("SASL is not built yet: ACLs of the scheme sasl match no one".to_owned()),
            Some("X509AuthenticationProvider") => Err("TLS is not built yet: ACLs of the scheme x509 match no one".to_owned()),
            Some("EnsembleAuthenticationProvider" | "KeyAuthenticationProvider") => Err("this scheme is not built yet: its credentials answer AuthFailed".to_owned()),
            _ => Err(format!("THE SCHEME OF {class} IS MISSING: JVM plug-ins cannot be loaded; ACLs that name it match no one")),
        },
        "class that adds a scheme; world, ip, digest and auth are always there",
    )
    .lenient(),
    flag(
        "enforce.auth.enabled",
        "false",
        |d, on| d.settings.auth.enforce = on,
        "sessions must authenticate, else -124",
    ),
    text(
        "enforce.auth.schemes",
        "",
        Builder::set_enforced_schemes,
        "the schemes that count, between commas; one that does not exist is refused",
    ),
    unset_flag("sessionRequireClientSASLAuth", "false", "sessions must authenticate by SASL").refused("SASL is not built yet, and to go on without it would let every client in"),
    unset_flag("allowSaslFailedClients", "false", "sessions go on after SASL failed").later(SASL),
    unset_text("letAnySaslUserDoX", "", "any SASL user is super").later(SASL),
    unset_text("SASLAuthenticationProvider.superPassword", "", "password of SASL's super").later(SASL),
    unset_text("java.security.auth.login.config", "", "JAAS file").jvm().later(SASL),
    unset_text("sasl.serverconfig", "Server", "section of the JAAS file").later(SASL),
    unset_flag("kerberos.removeHostFromPrincipal", "false", "Kerberos names").later(SASL),
    unset_flag("kerberos.removeRealmFromPrincipal", "false", "Kerberos names").later(SASL),
    unset_flag("kerberos.canonicalizeHostNames", "false", "Kerberos names").later(SASL),
    unset_text("security.auth_to_local", "", "Kerberos names").later(SASL),
    unset_flag("requireKerberosConfig", "false", "start only with Kerberos").later(SASL),
    unset_text("ensembleAuthName", "", "names that clients may expect of this ensemble").later("the scheme ensemble does not exist"),
    unset_flag("fips-mode", "true", "FIPS rules for TLS").later("it belongs to TLS"),
    unset_flag("enableEagerACLCheck", "false", "check ACLs before a write is forwarded").ignored(),
    unset_text("client.secure", "", "of clients, found in shared files").ignored(),
    unset_text("clientCnxnSocket", "", "of clients, found in shared files").ignored(),
    unset_text("disableAutoWatchReset", "", "of clients, found in shared files").ignored(),
    unset_text("request.timeout", "", "of clients, found in shared files").ignored(),
    unset_text("sasl.client*", "", "of clients, found in shared files").ignored(),
    unset_text("server.principal", "", "of clients, found in shared files").ignored(),
    unset_text("server.realm", "", "of clients, found in shared files").ignored(),
];
