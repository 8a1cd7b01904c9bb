//! The body of the fuzz target `commands`: any bytes as what a client of the work protocol sends.

use beaver::internals::{
    Beat, FwpCommand, Glob, Hello, Inbox, JobReader, Mutation, QueueCommand, acked_job, failed_job,
    fetched_queues, write_faktory_job,
};
use beaver_actors::base::byte_budget::ByteBudget;
use beaver_actors::ids::Timestamp;
use beaver_actors::jobs::JobSpec;
use beaver_actors::testing::accepted;

/// So small that inputs reach it.
const PAYLOAD_BYTES_MAX: usize = 4096;
const LINE_BYTES_MAX: usize = 1 << 16;

/// Takes `data` in as pieces of a connection and reads every line as a command of any sort.
pub fn commands(data: &[u8]) {
    let piece = data.first().map_or(1, |byte| usize::from(*byte) % 40 + 1);
    let lines = lines(data, piece);
    let whole = data.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let whole: Vec<&[u8]> = whole.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    assert_eq!(lines, whole, "in pieces of {piece}");
    for line in lines.iter().map(Vec::as_slice).chain([data]) {
        // Whether it is one is all that can be said.
        let _ = Hello::parse(line);
        if let Ok(line) = std::str::from_utf8(line) {
            command(line);
        }
    }
}

fn lines(data: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let mut inbox = Inbox::new(LINE_BYTES_MAX, &ByteBudget::new(1 << 20));
    let mut lines = Vec::new();
    for mut bytes in data.chunks(piece) {
        while !bytes.is_empty() {
            let Ok(spare) = inbox.spare() else { return lines };
            let count = spare.len().min(bytes.len());
            spare[..count].copy_from_slice(&bytes[..count]);
            inbox.filled(count);
            bytes = &bytes[count..];
            while let Some(line) = inbox.take_line() {
                lines.push(inbox.text(line).to_vec());
            }
        }
    }
    lines
}

fn command(line: &str) {
    let mut reader = JobReader::new(PAYLOAD_BYTES_MAX);
    let error = match FwpCommand::parse(line) {
        FwpCommand::Push(text) => reader.one(text).map(|spec| check(&spec)).err(),
        FwpCommand::PushBulk(text) => reader.many(text).map(|(specs, _)| specs.iter().for_each(check)).err(),
        FwpCommand::Fetch(text) => fetched_queues(text).map(|queues| assert!(!queues.is_empty())).err(),
        FwpCommand::Ack(text) => acked_job(text).err(),
        FwpCommand::Fail(text) => {
            failed_job(text).map(|(_, failure)| assert!(!failure.message.is_empty())).err()
        }
        FwpCommand::Beat(text) => Beat::parse(text).err(),
        FwpCommand::Queue(text) => QueueCommand::parse(text).err(),
        FwpCommand::Mutate(text) => {
            Mutation::parse(text).map(|mutation| fits_something(&mutation, text)).err()
        }
        _ => None,
    };
    assert!(error.is_none_or(|error| !error.is_empty()), "an error says something");
}

fn fits_something(mutation: &Mutation, text: &str) {
    if let Some(glob) = &mutation.filter.glob {
        // What matters is that it ends, and that nothing fits less than what it is a part of.
        assert!(Glob::new("*").matches(text) || !glob.matches(text));
    }
}

/// A job that was accepted is written so that it is read again as the same.
fn check(spec: &JobSpec) {
    let mut text = Vec::new();
    write_faktory_job(&accepted(spec.clone(), Timestamp(1)), &mut text);
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    assert!(!text.contains('\n'), "one line: {text}");
    let again = JobReader::new(PAYLOAD_BYTES_MAX).one(&text).unwrap_or_else(|bad| panic!("{bad}: {text}"));
    let fields = |spec: &JobSpec| {
        let JobSpec { id, queue, kind, payload, priority, timeout, max_retry, exhausted, custom, .. } = spec;
        format!(
            "{id:?} {queue} {kind} {payload:?} {priority:?} {timeout:?} {max_retry:?} {exhausted:?} {custom:?}"
        )
    };
    assert_eq!(fields(&again), fields(spec), "{text}");
    assert!(spec.payload.as_str().len() <= PAYLOAD_BYTES_MAX);
}
