//! Wrong passwords make those who try the next one from the same address wait.
//!
//! The first wrong ones cost nothing: they are slips. After each further one no other is looked at for a pause that
//! doubles up to two seconds, so that nobody tries more than one every two seconds, however many connections they open.
//! Clients of other addresses notice nothing. One of the same address that knows the password waits for its turn like
//! the others, and after it nobody waits. Nothing of this takes a thread.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Wrong passwords of an address that cost nothing.
const SLIPS: u32 = 5;
/// After the first that is no slip.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// One wrong password is forgotten in this time without any.
const FORGOTTEN_EVERY: Duration = Duration::from_secs(10);
/// Who has waited for this long is turned away.
const WAIT_MAX: Duration = PAUSE_MAX;
/// Of one address, at a time.
const WAITING_MAX: u32 = 64;
/// Addresses that are remembered; of more, the one whose last wrong password is the oldest is forgotten.
const ADDRESSES_MAX: usize = 4096;

/// The wrong passwords of all addresses.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    records: Mutex<BTreeMap<IpAddr, Record>>,
    /// Somebody knew the password: others of that address need not wait.
    known: Notify,
}

#[derive(Debug)]
struct Record {
    wrong: u32,
    last_wrong: Instant,
    /// Before this moment no password from there is looked at.
    next_at: Instant,
    waiting: u32,
}

/// There were too many wrong passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong passwords from this address: try again in a few seconds")]
pub(crate) struct TooManyGuesses;

/// What the next password of an address has to do.
enum Turn {
    Now,
    WaitUntil(Instant),
}

impl Guesses {
    /// Waits until a password from `peer` may be looked at; [`Guesses::was`] has to follow.
    ///
    /// # Errors
    /// It would wait for too long, or too many others of this address wait already.
    pub(crate) async fn turn(&self, peer: IpAddr) -> Result<(), TooManyGuesses> {
        let address = network_of(peer);
        let give_up_at = Instant::now() + WAIT_MAX;
        let mut place: Option<WaitingPlace<'_>> = None;
        loop {
            let known = self.known.notified();
            let Turn::WaitUntil(moment) = self.look(address) else { return Ok(()) };
            if Instant::now() >= give_up_at {
                return Err(TooManyGuesses);
            }
            if place.is_none() {
                place = Some(WaitingPlace::take(self, address)?);
            }
            // Over or known, it looks again.
            let _ = timeout_at(moment.min(give_up_at), known).await;
        }
    }

    /// Whether a password of this address is looked at now. While it is, the next one waits as if it were wrong.
    fn look(&self, address: IpAddr) -> Turn {
        let (mut records, now) = (self.records(), Instant::now());
        let Some(record) = records.get_mut(&address) else { return Turn::Now };
        if now < record.next_at {
            return Turn::WaitUntil(record.next_at);
        }
        record.forget(now);
        record.next_at = now + pause_after(record.wrong + 1);
        Turn::Now
    }

    /// How the password of `peer` was that had its turn.
    pub(crate) fn was(&self, peer: IpAddr, right: bool) {
        let (mut records, address, now) = (self.records(), network_of(peer), Instant::now());
        if right {
            if let Some(record) = records.get_mut(&address) {
                record.next_at = now;
                self.known.notify_waiters();
            }
            return;
        }
        if !records.contains_key(&address) && records.len() >= ADDRESSES_MAX {
            let oldest = records.iter().min_by_key(|(_, record)| record.last_wrong);
            if let Some(oldest) = oldest.map(|(&address, _)| address) {
                records.remove(&oldest);
            }
        }
        let record =
            records.entry(address).or_insert(Record { wrong: 0, last_wrong: now, next_at: now, waiting: 0 });
        record.forget(now);
        record.wrong = record.wrong.saturating_add(1);
        record.last_wrong = now;
        record.next_at = now + pause_after(record.wrong);
    }

    fn records(&self) -> std::sync::MutexGuard<'_, BTreeMap<IpAddr, Record>> {
        self.records.lock().expect("nobody panics while holding it")
    }
}

impl Record {
    fn forget(&mut self, now: Instant) {
        let forgotten = (now - self.last_wrong).as_secs() / FORGOTTEN_EVERY.as_secs();
        if forgotten > 0 {
            self.wrong = self.wrong.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
            self.last_wrong = now;
        }
    }
}

