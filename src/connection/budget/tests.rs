//! Who gets room, in which order, and who loses it. Time is paused.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::super::connection::ConnectionId;
use super::super::outbox::Outbox;
use super::*;
use crate::io::SocketWriter;

/// A socket that takes so many bytes more.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<usize>>);

impl SocketWriter for Socket {
    fn try_send(&self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut room = self.0.lock();
        let taken = bytes.len().min(*room);
        *room -= taken;
        if taken == 0 {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }
}

fn connection(room: usize) -> (Arc<Connection>, Socket) {
    let socket = Socket(Arc::new(Mutex::new(room)));
    let outbox = Outbox::new(1 << 20, Box::new(socket.clone()));
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let connection = Connection::new(ConnectionId(1), peer, Arc::from([]), outbox);
    (Arc::new(connection), socket)
}

const KIB: usize = 1024;

type Waiting<'a> = Pin<Box<dyn Future<Output = Option<Share>> + 'a>>;

fn ask<'a>(budget: &'a Budget, connection: &'a Arc<Connection>, kib: usize) -> Waiting<'a> {
    Box::pin(budget.share(connection, kib * KIB))
}

fn poll(waiting: &mut Waiting<'_>) -> Option<Share> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    match waiting.as_mut().poll(&mut cx) {
        Poll::Ready(share) => Some(share.expect("there is a budget")),
        Poll::Pending => None,
    }
}

/// A client that holds a large reply of so many KiB, of which its socket takes so many bytes.
async fn holder(budget: &Budget, kib: usize, takes: usize) -> (Arc<Connection>, Socket) {
    let (connection, socket) = connection(takes);
    let share = budget.share(&connection, kib * KIB).await.unwrap();
    let mut run = BytesMut::zeroed(kib * KIB);
    connection.outbox.append_large(&mut run, Some(share));
    connection.outbox.flush();
    (connection, socket)
}

/// The client's socket takes so many bytes more.
fn take(connection: &Connection, socket: &Socket, bytes: usize) {
    *socket.0.lock() += bytes;
    connection.outbox.unclog();
    connection.outbox.flush();
}

