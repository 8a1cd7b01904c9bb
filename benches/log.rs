//! What a durable append to the log is made of, and other ways to make one: the reasons for how the log's writer, its
//! thread and group commit work.
//!
//! `cargo bench --bench log`; a minute, and 64 MiB of disk. Medians in microseconds, all ways in turns in the same run.
//! The last table makes the machine busy for some seconds.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, Context, Handler, Message, Recipient};
use beaver_actors::internals::storage::sched::make_urgent;
use beaver_actors::internals::storage::{DiskStorage, Storage};
use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::machine::load;
use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;

const FILE_BYTES: usize = 8 << 20;
/// One small job, a handful, 100 and 1,000 jobs, and what a large payload makes.
const SIZES: [usize; 5] = [200, 4 << 10, 16 << 10, 160 << 10, 1 << 20];
/// About what an event takes in the log.
const EVENT_BYTES: usize = 160;
/// To what direct writes must be aligned.
const BLOCK_BYTES: usize = 4096;
const HOPS: u32 = 5_000;
/// The machine is kept busy no longer than this.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Writes bytes at an offset, durably.
type Append = Box<dyn FnMut(u64, &[u8]) -> io::Result<()>>;

/// How much is measured.
struct Samples {
    /// Rounds in which each way has its turn.
    rounds: usize,
    /// Of each way and size in a round.
    appends: usize,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("log: benchmark");
        return Ok(());
    }
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let samples =
        if is_test { Samples { rounds: 1, appends: 2 } } else { Samples { rounds: 9, appends: 60 } };
    let dir = temp_dir();
    println!("load {}", load()?);
    appends(dir.path(), &samples)?;
    two_at_a_time(dir.path(), &samples)?;
    in_memory(&samples);
    hops(&samples);
    beside_others(dir.path(), &samples)
}

fn appends(dir: &Path, samples: &Samples) -> io::Result<()> {
    let mut ways = ways(dir)?;
    println!("\na durable append within a zero-filled file, us");
    println!("{:34}{}", "", SIZES.map(|size| format!("{size:>10}")).concat());
    let mut took: Vec<Vec<Vec<Duration>>> = vec![vec![Vec::new(); SIZES.len()]; ways.len()];
    for round in 0..samples.rounds {
        for turn in 0..ways.len() {
            let way = (round + turn) % ways.len();
            for (nth, size) in SIZES.into_iter().enumerate() {
                let bytes = vec![7; size];
                for offset in offsets(size, samples.appends) {
                    let started = Instant::now();
                    (ways[way].1)(offset, &bytes)?;
                    took[way][nth].push(started.elapsed());
                }
            }
        }
    }
    for ((name, _), took) in ways.iter().zip(took) {
        println!(
            "{name:34}{}",
            took.into_iter().map(|took| format!("{:>10.1}", median(took))).collect::<String>()
        );
    }
    Ok(())
}

fn offsets(size: usize, count: usize) -> impl Iterator<Item = u64> {
    let places = FILE_BYTES / size - 1;
    // Behind a segment's header, and at no multiple of anything, as in the log.
    (0..count).map(move |nth| (128 + nth % places * size) as u64)
}

fn ways(dir: &Path) -> io::Result<Vec<(&'static str, Append)>> {
    zeros(&dir.join("plain"), OFlags::empty())?;
    let mut plain = DiskStorage::default().open(&dir.join("plain"))?;
    let synced = zeros(&dir.join("dsync"), OFlags::empty())?;
    let direct = zeros(&dir.join("direct"), OFlags::DIRECT)?;
    let written = zeros(&dir.join("written"), OFlags::DIRECT)?;
    let only_synced = zeros(&dir.join("synced"), OFlags::empty())?;
    Ok(vec![
        (
            "pwritev, fdatasync (what beaver does)",
            Box::new(move |offset, bytes| {
                let (header, payload) = bytes.split_at(52);
                plain.write_parts_at(offset, &[header, payload])?;
                plain.sync()
            }),
        ),
        (
            "pwritev2 with RWF_DSYNC",
            Box::new(move |offset, bytes| {
                let mut done = 0;
                while done < bytes.len() {
                    let rest = [IoSlice::new(&bytes[done..])];
                    done +=
                        rustix::io::pwritev2(&synced, &rest, offset + done as u64, ReadWriteFlags::DSYNC)?;
                }
                Ok(())
            }),
        ),
        (
            "O_DIRECT pwrite, fdatasync",
            Box::new(move |offset, bytes| {
                write_blocks(&direct, offset, bytes)?;
                direct.sync_data()
            }),
        ),
        (
            "O_DIRECT pwrite, not durable",
            Box::new(move |offset, bytes| write_blocks(&written, offset, bytes)),
        ),
        ("fdatasync with nothing to write", Box::new(move |_, _| only_synced.sync_data())),
    ])
}

