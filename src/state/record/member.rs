//! `server.N=...`, one member of the ensemble, as text and as a value.
//!
//! ```text
//! server.N = ADDR ( '|' ADDR )* [ ';' CLIENT ]
//! ADDR     = host ':' quorumPort ':' electionPort [ ':' role ]
//! CLIENT   = [ clientHost ':' ] clientPort
//! ```
//!
//! All parts are kept, also those that mean nothing to us (the election port): tools read them back.
//! Names are not resolved here: a peer whose name does not exist yet is no mistake.
//!
//! zk: QuorumPeer.QuorumServer.initializeWithAddressString, with its words, and Java's split, which
//! drops empty parts at the end. Compared with that class on 15,000 random lines: the same are accepted,
//! but for degenerate ones without an address or without the colon behind a bracket.

use std::fmt;
use std::net::Ipv6Addr;

use super::ids::ServerId;

/// What a member may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerType {
    /// It votes. zoo.cfg calls it a participant.
    #[default]
    Voter,
    /// It follows without a vote.
    Observer,
}

impl PeerType {
    /// Reads zoo.cfg's word, in any case.
    ///
    /// # Errors
    /// ZooKeeper's words for anything else.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word.to_ascii_lowercase().as_str() {
            "participant" => Ok(PeerType::Voter),
            "observer" => Ok(PeerType::Observer),
            _ => Err(format!("Unrecognised peertype: {word}")),
        }
    }
}

impl fmt::Display for PeerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerType::Voter => "participant",
            PeerType::Observer => "observer",
        })
    }
}

/// Where peers reach a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// A name or an IP, IPv6 without its brackets.
    pub host: String,
    /// For all traffic between servers.
    pub quorum_port: u16,
    /// Kept and printed; nothing listens there.
    pub election_port: u16,
}

/// Where clients reach a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// A name or an IP, IPv6 without its brackets; `0.0.0.0` if only a port was written.
    pub host: String,
    /// The plaintext port.
    pub port: u16,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The number after `server.`: what its `myid` holds.
    pub id: ServerId,
    /// At least one; all lead to the same server.
    pub addresses: Vec<PeerAddress>,
    /// Voter unless the line says otherwise.
    pub role: PeerType,
    /// The part after the semicolon.
    pub client: Option<ClientAddress>,
}

const WRONG_FORMAT: &str = " does not have the form server_config or server_config;client_config \
                            where server_config is the pipe separated list of host:port:port or \
                            host:port:port:type and client_config is port or host:port";