/// I10: in order, so that one who asks for much is not passed by for ever by those who ask for less.
#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_turn() {
    let budget = Budget::new(100 * KIB);
    let (one, _) = connection(0);
    let first = poll(&mut ask(&budget, &one, 60)).expect("nobody holds anything");
    let mut all = ask(&budget, &one, 1000);
    let mut little = ask(&budget, &one, 1);
    assert!(poll(&mut all).is_none());
    assert!(poll(&mut little).is_none(), "it has come later");
    drop(first);
    assert!(poll(&mut little).is_none());
    let all = poll(&mut all).expect("its turn, and there is no more than all");
    assert_eq!(budget.free(), 0);
    drop(all);
    assert!(poll(&mut little).is_some());
    assert_eq!(budget.free(), 100 * KIB, "all is given back");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_lets_others_pass() {
    let budget = Budget::new(100 * KIB);
    let (one, _) = connection(0);
    let _first = poll(&mut ask(&budget, &one, 60));
    let mut much = ask(&budget, &one, 60);
    let mut little = ask(&budget, &one, 40);
    assert!(poll(&mut much).is_none() && poll(&mut little).is_none());
    drop(much);
    assert!(poll(&mut little).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_needed_is_given_back() {
    let budget = Budget::new(100 * KIB);
    let (one, _) = connection(0);
    let mut share = budget.share(&one, 80 * KIB).await.unwrap();
    share.cut_to(10 * KIB + 1);
    assert_eq!(budget.free(), 89 * KIB);
    share.cut_to(50 * KIB);
    assert_eq!(budget.free(), 89 * KIB, "it never grows");
    let other = budget.share(&one, 9 * KIB).await.unwrap();
    share.join(other);
    assert_eq!(budget.free(), 80 * KIB);
    drop(share);
    assert_eq!(budget.free(), 100 * KIB);
}

/// Room comes back when the client has taken the whole reply, and not before.
#[tokio::test(start_paused = true)]
async fn a_reply_holds_its_room_until_it_has_been_taken() {
    let budget = Budget::new(100 * KIB);
    let (connection, socket) = holder(&budget, 60, 0).await;
    assert_eq!(budget.free(), 40 * KIB);
    connection
        .outbox
        .push(|out| out.extend_from_slice(b"event"));
    take(&connection, &socket, 60 * KIB - 1);
    assert_eq!(budget.free(), 40 * KIB);
    take(&connection, &socket, 1);
    assert_eq!(budget.free(), 100 * KIB, "an event behind it is none of it");
}

/// What waits before a large reply, and another one behind it.
#[tokio::test(start_paused = true)]
async fn replies_before_and_behind_do_not_give_its_room_back() {
    let budget = Budget::new(100 * KIB);
    let (connection, socket) = connection(0);
    connection
        .outbox
        .push(|out| out.extend_from_slice(b"event"));
    connection.outbox.flush();
    for _ in 0..2 {
        let share = budget.share(&connection, 40 * KIB).await.unwrap();
        let mut run = BytesMut::zeroed(40 * KIB);
        connection.outbox.append_large(&mut run, Some(share));
    }
    take(&connection, &socket, 5);
    assert_eq!(budget.free(), 20 * KIB);
    take(&connection, &socket, 80 * KIB - 1);
    assert_eq!(budget.free(), 20 * KIB);
    take(&connection, &socket, 1);
    assert_eq!(budget.free(), 100 * KIB);
}

/// A client that holds all and takes nothing is closed when others have waited for so long; for itself
/// it may hold it as long as it likes.
#[tokio::test(start_paused = true)]
async fn who_takes_nothing_while_others_wait_is_closed() {
    let budget = Budget::new(100 * KIB);
    let (greedy, _socket) = holder(&budget, 100, 50 * KIB).await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(greedy.outbox.look().end, End::Open, "nobody waits");
    let (other, _) = connection(0);
    let began = Instant::now();
    let share = budget.share(&other, KIB).await;
    assert!(share.is_some());
    let waited = began.elapsed();
    assert!(
        waited >= PATIENCE && waited <= PATIENCE + 2 * LOOK_EVERY,
        "{waited:?}"
    );
    assert_eq!(greedy.outbox.look().end, End::Now);
}

/// One that reads slowly keeps its reply to the end; one that reads next to nothing does not.
#[tokio::test(start_paused = true)]
async fn who_takes_its_part_in_time_is_not_closed() {
    for (bytes_a_second, ends) in [(100 * KIB / PARTS / 8, End::Open), (1, End::Now)] {
        let budget = Budget::new(100 * KIB);
        let (slow, socket) = holder(&budget, 100, 0).await;
        let (other, _) = connection(0);
        let mut waiting = ask(&budget, &other, 1);
        let began = Instant::now();
        loop {
            let second = timeout(Duration::from_secs(1), waiting.as_mut());
            if second.await.is_ok() {
                break;
            }
            take(&slow, &socket, bytes_a_second);
            assert!(began.elapsed() < PATIENCE * u32::try_from(PARTS).unwrap());
        }
        assert_eq!(slow.outbox.look().end, ends, "{bytes_a_second}");
    }
}

/// What waits for this server, and not for its client, is not the client's fault.
#[tokio::test(start_paused = true)]
async fn who_has_not_got_its_reply_yet_is_not_closed() {
    let budget = Budget::new(100 * KIB);
    let (one, _) = connection(0);
    let share = budget.share(&one, 100 * KIB).await;
    let (other, _) = connection(0);
    let mut waiting = ask(&budget, &other, 1);
    let hour = timeout(Duration::from_secs(3600), waiting.as_mut());
    assert!(hour.await.is_err());
    assert_eq!(one.outbox.look().end, End::Open);
    drop(share);
    assert!(waiting.await.is_some());
}

/// An ended connection gives all back, also what had not been taken.
#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_gives_its_room_back() {
    let budget = Budget::new(100 * KIB);
    let (connection, _socket) = holder(&budget, 60, 10).await;
    connection.outbox.close();
    assert_eq!(budget.free(), 100 * KIB);
    let share = budget.share(&connection, 60 * KIB).await;
    let mut run = BytesMut::zeroed(60 * KIB);
    connection.outbox.append_large(&mut run, share);
    assert_eq!(
        budget.free(),
        100 * KIB,
        "and none is kept for one that has ended"
    );
}