fn zeros(path: &Path, flags: OFlags) -> io::Result<File> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// The whole blocks that `bytes` touches, from memory that is aligned like them.
fn write_blocks(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    thread_local! {
        static MEMORY: Vec<u8> = vec![1; SIZES[SIZES.len() - 1] + 3 * BLOCK_BYTES];
    }
    MEMORY.with(|memory| {
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        let block = BLOCK_BYTES as u64;
        let (first, end) = (offset / block * block, (offset + bytes.len() as u64).next_multiple_of(block));
        file.write_all_at(&memory[start..start + (end - first) as usize], first)
    })
}

/// Whether a batch could be written while the one before is synced: two threads, one file.
fn two_at_a_time(dir: &Path, samples: &Samples) -> io::Result<()> {
    let file = zeros(&dir.join("two"), OFlags::empty())?;
    let run = |base: u64| {
        (0..samples.appends * samples.rounds).try_for_each(|nth| {
            file.write_all_at(&[7; BLOCK_BYTES], base + (nth % 500 * BLOCK_BYTES) as u64)?;
            file.sync_data()
        })
    };
    let rate = |threads: usize, took: Duration| {
        (threads * samples.appends * samples.rounds) as f64 / took.as_secs_f64()
    };
    let started = Instant::now();
    run(0)?;
    let alone = rate(1, started.elapsed());
    let started = Instant::now();
    thread::scope(|scope| {
        let other = scope.spawn(|| run(4 << 20));
        run(0)?;
        other.join().expect("no thread panics")
    })?;
    let both = rate(2, started.elapsed());
    println!(
        "\ndurable appends of {BLOCK_BYTES} bytes in a second: {alone:.0} by one thread, {both:.0} by two"
    );
    Ok(())
}

fn in_memory(samples: &Samples) {
    println!("\nin memory, us\n{:34}{}", "", SIZES.map(|size| format!("{size:>10}")).concat());
    let bytes = vec![7; SIZES[SIZES.len() - 1]];
    let mut kept = Vec::with_capacity(bytes.len() + 52);
    let fill = |buffer: &mut Vec<u8>, size: usize| {
        for event in bytes[..size].chunks(EVENT_BYTES) {
            buffer.extend_from_slice(black_box(event));
        }
    };
    let row = |name: &str, work: &mut dyn FnMut(usize)| {
        let cell = |size: usize| {
            let took = (0..samples.rounds * samples.appends).map(|_| {
                let started = Instant::now();
                work(size);
                started.elapsed()
            });
            format!("{:>10.1}", median(took.collect()))
        };
        println!("{name:34}{}", SIZES.map(cell).concat());
    };
    row("crc32 of it", &mut |size| {
        black_box(crc32fast::hash(&bytes[..size]));
    });
    row("copied behind a header", &mut |size| {
        kept.clear();
        kept.extend_from_slice(&[0; 52]);
        kept.extend_from_slice(black_box(&bytes[..size]));
    });
    let mut kept = Vec::with_capacity(bytes.len());
    row("event by event, a used buffer", &mut |size| {
        kept.clear();
        fill(&mut kept, size);
    });
    row("event by event, a new buffer", &mut |size| {
        let mut new = Vec::new();
        fill(&mut new, size);
        black_box(new);
    });
}

fn beside_others(dir: &Path, samples: &Samples) -> io::Result<()> {
    if has_a_policy()? {
        // Under a real-time policy, the busy threads of this bench would stop everything else on this machine.
        println!(
            "\nthe scheduling policy is not the usual one: the measurement beside busy threads is left out"
        );
        return Ok(());
    }
    let file = zeros(&dir.join("beside"), OFlags::empty())?;
    let measure = || -> io::Result<f64> {
        let mut took = Vec::new();
        for nth in 0..samples.rounds * samples.appends / 2 {
            let started = Instant::now();
            file.write_all_at(&[7; BLOCK_BYTES], (nth % 500 * BLOCK_BYTES) as u64)?;
            file.sync_data()?;
            took.push(started.elapsed());
        }
        Ok(median(took))
    };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 * thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let started = Instant::now();
                while !over.load(Ordering::Relaxed) && started.elapsed() < BUSY_MAX {
                    std::hint::spin_loop();
                }
            });
        }
        let like_others = measure();
        let urgent = make_urgent().and_then(|()| measure());
        over.store(true, Ordering::Relaxed);
        println!(
            "\nan append of {BLOCK_BYTES} bytes beside two busy threads a core: {:.1} us, by an urgent thread {:.1} us",
            like_others?, urgent?
        );
        Ok(())
    })
}