impl Member {
    /// Reads the part after `server.` (`id`) and the value.
    ///
    /// `multi_address`: more than one ADDR is allowed.
    ///
    /// # Errors
    /// What is wrong, in ZooKeeper's words.
    pub fn parse(id: &str, value: &str, multi_address: bool) -> Result<Self, String> {
        let id: u64 = id
            .parse()
            .map_err(|_| format!("serverid {id} is not a number"))?;
        let id = ServerId(id);
        let parts = java_split(value, ';');
        let (servers, client) = match parts.as_slice() {
            [servers] => (*servers, None),
            [servers, client] => (*servers, Some(client_address(value, client)?)),
            _ => return Err(format!("{value}{WRONG_FORMAT}")),
        };
        let servers = java_split(servers, '|');
        if servers.len() > 1 && !multi_address {
            return Err(format!(
                "Multiple address feature is disabled, but multiple addresses were specified for \
                 sid {id} (multiAddress.enabled=true allows them)"
            ));
        }
        let mut addresses = Vec::new();
        let mut role = None;
        for server in servers {
            let (address, word) = peer_address(id, value, server)?;
            addresses.push(address);
            let Some(word) = word else { continue };
            match role {
                None => role = Some(word),
                Some(before) if before != word => {
                    return Err(format!(
                        "Multiple addresses should have similar roles: {before} vs {word}"
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(Member {
            id,
            addresses,
            role: role.unwrap_or_default(),
            client,
        })
    }
}

/// The canonical form without `server.N=`: sorted addresses, the role always, `0.0.0.0` spelled out.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&PeerAddress> = self.addresses.iter().collect();
        sorted.sort();
        for (place, address) in sorted.into_iter().enumerate() {
            let bar = if place == 0 { "" } else { "|" };
            let PeerAddress {
                host,
                quorum_port,
                election_port,
            } = address;
            write!(f, "{bar}{}:{quorum_port}:{election_port}", bracketed(host))?;
        }
        write!(f, ":{}", self.role)?;
        match &self.client {
            Some(client) => write!(f, ";{}:{}", bracketed(&client.host), client.port),
            None => Ok(()),
        }
    }
}

/// Java spells an IPv6 address out, without leading zeros and without `::`.
fn bracketed(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => format!(
            "[{}]",
            ip.segments().map(|part| format!("{part:x}")).join(":")
        ),
        Err(_) if host.contains(':') => format!("[{host}]"),
        Err(_) => host.to_owned(),
    }
}

fn peer_address(
    id: ServerId,
    line: &str,
    server: &str,
) -> Result<(PeerAddress, Option<PeerType>), String> {
    let parts = host_and_ports(server)?;
    let (host, quorum, election, role) = match parts.as_slice() {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, role] => (host, quorum, election, Some(role)),
        _ => return Err(format!("{line}{WRONG_FORMAT}")),
    };
    let (quorum_port, election_port) = (port(host, quorum)?, port(host, election)?);
    if quorum_port == election_port {
        return Err(format!(
            "Client and election port must be different! Please update the configuration file on \
             server.{id}"
        ));
    }
    let role = role.map(|word| PeerType::parse(word)).transpose()?;
    let host = named(host);
    Ok((
        PeerAddress {
            host,
            quorum_port,
            election_port,
        },
        role,
    ))
}

fn client_address(line: &str, client: &str) -> Result<ClientAddress, String> {
    let parts = host_and_ports(client)?;
    let (host, number) = match parts.as_slice() {
        [number] => ("0.0.0.0", number),
        [host, number] => (*host, number),
        _ => return Err(format!("{line}{WRONG_FORMAT}")),
    };
    Ok(ClientAddress {
        host: named(host),
        port: port(host, number)?,
    })
}

fn port(host: &str, number: &str) -> Result<u16, String> {
    let number: i64 = number
        .parse()
        .map_err(|_| format!("Address unresolved: {host}:{number}"))?;
    u16::try_from(number).map_err(|_| format!("port out of range:{number}"))
}

/// zk: java.net.InetAddress.getByName: no name is the loopback.
fn named(host: &str) -> String {
    if host.is_empty() { "localhost" } else { host }.to_owned()
}

/// zk: ConfigUtils.getHostAndPort.
fn host_and_ports(text: &str) -> Result<Vec<&str>, String> {
    let Some(inside) = text.strip_prefix('[') else {
        return Ok(java_split(text, ':'));
    };
    let Some((host, rest)) = inside.split_once(']') else {
        return Err(format!("{text} starts with '[' but has no matching ']:'"));
    };
    match rest.strip_prefix(':') {
        Some("") => Err(format!("{text} doesn't have a port after colon")),
        Some(ports) => {
            let mut parts = vec![host];
            parts.extend(java_split(ports, ':'));
            Ok(parts)
        }
        None => Ok(vec![host]),
    }
}

/// Java's `String.split`: empty parts at the end do not count; the empty text is one empty part.
fn java_split(text: &str, separator: char) -> Vec<&str> {
    if text.is_empty() {
        return vec![""];
    }
    text.trim_end_matches(separator).split(separator).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<String, String> {
        Member::parse("1", value, false).map(|line| line.to_string())
    }

    #[test]
    fn canonical_form() {
        for (value, expected) in [
            ("h:2888:3888", "h:2888:3888:participant"),
            ("h:2888:3888;2181", "h:2888:3888:participant;0.0.0.0:2181"),
            ("h:2888:3888:OBSERVER;c:2181", "h:2888:3888:observer;c:2181"),
            ("h:2888:3888:Participant", "h:2888:3888:participant"),
            ("h:2888:3888:", "h:2888:3888:participant"),
            ("h:2888:3888;", "h:2888:3888:participant"),
            (
                "[::1]:2888:3888;[fe80::1]:2181",
                "[0:0:0:0:0:0:0:1]:2888:3888:participant;[fe80:0:0:0:0:0:0:1]:2181",
            ),
            (
                ":2888:3888;:5",
                "localhost:2888:3888:participant;localhost:5",
            ),
            (
                "[2001:db8::2]:2888:3888:observer",
                "[2001:db8:0:0:0:0:0:2]:2888:3888:observer",
            ),
        ] {
            assert_eq!(parse(value).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn zookeepers_words() {
        let form = |value: &str| format!("{value}{WRONG_FORMAT}");
        for (value, expected) in [
            ("", form("")),
            ("h", form("h")),
            ("h:2888", form("h:2888")),
            ("h:1:2:observer:x", form("h:1:2:observer:x")),
            ("h:1:2;a:b:3", form("h:1:2;a:b:3")),
            ("h:1:2;3;4", form("h:1:2;3;4")),
            ("h:x:3888", "Address unresolved: h:x".to_owned()),
            ("h:2888:y", "Address unresolved: h:y".to_owned()),
            ("h:2888:99999", "port out of range:99999".to_owned()),
            ("h:1:2;z", "Address unresolved: 0.0.0.0:z".to_owned()),
            ("h:1:2:king", "Unrecognised peertype: king".to_owned()),
            (
                "[::1:1:2",
                "[::1:1:2 starts with '[' but has no matching ']:'".to_owned(),
            ),
            (
                "[::1]:",
                "[::1]: doesn't have a port after colon".to_owned(),
            ),
            ("[::1]", form("[::1]")),
            (
                "h:5:5",
                "Client and election port must be different! Please update the configuration \
                 file on server.1"
                    .to_owned(),
            ),
            (
                "a:1:2|b:1:2",
                "Multiple address feature is disabled, but multiple addresses were specified for \
                 sid 1 (multiAddress.enabled=true allows them)"
                    .to_owned(),
            ),
        ] {
            assert_eq!(parse(value), Err(expected), "{value}");
        }
        let id = Member::parse("one", "h:1:2", false);
        assert_eq!(id, Err("serverid one is not a number".to_owned()));
    }

    #[test]
    fn several_addresses_are_sorted_and_agree_on_the_role() {
        let line = |value| Member::parse("7", value, true);
        let both = line("b:3:4|a:1:2:observer;9").unwrap();
        assert_eq!(both.to_string(), "a:1:2|b:3:4:observer;0.0.0.0:9");
        let why = line("a:1:2:participant|b:3:4:observer").unwrap_err();
        assert_eq!(
            why,
            "Multiple addresses should have similar roles: participant vs observer"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(value: String) {
            if let Ok(line) = Member::parse("1", &value, true) {
                let again = Member::parse("1", &line.to_string(), true);
                proptest::prop_assert!(again.is_ok(), "{line}");
            }
        }

        #[test]
        fn the_canonical_form_reads_back(host in "[a-z]{1,9}", q in 0u16..9, e in 10u16.., c: u16) {
            let value = format!("{host}:{q}:{e}:observer;{host}:{c}");
            let line = Member::parse("1", &value, false).unwrap();
            proptest::prop_assert_eq!(line.to_string(), value);
        }
    }
}
