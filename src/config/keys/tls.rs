//! TLS, which is not built yet.
//!
//! What must not happen is that traffic meant for TLS goes in plaintext, or that a client who would
//! have needed a certificate gets in without one. No TLS listener exists, so no key here can loosen
//! one: certificates, cipher suites and client authentication are accepted, with a word that they do
//! nothing. A server whose only port is the secure one is refused (`Builder::settle`).

use super::super::key::{Key, strict_flag, unset_flag, unset_text};

const TLS: &str = "no TLS listener exists";
const PEERS: &str = "TLS between servers is not built yet";

#[rustfmt::skip] // A table: one row, one line.
pub(super) static KEYS: &[Key] = &[
    unset_flag(
        "client.portUnification",
        "false",
        "plaintext and TLS on clientPort",
    )
    .later("clientPort takes plaintext only"),
    unset_flag(
        "client.certReload",
        "false",
        "read certificates again when they change",
    )
    .later(TLS),
    strict_flag(
        "sslQuorum",
        "false",
        |d, on| d.membership.ssl_quorum = on,
        "TLS between servers. It is not built yet: an ensemble is refused, a standalone server needs none",
    ),
    strict_flag(
        "portUnification",
        "false",
        |_, _| (),
        "plaintext and TLS between servers",
    )
    .later(PEERS),
    strict_flag(
        "sslQuorumReloadCertFiles",
        "false",
        |_, _| (),
        "read certificates again when they change",
    )
    .later(PEERS),
    unset_text("ssl.authProvider", "x509", "class that judges certificates")
        .refused("JVM plug-ins cannot be loaded; only x509 exists"),
    unset_text(
        "ssl.context.supplier.class",
        "",
        "class that makes the TLS context",
    )
    .refused("JVM plug-ins cannot be loaded"),
    unset_text(
        "ssl.quorum.context.supplier.class",
        "",
        "class that makes the TLS context",
    )
    .refused("JVM plug-ins cannot be loaded"),
    unset_text(
        "ssl.clientAuth",
        "need",
        "whether clients need a certificate on the TLS port",
    )
    .later(TLS),
    unset_flag("ssl.crl", "false", "revocation lists").later(TLS),
    unset_flag("ssl.ocsp", "false", "revocation by OCSP").later(TLS),
    unset_text("ssl.sslProvider", "JDK", "TLS library").ignored(),
    unset_text(
        "ssl.keyStore.*",
        "",
        "key and certificate of this server: location, password, passwordPath, type",
    )
    .later(TLS),
    unset_text(
        "ssl.trustStore.*",
        "",
        "certificates that are trusted: location, password, passwordPath, type",
    )
    .later(TLS),
    unset_text("ssl.quorum.*", "", "the same between servers").later(PEERS),
    unset_text(
        "ssl.*",
        "",
        "protocol, enabledProtocols, ciphersuites, hostnameVerification and the like",
    )
    .later(TLS),
];