/// Whether this process runs under another scheduling policy than the usual one.
fn has_a_policy() -> io::Result<bool> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may contain anything: the 41st field in all.
    let policy = stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(38));
    Ok(policy != Some("0"))
}

// A hop to another thread and back, as a mailbox does it and as a parked thread would.

#[derive(Message)]
#[rtype(result = "()")]
struct Ball;

#[derive(Message)]
#[rtype(result = "()")]
struct Play(Recipient<Ball>, u32, mpsc::Sender<Duration>);

/// Plays a ball to and fro.
struct Player {
    started: Instant,
    game: Option<Play>,
    left: u32,
}

impl Actor for Player {
    type Context = Context<Player>;
}

impl Handler<Play> for Player {
    type Result = ();

    fn handle(&mut self, play: Play, _: &mut Context<Player>) {
        (self.started, self.left) = (Instant::now(), play.1);
        play.0.do_send(Ball);
        self.game = Some(play);
    }
}

impl Handler<Ball> for Player {
    type Result = ();

    fn handle(&mut self, _: Ball, _: &mut Context<Player>) {
        let Some(Play(other, count, done)) = &self.game else { return };
        self.left -= 1;
        match self.left {
            0 => done.send(self.started.elapsed() / *count).expect("it is waited for"),
            _ => other.do_send(Ball),
        }
    }
}

/// Sends every ball back.
struct Wall(Addr<Player>);

impl Actor for Wall {
    type Context = Context<Wall>;
}

impl Handler<Ball> for Wall {
    type Result = ();

    fn handle(&mut self, _: Ball, _: &mut Context<Wall>) {
        self.0.do_send(Ball);
    }
}

/// Parks until there is a ball, and sends it back.
struct Parked(thread::Thread, std::sync::Arc<AtomicBool>);

impl Actor for Parked {
    type Context = Context<Parked>;
}

impl Handler<Ball> for Parked {
    type Result = ();

    fn handle(&mut self, _: Ball, _: &mut Context<Parked>) {
        self.1.store(true, Ordering::Release);
        self.0.unpark();
    }
}

fn hops(samples: &Samples) {
    let system = actix::System::new();
    let hops = HOPS.min((samples.rounds * samples.appends) as u32 * 10);
    let home = Arbiter::new();
    let player = || {
        let new = || Player { started: Instant::now(), game: None, left: 0 };
        Player::start_in_arbiter(&home.handle(), move |_| new())
    };
    let play = |player: Addr<Player>, other: Recipient<Ball>| {
        let (done, when) = mpsc::channel();
        player.do_send(Play(other, hops, done));
        when.recv().expect("the game ends").as_nanos() as f64 / 1e3
    };
    let there = Arbiter::new();
    let first = player();
    let back = first.clone();
    let wall = Wall::start_in_arbiter(&there.handle(), move |_| Wall(back));
    let mailbox = play(first, wall.recipient());

    let second = player();
    let (over, ball) =
        (std::sync::Arc::new(AtomicBool::new(false)), std::sync::Arc::new(AtomicBool::new(false)));
    let parked = thread::spawn({
        let (over, ball, back) = (over.clone(), ball.clone(), second.clone());
        move || {
            while !over.load(Ordering::Acquire) {
                thread::park();
                if ball.swap(false, Ordering::Acquire) {
                    back.do_send(Ball);
                }
            }
        }
    });
    let thread = parked.thread().clone();
    // It lives with the player, so that only one way is another thread's.
    let here = Parked::start_in_arbiter(&home.handle(), move |_| Parked(thread, ball));
    let direct = play(second, here.recipient());
    over.store(true, Ordering::Release);
    parked.thread().unpark();
    parked.join().expect("no thread panics");
    println!("\nto another thread and back, us: {mailbox:.1} by mailboxes, {direct:.1} to a parked thread");
    for arbiter in [home, there] {
        arbiter.stop();
    }
    drop(system);
}

/// In microseconds.
fn median(mut took: Vec<Duration>) -> f64 {
    took.sort();
    took.get(took.len() / 2).map_or(0.0, |took| took.as_nanos() as f64 / 1e3)
}
