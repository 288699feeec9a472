//! Compatibility suites: the same dialogues with our server and with the genuine Apache ZooKeeper.
//!
//! Every suite runs on either server and must pass on both, so that the tests themselves are known
//! to be right. The real server writes the goldens. What is compared is what a client can see, with
//! numbers that differ from run to run (zxids, times, session ids) printed as symbols.
//!
//! - [`settings`]: what the environment says: which server, where the jars are;
//! - [`server`]: one server as a process on a free loopback port, with a temporary directory;
//! - [`wire`], [`client`]: a raw client. It does *not* use the `jute` crate: an encoder that shares a
//!   mistake with the server under test would hide it (only [`golden`] does, as the state alone has
//!   no bytes: [`differential`] compares those);
//! - [`zkcli`]: scripts for the official command line client, with golden transcripts;
//! - [`words`]: the four-letter words, with goldens;
//! - [`golden`]: scripts of what clients do and see, which the state alone plays, too;
//! - [`differential`]: random request sequences to two servers in lockstep;
//! - [`chaos`]: crashes under a recorded load, judged by a checker of its own;
//! - [`hostile`]: hostile bytes and load, while others are served;
//! - [`limits`]: what becomes of clients beyond the limits that an operator sets;
//! - [`stalls`]: a disk that hangs, and clients that are slow;
//! - [`memory`]: reads of trees that are larger than memory;
//! - [`soak`]: minutes at the highest rate: nothing dies, nothing grows;
//! - [`damage`]: damaged files, full and failing disks;
//! - [`disk`]: a disk on which one kind of the server's files hangs or fails;
//! - [`lend`]: servers for test programs in other languages (`clients/`);
//! - [`ensemble`]: several servers as an ensemble, faults between them, and who judges what came;
//! - [`zoocfg`]: every key of zoo.cfg with values that are empty, wrong, odd and huge;
//! - [`fault`]: the tracer, file systems and disks that these break;
//! - [`suite`]: progress lines and the closing count.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_types,
    reason = "a test harness without a runtime: a broken expectation must stop the run"
)]

pub mod chaos;
pub mod client;
pub mod damage;
pub mod differential;
pub mod disk;
pub mod ensemble;
pub mod fault;
pub mod golden;
pub mod hostile;
pub mod lend;
pub mod limits;
pub mod memory;
pub mod server;
pub mod settings;
pub mod soak;
pub mod stalls;
pub mod suite;
pub mod wire;
pub mod words;
pub mod zkcli;
pub mod zoocfg;