/// One that waits for its turn. Giving up the wait gives back the place.
struct WaitingPlace<'g> {
    guesses: &'g Guesses,
    address: IpAddr,
}

impl<'g> WaitingPlace<'g> {
    fn take(guesses: &'g Guesses, address: IpAddr) -> Result<WaitingPlace<'g>, TooManyGuesses> {
        if let Some(record) = guesses.records().get_mut(&address) {
            if record.waiting >= WAITING_MAX {
                return Err(TooManyGuesses);
            }
            record.waiting += 1;
        }
        Ok(WaitingPlace { guesses, address })
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.guesses.records().get_mut(&self.address) {
            record.waiting = record.waiting.saturating_sub(1);
        }
    }
}

/// The pause after this many wrong passwords.
fn pause_after(wrong: u32) -> Duration {
    match wrong.checked_sub(SLIPS + 1) {
        None => Duration::ZERO,
        Some(doubled) => PAUSE_MIN.saturating_mul(1 << doubled.min(16)).min(PAUSE_MAX),
    }
}

/// Who has one address of version 6 has at least 2^64 of them.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn guess(guesses: &Guesses, from: &str, right: bool) -> Result<(), TooManyGuesses> {
        guesses.turn(ip(from)).await?;
        guesses.was(ip(from), right);
        Ok(())
    }

    /// Row 96.
    #[tokio::test(start_paused = true)]
    async fn each_wrong_password_after_a_few_makes_the_next_one_of_its_address_wait_twice_as_long_up_to_a_bound()
     {
        let (guesses, mut before) = (Guesses::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..13 {
            guess(&guesses, "192.0.2.1", false).await.unwrap();
            pauses.push(before.elapsed().as_millis());
            before = Instant::now();
        }
        // The clock of a test moves in whole milliseconds, and a sleep may be one too long.
        let told: Vec<_> = pauses.iter().map(|pause| pause / 10 * 10).collect();
        assert_eq!(told, [0, 0, 0, 0, 0, 0, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        let started = Instant::now();
        guess(&guesses, "192.0.2.2", true).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO, "another address waits for nothing");
    }

    /// Row 96.
    #[tokio::test(start_paused = true)]
    async fn a_thousand_guesses_at_once_are_no_faster_and_a_right_password_gets_its_turn() {
        let guesses = Arc::new(Guesses::default());
        for _ in 0..20 {
            guess(&guesses, "2001:db8::1", false).await.unwrap();
        }
        let started = Instant::now();
        // Each from another address of the same network.
        let crowd: Vec<_> = (0..1_000)
            .map(|number| {
                let guesses = Arc::clone(&guesses);
                tokio::spawn(async move { guess(&guesses, &format!("2001:db8::{number:x}"), false).await })
            })
            .collect();
        let mut looked_at = 0;
        for one in crowd {
            looked_at += u32::from(one.await.unwrap().is_ok());
        }
        assert!(looked_at <= 2, "{looked_at} within {:?}", started.elapsed());
        // Those who know it wait for nobody but the first of them.
        let crowd: Vec<_> = (0..60)
            .map(|number| {
                let guesses = Arc::clone(&guesses);
                tokio::spawn(async move { guess(&guesses, &format!("2001:db8::{number:x}"), true).await })
            })
            .collect();
        for one in crowd {
            one.await.unwrap().unwrap();
        }
        assert!(started.elapsed() <= 3 * PAUSE_MAX, "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_forgiven_in_time_and_the_number_of_those_remembered_is_bounded() {
        let guesses = Guesses::default();
        for _ in 0..20 {
            guess(&guesses, "192.0.2.1", false).await.unwrap();
        }
        tokio::time::sleep(20 * FORGOTTEN_EVERY).await;
        guess(&guesses, "192.0.2.1", false).await.unwrap();
        let started = Instant::now();
        guess(&guesses, "192.0.2.1", false).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        for number in 0..2 * ADDRESSES_MAX as u32 {
            guesses.was(std::net::Ipv4Addr::from_bits(number).into(), false);
        }
        assert_eq!(guesses.records().len(), ADDRESSES_MAX);
    }
}
