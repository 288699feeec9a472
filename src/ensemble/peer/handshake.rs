//! How a connection begins: who is there is proven before anything else is read.
//!
//! ```text
//!   dialer                                     acceptor
//!     opening  ────────────────────────────────▶
//!     ◀──────────────────────────────── opening      magic, 1, how it proves itself, nonce
//!     proof, hello ────────────────────────────▶      length u16 in front
//!     ◀────────── PROVEN, proof, verdict, hello      length u16 in front; or WRONG_SECRET
//!
//!   opening   "OXKP", format u8 (1), proofs u8 (0 none, 1 shared secret), nonce [32]
//!   proof     [32]: secret.rs; nothing where the opening said none
//!   verdict   0 | mismatch
//! ```
//!
//! The opening has a fixed length. What comes behind it is bounded, and is read into types only when
//! its proof has been found right. The dialer proves itself first: a stranger gets nothing out of a
//! member but its opening.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::raft::records::FormatError;
use super::hello::{Hello, Misfit, Mismatch};
use super::secret::{NONCE_BYTES, Nonce, PROOF_BYTES, Proof, Secret, Side, Transcript};
use crate::io::Stream;

const MAGIC: [u8; 4] = *b"OXKP";
/// Of this dialogue; what is in the hello has versions of its own.
const FORMAT: u8 = 1;
const NO_PROOFS: u8 = 0;
const SECRET_PROOFS: u8 = 1;
const OPENING_BYTES: usize = 6 + NONCE_BYTES;
/// A hello has some sixty bytes; newer ones may have more.
const HELLO_BYTES_MAX: u16 = 1024;
const PROVEN: u8 = 0;
const WRONG_SECRET: u8 = 1;

/// Two servers did not come together.
#[derive(Debug, thiserror::Error)]
pub(in crate::ensemble) enum HandshakeError {
    /// The connection ended.
    #[error("the connection ended during the handshake")]
    Broken(#[from] io::Error),
    /// What answers is no Oxkeeper.
    #[error("what is there does not speak the protocol between Oxkeeper servers")]
    NotAPeer,
    /// The dialogue of a newer version.
    #[error("the other side speaks handshake {0}, this server {FORMAT}")]
    Format(u8),
    /// One side has a secret, the other none.
    #[error("{}", if *.here {
        "a secret is configured here and not at the other side"
    } else {
        "a secret is configured at the other side and not here"
    })]
    OneSecret {
        /// It is this side that has one.
        here: bool,
    },
    /// The proof is wrong.
    #[error("the secrets differ")]
    WrongSecret,
    /// Bytes that are no hello.
    #[error("a malformed hello")]
    Malformed(#[from] FormatError),
    /// The two do not belong together.
    #[error("{0}")]
    Misfit(Box<Misfit>),
    /// No randomness.
    #[error("the system has no random numbers")]
    Random,
}

/// A connection that has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Met {
    /// The other side.
    pub(super) there: Hello,
    /// The protocol version that both use.
    pub(super) version: u16,
}

/// The dialogue from the side that opened the connection. Sets no deadline.
pub(super) async fn dial(
    stream: &mut dyn Stream,
    secret: Option<&Secret>,
    here: Hello,
) -> Result<Met, HandshakeError> {
    let mine = nonce()?;
    stream.write_all(&opening(secret, &mine)).await?;
    stream.flush().await?;
    let theirs = read_opening(stream).await?;
    let theirs = theirs.same_proofs(secret)?;
    let mut hello = BytesMut::new();
    here.put(&mut hello);
    let seen = Transcript {
        dialer: &mine,
        acceptor: &theirs,
        hello: &hello,
        answer: &[],
    };
    let proof = secret.map(|secret| secret.prove(Side::Dialer, seen));
    send(stream, &[proof_bytes(proof.as_ref()), &hello]).await?;

    let mut answer = receive(stream).await?;
    match answer.try_get_u8().map_err(FormatError::from)? {
        PROVEN => {}
        WRONG_SECRET => return Err(HandshakeError::WrongSecret),
        found => return Err(FormatError::Unknown { found }.into()),
    }
    if let Some(secret) = secret {
        let proof = take_proof(&mut answer)?;
        if !secret.is_proven(Side::Acceptor, seen.answered(&answer), &proof) {
            return Err(HandshakeError::WrongSecret);
        }
    }
    let verdict = take_verdict(&mut answer)?;
    let there = Hello::take(&mut answer)?;
    match verdict.and_then(|()| here.judge(&there)) {
        Ok(version) => Ok(Met { there, version }),
        Err(why) => Err(misfit(why, here, there)),
    }
}

