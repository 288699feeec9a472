//! Request frames, appended to a buffer that is sent with one write.

/// Opcodes that the scenarios use.
pub(crate) mod opcode {
    pub(crate) const CREATE: i32 = 1;
    pub(crate) const GET_DATA: i32 = 4;
    pub(super) const SET_DATA: i32 = 5;
    pub(super) const PING: i32 = 11;
    pub(super) const MULTI: i32 = 14;
    pub(super) const ADD_WATCH: i32 = 106;
    pub(crate) const CLOSE: i32 = -11;
}

/// The xid of a watch event.
pub const EVENT_XID: i32 = -1;
/// The xid of a ping.
pub const PING_XID: i32 = -2;

/// Bytes of the value of every znode of the benchmark.
pub const VALUE_BYTES: usize = 100;

/// A ConnectRequest for a new session.
pub fn connect(out: &mut Vec<u8>, timeout_ms: i32) {
    framed(out, |out| {
        out.extend(0i32.to_be_bytes());
        out.extend(0i64.to_be_bytes());
        out.extend(timeout_ms.to_be_bytes());
        out.extend(0i64.to_be_bytes());
        text(out, &[0; 16]);
        out.push(0);
    });
}

/// create: persistent, open to all, with a value of its own.
pub fn create(out: &mut Vec<u8>, xid: i32, path: &str) {
    request(out, xid, opcode::CREATE, |out| create_body(out, path));
}

/// getData.
pub fn get(out: &mut Vec<u8>, xid: i32, path: &str, watch: bool) {
    request(out, xid, opcode::GET_DATA, |out| {
        text(out, path.as_bytes());
        out.push(u8::from(watch));
    });
}

/// setData with a value of its own, at any version.
pub fn set(out: &mut Vec<u8>, xid: i32, path: &str) {
    request(out, xid, opcode::SET_DATA, |out| {
        text(out, path.as_bytes());
        text(out, &value(path, xid));
        out.extend((-1i32).to_be_bytes());
    });
}

/// addWatch, persistent (not recursive).
pub fn add_watch(out: &mut Vec<u8>, xid: i32, path: &str) {
    request(out, xid, opcode::ADD_WATCH, |out| {
        text(out, path.as_bytes());
        out.extend(0i32.to_be_bytes());
    });
}

/// A multi that creates every path of `paths`.
pub fn multi_create<'a>(out: &mut Vec<u8>, xid: i32, paths: impl Iterator<Item = &'a str>) {
    request(out, xid, opcode::MULTI, |out| {
        for path in paths {
            multi_header(out, opcode::CREATE, false);
            create_body(out, path);
        }
        multi_header(out, -1, true);
    });
}

/// A ping.
pub fn ping(out: &mut Vec<u8>) {
    request(out, PING_XID, opcode::PING, |_| ());
}

/// closeSession.
pub fn close(out: &mut Vec<u8>, xid: i32) {
    request(out, xid, opcode::CLOSE, |_| ());
}

/// The value of a znode at its `change`: as good as random, since our server compresses what it writes
/// and the genuine one does not. By splitmix64, which takes nanoseconds.
fn value(path: &str, change: i32) -> [u8; VALUE_BYTES] {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let seed = u64::from(change.cast_unsigned());
    let mut state = path.bytes().fold(seed, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let mut value = [0; VALUE_BYTES];
    for chunk in value.chunks_mut(size_of::<u64>()) {
        state = state.wrapping_add(STEP);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    value
}

fn create_body(out: &mut Vec<u8>, path: &str) {
    text(out, path.as_bytes());
    text(out, &value(path, 0));
    out.extend(1i32.to_be_bytes());
    out.extend(31i32.to_be_bytes());
    text(out, b"world");
    text(out, b"anyone");
    out.extend(0i32.to_be_bytes());
}

fn multi_header(out: &mut Vec<u8>, kind: i32, done: bool) {
    out.extend(kind.to_be_bytes());
    out.push(u8::from(done));
    out.extend((-1i32).to_be_bytes());
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as i32).to_be_bytes());
    out.extend(bytes);
}

fn request(out: &mut Vec<u8>, xid: i32, opcode: i32, body: impl FnOnce(&mut Vec<u8>)) {
    framed(out, |out| {
        out.extend(xid.to_be_bytes());
        out.extend(opcode.to_be_bytes());
        body(out);
    });
}

fn framed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    body(out);
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_repeat_neither_within_themselves_nor_in_others() {
        let mut words: Vec<[u8; 8]> = ["/t/1", "/t/2"]
            .into_iter()
            .flat_map(|path| [value(path, 0), value(path, 1)])
            .flat_map(|value| value.as_chunks().0.to_vec())
            .collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!((words.len(), count), (48, 48));
        assert_eq!(value("/t/1", 7), value("/t/1", 7));
    }

    #[test]
    fn frames_carry_their_length() {
        let mut out = Vec::new();
        ping(&mut out);
        assert_eq!(out, [0, 0, 0, 8, 255, 255, 255, 254, 0, 0, 0, 11]);
        let first = out.len();
        get(&mut out, 7, "/a", true);
        assert_eq!(
            out[first..],
            [
                0, 0, 0, 15, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 2, b'/', b'a', 1
            ]
        );
        let mut hello = Vec::new();
        connect(&mut hello, 1);
        assert_eq!(hello.len(), 4 + 45);
    }
}
