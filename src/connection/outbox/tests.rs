//! Who sends, who is woken, and in which order bytes leave.

use std::sync::Arc;

use super::*;

/// A client whose socket takes so many bytes more.
#[derive(Clone, Default)]
struct Client {
    room: Arc<Mutex<usize>>,
    got: Arc<Mutex<Vec<u8>>>,
}

impl SocketWriter for Client {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room.lock();
        let taken = bytes.len().min(*room);
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *room -= taken;
        self.got.lock().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
}

fn outbox(room: usize) -> (Outbox, Client) {
    let client = Client::default();
    *client.room.lock() = room;
    (Outbox::new(1000, Box::new(client.clone())), client)
}

/// Whether it was taken.
fn push(outbox: &Outbox, bytes: &[u8]) -> bool {
    outbox.push(|out| out.extend_from_slice(bytes)).is_some()
}

fn is_woken(outbox: &Outbox) -> bool {
    let cx = Context::from_waker(std::task::Waker::noop());
    outbox.poll_woken(&cx).is_ready()
}

#[test]
fn what_is_told_is_sent_at_once_and_wakes_nobody_who_does_not_listen() {
    let (outbox, client) = outbox(100);
    push(&outbox, b"event ");
    assert!(outbox.list());
    push(&outbox, b"reply");
    assert!(!outbox.list(), "told once");
    outbox.tell();
    assert_eq!(&*client.got.lock(), b"event reply");
    assert_eq!(outbox.look().bytes, 0);
    assert!(!is_woken(&outbox));
    assert!(outbox.list());
}

#[test]
fn runs_and_pushes_leave_in_their_order() {
    let (outbox, client) = outbox(100);
    push(&outbox, b"1");
    let mut run = BytesMut::from(&b"2"[..]);
    assert_eq!(outbox.append(&mut run), End::Open);
    assert!(run.is_empty());
    push(&outbox, b"3");
    assert!(outbox.flush());
    assert_eq!(&*client.got.lock(), b"123");
}

#[test]
fn whoever_listens_is_woken_for_what_is_told() {
    let (outbox, _client) = outbox(100);
    outbox.attend();
    assert!(outbox.listen());
    push(&outbox, b"event");
    outbox.tell();
    assert!(is_woken(&outbox));
}

#[test]
fn what_was_told_since_the_task_attended_is_not_missed() {
    let (outbox, _client) = outbox(100);
    outbox.attend();
    push(&outbox, b"event");
    outbox.tell();
    assert!(!outbox.listen(), "look again");
    outbox.attend();
    assert!(outbox.listen());
}

#[test]
fn a_clogged_socket_is_left_to_the_task() {
    let (outbox, client) = outbox(2);
    push(&outbox, b"event");
    outbox.tell();
    assert!(is_woken(&outbox) && outbox.look().is_clogged);
    *client.room.lock() = 100;
    push(&outbox, b" more");
    outbox.tell();
    assert!(!outbox.flush(), "not before the task has seen it writable");
    assert_eq!(&*client.got.lock(), b"ev");
    outbox.unclog();
    assert!(outbox.flush());
    assert_eq!(&*client.got.lock(), b"event more");
}

#[test]
fn an_end_wakes_the_task_and_nothing_is_pushed_behind_it() {
    let (outbox, client) = outbox(100);
    push(&outbox, b"closed");
    outbox.end(End::AfterFlush);
    assert!(is_woken(&outbox));
    assert!(!push(&outbox, b"late"));
    outbox.tell();
    assert_eq!(outbox.look().end, End::AfterFlush);
    assert_eq!(&*client.got.lock(), b"closed");
    outbox.end(End::Now);
    outbox.end(End::AfterFlush);
    assert_eq!(outbox.look().end, End::Now);
}

#[test]
fn a_client_that_lets_too_much_pile_up_is_given_up() {
    let (outbox, _client) = outbox(0);
    assert!(push(&outbox, &[0; 1001]));
    assert!(!push(&outbox, b"one more"));
    assert!(is_woken(&outbox));
    assert_eq!((outbox.look().end, outbox.look().bytes), (End::Now, 0));
}

/// A single reply may be larger than the bound, which is about what nobody asked for.
#[test]
fn a_large_run_of_replies_does_not_count_against_the_bound() {
    let (outbox, _client) = outbox(0);
    outbox.append(&mut BytesMut::from(&[0; 5000][..]));
    assert!(push(&outbox, &[0; 1000]));
    assert!(push(&outbox, b"."));
    assert!(!push(&outbox, b"one more"));
}

#[test]
fn a_socket_that_breaks_ends_the_connection() {
    struct Broken;
    impl SocketWriter for Broken {
        fn try_send(&self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let outbox = Outbox::new(1000, Box::new(Broken));
    push(&outbox, b"event");
    outbox.tell();
    assert!(is_woken(&outbox));
    assert_eq!(outbox.look().end, End::Now);
}

/// While one sends, another appends and finds somebody sending: the first sends that, too.
#[test]
fn many_senders_send_each_byte_once_and_in_order() {
    /// Takes one to seven bytes at a time, and sometimes nothing.
    struct Slow(Arc<Mutex<(Vec<u8>, usize)>>);
    impl SocketWriter for Slow {
        fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut inner = self.0.lock();
            inner.1 += 1;
            if inner.1.is_multiple_of(5) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(1 + inner.1 % 7);
            inner.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
    }
    const NUMBERS: u32 = 20_000;
    let got = Arc::new(Mutex::new((Vec::new(), 0)));
    let outbox = Arc::new(Outbox::new(usize::MAX, Box::new(Slow(Arc::clone(&got)))));
    let teller = Arc::clone(&outbox);
    let pushing = std::thread::spawn(move || {
        for number in 0..NUMBERS {
            let pushed = teller.push(|out| out.extend_from_slice(&number.to_be_bytes()));
            assert!(pushed.is_some());
            teller.tell();
        }
    });
    while !pushing.is_finished() || outbox.look().bytes > 0 {
        outbox.unclog();
        outbox.flush();
    }
    pushing.join().expect("pushed");
    let expected: Vec<u8> = (0..NUMBERS).flat_map(u32::to_be_bytes).collect();
    assert!(got.lock().0 == expected);
}