/// The dialogue from the side that accepted the connection. `judge` is shown the other side's hello,
/// once it has been proven, and says what is answered to it, and what comes of it or why nothing.
/// Sets no deadline.
pub(super) async fn accept<T>(
    stream: &mut dyn Stream,
    secret: Option<&Secret>,
    judge: impl FnOnce(&Hello) -> (Hello, Result<T, Mismatch>),
) -> Result<(Hello, T), HandshakeError> {
    let theirs = read_opening(stream).await?;
    let mine = nonce()?;
    stream.write_all(&opening(secret, &mine)).await?;
    stream.flush().await?;
    let theirs = theirs.same_proofs(secret)?;
    let mut hello = receive(stream).await?;
    let proof = secret.map(|_| take_proof(&mut hello)).transpose()?;
    let seen = Transcript {
        dialer: &theirs,
        acceptor: &mine,
        hello: &hello,
        answer: &[],
    };
    if let (Some(secret), Some(proof)) = (secret, &proof)
        && !secret.is_proven(Side::Dialer, seen, proof)
    {
        send(stream, &[&[WRONG_SECRET]]).await?;
        return Err(HandshakeError::WrongSecret);
    }
    let there = Hello::take(&mut hello.clone())?;
    let (here, verdict) = judge(&there);
    let mut answer = BytesMut::new();
    put_verdict(&mut answer, verdict.as_ref().err().copied());
    here.put(&mut answer);
    let proof = secret.map(|secret| secret.prove(Side::Acceptor, seen.answered(&answer)));
    send(stream, &[&[PROVEN], proof_bytes(proof.as_ref()), &answer]).await?;
    match verdict {
        Ok(found) => Ok((there, found)),
        Err(why) => Err(misfit(why, here, there)),
    }
}

pub(super) fn misfit(why: Mismatch, here: Hello, there: Hello) -> HandshakeError {
    HandshakeError::Misfit(Box::new(Misfit { why, here, there }))
}

struct Opening {
    proofs: u8,
    nonce: Nonce,
}

impl Opening {
    /// The nonce, if both sides prove themselves in the same way.
    fn same_proofs(self, secret: Option<&Secret>) -> Result<Nonce, HandshakeError> {
        let here = secret.is_some();
        match self.proofs {
            NO_PROOFS | SECRET_PROOFS if here == (self.proofs == SECRET_PROOFS) => Ok(self.nonce),
            NO_PROOFS | SECRET_PROOFS => Err(HandshakeError::OneSecret { here }),
            found => Err(FormatError::Unknown { found }.into()),
        }
    }
}

fn nonce() -> Result<Nonce, HandshakeError> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|_| HandshakeError::Random)?;
    Ok(nonce)
}

fn opening(secret: Option<&Secret>, nonce: &Nonce) -> Bytes {
    let mut out = BytesMut::with_capacity(OPENING_BYTES);
    out.put_slice(&MAGIC);
    out.put_u8(FORMAT);
    out.put_u8(if secret.is_some() {
        SECRET_PROOFS
    } else {
        NO_PROOFS
    });
    out.put_slice(nonce);
    out.freeze()
}

async fn read_opening(stream: &mut dyn Stream) -> Result<Opening, HandshakeError> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(HandshakeError::NotAPeer);
    }
    let format = stream.read_u8().await?;
    if format != FORMAT {
        return Err(HandshakeError::Format(format));
    }
    let proofs = stream.read_u8().await?;
    let mut nonce = Nonce::default();
    stream.read_exact(&mut nonce).await?;
    Ok(Opening { proofs, nonce })
}

async fn send(stream: &mut dyn Stream, parts: &[&[u8]]) -> Result<(), HandshakeError> {
    let mut out = BytesMut::new();
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    out.put_u16(u16::try_from(bytes).unwrap_or(u16::MAX));
    for part in parts {
        out.put_slice(part);
    }
    stream.write_all(&out).await?;
    stream.flush().await?;
    Ok(())
}

async fn receive(stream: &mut dyn Stream) -> Result<Bytes, HandshakeError> {
    let bytes = stream.read_u16().await?;
    if bytes > HELLO_BYTES_MAX {
        let what = "a hello longer than hellos are";
        return Err(FormatError::Invalid { what }.into());
    }
    let mut body = BytesMut::zeroed(bytes.into());
    stream.read_exact(&mut body).await?;
    Ok(body.freeze())
}

fn proof_bytes(proof: Option<&Proof>) -> &[u8] {
    proof.map_or(&[], |proof| proof)
}

fn take_proof(bytes: &mut Bytes) -> Result<Proof, FormatError> {
    let mut proof = [0; PROOF_BYTES];
    bytes.try_copy_to_slice(&mut proof)?;
    Ok(proof)
}

fn put_verdict(out: &mut BytesMut, refused: Option<Mismatch>) {
    match refused {
        None => out.put_u8(0),
        Some(why) => why.put(out),
    }
}

fn take_verdict(bytes: &mut Bytes) -> Result<Result<(), Mismatch>, FormatError> {
    if bytes.first() == Some(&0) {
        bytes.advance(1);
        return Ok(Ok(()));
    }
    Ok(Err(Mismatch::take(bytes)?))
}
