//! What a client mostly does, so that it can be served where it fits best (`net/serving.rs`).

/// Where it ends on either side.
const MAX: i8 = 8;
/// A turn in which the client wrote.
const WROTE: i8 = 1;
/// A turn in which it did not: weighs more, since a reader is the one who loses by waiting.
const DID_NOT: i8 = -2;

/// The turns of a client, summed up: the newest count, what was long ago does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leaning(i8);

impl Leaning {
    /// After a turn in which something was served.
    pub(super) fn turn(&mut self, wrote: bool) {
        let turn = if wrote { WROTE } else { DID_NOT };
        self.0 = (self.0 + turn).clamp(-MAX, MAX);
    }

    /// Hardly anything but writes, lately: nearly all that such a client waits for is apply.
    pub fn is_writer(self) -> bool {
        self.0 == MAX
    }

    /// Hardly any writes, lately. A client that is new, or changes, is neither.
    pub fn is_reader(self) -> bool {
        self.0 == -MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_some_turns_and_half_reads_make_a_reader() {
        let mut leaning = Leaning::default();
        let mut turns = |wrote: &[bool]| {
            wrote.iter().for_each(|wrote| leaning.turn(*wrote));
            (leaning.is_writer(), leaning.is_reader())
        };
        assert_eq!(turns(&[]), (false, false));
        assert_eq!(turns(&[true; 7]), (false, false));
        assert_eq!(turns(&[true; 5]), (true, false));
        assert_eq!(turns(&[false; 7]), (false, false));
        assert_eq!(turns(&[false; 9]), (false, true));
        assert_eq!(turns(&[true; 15]), (false, false));
        assert_eq!(turns(&[true]), (true, false));
        let some_reads = [false, true, true].repeat(20);
        assert_eq!(turns(&some_reads), (true, false));
        assert_eq!(turns(&[true, false].repeat(20)), (false, true));
    }
}
