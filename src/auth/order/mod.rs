//! The order in which the identities of a connection are listed: that of the hash table in which
//! ZooKeeper keeps them, so that whoAmI and what becomes of `auth` in ACLs read alike.
//!
//! The table has a power of two of *places*, 16 at first. Each identity is in the place that the
//! lowest bits of its hash name, behind those that came before it; the table is listed place by
//! place. When it is filled to three quarters it doubles: what was in one place goes to the same
//! place and to the one that is as much higher as the table was large. Java spares itself copying
//! the longest run at the end of a place that goes to the same new one; it keeps its order, and what
//! was in front of it comes to stand before it in reverse.
//!
//! Nothing but the list itself is needed to go on: its length says how large the table is.
//!
//! zk: ServerCnxn.authInfo, a set on java.util.concurrent.ConcurrentHashMap; Id.hashCode.
//! zk-differs: more than eight identities in one place make Java enlarge a small table early, or
//! list the place from its youngest on. No two dozens of them come to that by chance.

use crate::state::Identity;

/// Places of a new table.
const PLACES_MIN: usize = 16;

/// Adds `added` to the list `have`, where the table has it.
pub(super) fn insert(have: &[Identity], added: Identity) -> Vec<Identity> {
    let places = places(have.len());
    let place = |identity: &Identity| hash(identity) as usize & (places - 1);
    let own = place(&added);
    let at = have.partition_point(|other| place(other) <= own);
    let mut list = have.to_vec();
    list.insert(at, added);
    if places_after(list.len(), places) == places {
        return list;
    }
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for old in list.chunk_by(|a, b| place(a) == place(b)) {
        let goes_high = |identity: &&Identity| hash(identity) as usize & places != 0;
        let end = old.last().is_some_and(|last| goes_high(&last));
        let run = old.iter().rev().take_while(|id| goes_high(id) == end);
        let front = old.get(..old.len() - run.count()).unwrap_or_default();
        let (reversed, run) = (front.iter().rev(), old.iter().skip(front.len()));
        for identity in reversed.chain(run) {
            let list = if goes_high(&identity) {
                &mut high
            } else {
                &mut low
            };
            list.push(identity.clone());
        }
    }
    low.append(&mut high);
    low
}

/// How many places a table has that came to hold `count` one by one.
fn places(count: usize) -> usize {
    let mut places = PLACES_MIN;
    while places_after(count, places) != places {
        places *= 2;
    }
    places
}

/// How many a table of `places` has when it holds `count`.
fn places_after(count: usize, places: usize) -> usize {
    if count >= places / 4 * 3 {
        places * 2
    } else {
        places
    }
}

/// The hash by which an identity finds its place.
fn hash(identity: &Identity) -> u32 {
    let start = 17_u32.wrapping_mul(37);
    let scheme = start.wrapping_add(hash_text(&identity.scheme));
    let hash = scheme
        .wrapping_mul(37)
        .wrapping_add(hash_text(&identity.id));
    hash ^ (hash >> 16)
}

/// zk: java.lang.String.hashCode.
fn hash_text(text: &str) -> u32 {
    let units = text.encode_utf16();
    units.fold(0, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    })
}

#[cfg(test)]
mod tests;
