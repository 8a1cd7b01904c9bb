//! Every file looked at for itself: what can be read, and what its bytes prove to have existed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::api::options::EngineOptions;
use crate::ids::Seq;
use crate::recovery::boot::QUARANTINE;
use crate::recovery::store_note::{STORE_FILE, StoreNote};
use crate::snapshot::chain::{LayerName, chain_to};
use crate::snapshot::store::SnapshotStore;
use crate::storage::Storage;
use crate::tools::doctor::error::DoctorError;
use crate::tools::doctor::files::{
    Found, Header, ReadEnd, Survey, SurveyedSegment, read_batches, snapshot_of,
};
use crate::tools::doctor::interrupted_repair::{Moved, moved_by_repairs};
use crate::tools::doctor::listing::{Listed, list};
use crate::tools::doctor::report::{SegmentReport, SegmentState, SnapshotReport, SnapshotState};
use crate::wal::WalError;
use crate::wal::format::{SegmentEnd, StoreId};
use crate::wal::reader::{SegmentReader, Stop};
use crate::wal::witness::{self, WITNESS_FILE};

/// Looks at everything. Changes nothing.
///
/// If a start is refused, what a repair that was cut off has moved away counts as well; if not, nobody needs it.
pub(super) fn survey(
    storage: &Arc<dyn Storage>,
    options: &EngineOptions,
    product_files: &[&str],
    is_refused: bool,
) -> Result<Survey, DoctorError> {
    let quarantine = options.data_dir.join(QUARANTINE);
    let snapshots = SnapshotStore::new(storage.clone(), &options.snapshot_dir, &quarantine);
    let positions = snapshots.list()?;
    let listed = Listed::of(&**storage, options, product_files, &snapshots, &positions)?;
    let Listed { mut segments, unfinished, foreign } = listed;
    let mut images: Vec<_> = positions
        .iter()
        .rev()
        .map(|name| snapshot_of(&snapshots, *name, &options.policy))
        .collect::<Result<_, _>>()?;
    name_what_leads_nowhere(&positions, &mut images);
    let mut survey = Survey {
        store: None,
        segments: Vec::new(),
        in_quarantine: Vec::new(),
        copies: Vec::new(),
        snapshots: Vec::new(),
        findings: Vec::new(),
        unfinished,
        foreign,
        quarantine: list(&**storage, &quarantine)?.into_iter().map(|name| quarantine.join(name)).collect(),
        proven: Seq::ZERO,
        written: Seq::ZERO,
        witness: None,
        misleading_note: None,
    };
    let noted = survey.read_note(&**storage, &options.data_dir)?;
    let of_log = segments.iter().filter_map(|found| Some(found.header()?.store));
    let of_images = images.iter().rev().filter_map(|(_, store)| *store);
    let all: Vec<_> = of_images.chain(of_log).collect();
    // The note names the store, unless nothing here is of it.
    survey.store = noted.filter(|noted| all.is_empty() || all.contains(noted)).or(all.first().copied());
    if let (Some(noted), Some(store)) = (noted, survey.store.filter(|store| Some(*store) != noted)) {
        survey.findings.push(format!("{STORE_FILE} says store {noted}, but the files are of store {store}"));
        survey.misleading_note = Some(options.data_dir.join(STORE_FILE));
    }
    for (report, store) in &mut images {
        match store {
            Some(store) if Some(*store) != survey.store => {
                report.state = SnapshotState::Foreign { store: store.to_string() };
            }
            Some(_) => survey.proven = survey.proven.max(report.through),
            None => {}
        }
    }
    survey.snapshots = images.into_iter().map(|(report, _)| report).collect();
    let moved = match is_refused {
        true => moved_by_repairs(storage, &quarantine, survey.store, &segments)?,
        false => Moved::default(),
    };
    survey.proven = survey.proven.max(moved.proven);
    survey.ask_witness(&**storage, &options.data_dir);
    survey.findings.extend(moved.findings);
    survey.copies = moved.copies;
    segments.extend(moved.segments);
    survey.read_segments(&**storage, segments)?;
    survey.name_damage();
    survey.name_misnamed();
    (survey.in_quarantine, survey.segments) =
        survey.segments.into_iter().partition(|segment| segment.path().starts_with(&quarantine));
    Ok(survey)
}

/// What changes a state that cannot be had is of no more use than what is damaged. `images` are the other way round.
fn name_what_leads_nowhere(names: &[LayerName], images: &mut [(SnapshotReport, Option<StoreId>)]) {
    let is_whole = |(name, (report, _)): (&LayerName, &(SnapshotReport, _))| {
        (report.state == SnapshotState::Whole).then_some(*name)
    };
    let whole: Vec<_> = names.iter().zip(images.iter().rev()).filter_map(is_whole).collect();
    for (name, (report, _)) in names.iter().zip(images.iter_mut().rev()) {
        if report.state == SnapshotState::Whole && chain_to(&whole, name.last).is_none() {
            let problem = format!("the layers before it, up to event {}, are not whole", name.parent);
            report.state = SnapshotState::Corrupted { problem };
        }
    }
}

impl Survey {
    /// What the log's second witness proves, if it is one of this store's log.
    fn ask_witness(&mut self, storage: &dyn Storage, data_dir: &Path) {
        let path = data_dir.join(WITNESS_FILE);
        let said = match witness::read(storage, &path) {
            Ok(Some(said)) => said,
            Ok(None) => return,
            // It keeps no server from starting. A repair moves it to quarantine: it might be read later, and miss what is cut.
            Err(_) => {
                self.witness = Some((path, Seq::MAX));
                return;
            }
        };
        if Some(said.store) != self.store {
            self.findings.push(format!("{}: it is of the log of store {}", path.display(), said.store));
            self.witness = Some((path, Seq::MAX));
            return;
        }
        let required = said.under(storage.boot_id()).written;
        self.proven = self.proven.max(required);
        self.witness = Some((path, required));
    }

    /// The store that the data directory's note names.
    fn read_note(&mut self, storage: &dyn Storage, data_dir: &Path) -> Result<Option<StoreId>, DoctorError> {
        let path = data_dir.join(STORE_FILE);
        Ok(match StoreNote::read(storage, data_dir).map_err(DoctorError::io(&path, "read"))? {
            StoreNote::Names(store) => Some(store),
            StoreNote::Missing => None,
            StoreNote::Unreadable => {
                self.findings.push(format!("{}: it names no store", path.display()));
                None
            }
        })
    }

    fn read_segments(&mut self, storage: &dyn Storage, found: Vec<Found>) -> Result<(), DoctorError> {
        // A number belongs to the file of that name, or else to the first one that says so.
        let mut owners: BTreeMap<u64, (&Path, SegmentEnd)> = BTreeMap::new();
        for file in &found {
            let Some(header) = file.header_in(self.store) else { continue };
            let claim = (file.path.as_path(), header.predecessor);
            match header.number == file.named {
                true => drop(owners.insert(header.number, claim)),
                false => drop(owners.entry(header.number).or_insert(claim)),
            }
        }
        let followed: BTreeMap<u64, SegmentEnd> =
            owners.values().map(|(_, predecessor)| (predecessor.number, *predecessor)).collect();
        let place = |file: &Found| {
            let number = file.header_in(self.store)?.number;
            (owners[&number].0 == file.path).then_some(number)
        };
        let places: Vec<_> = found.iter().map(place).collect();
        let mut files: Vec<_> = places.into_iter().zip(found).collect();
        files.retain(|(place, file)| place.is_some() || !file.is_in_quarantine);
        files.sort_by_key(|(place, file)| (place.unwrap_or(file.named), place.is_none()));
        let mut previous = None;
        for (place, file) in files {
            let number = place.unwrap_or(file.named);
            if let Some(missing) = previous.map(|previous| previous + 1).filter(|next| *next < number) {
                self.findings.push(match missing + 1 == number {
                    true => format!("segment {missing} is missing"),
                    false => format!("segments {missing} to {} are missing", number - 1),
                });
            }
            previous = Some(number);
            let ends = place.and_then(|place| followed.get(&place).copied());
            let segment = self.read_segment(storage, place, file, ends)?;
            self.segments.push(segment);
        }
        Ok(())
    }

    fn read_segment(
        &mut self,
        storage: &dyn Storage,
        place: Option<u64>,
        Found { named, header, path, .. }: Found,
        ends: Option<SegmentEnd>,
    ) -> Result<SurveyedSegment, DoctorError> {
        let number = place.unwrap_or(named);
        let file = storage.open_to_read(&path).map_err(DoctorError::io(&path, "open"))?;
        let bytes = file.len().map_err(DoctorError::io(&path, "measure"))?;
        drop(file);
        let report = |from, to, state| SegmentReport { path: path.clone(), bytes, from, to, state };
        let alone = |report| SurveyedSegment { number, header: None, beyond: Vec::new(), good: 0, report };
        let header = match header {
            Header::Bad(state) => return Ok(alone(report(None, None, state))),
            Header::Read(header) if Some(header.store) != self.store => {
                let state = SegmentState::Foreign { store: header.store.to_string() };
                return Ok(alone(report(Some(header.first), None, state)));
            }
            Header::Read(header) => header,
        };
        let mut reader = match SegmentReader::open(storage, &path) {
            // Longer than any segment: its header is believed, but nothing else is read.
            Err(WalError::Damaged { offset, problem, .. }) => {
                self.proven = self.proven.max(header.predecessor.last);
                let state = SegmentState::Damaged { at: offset, problem, from: None, to: None };
                return Ok(alone(report(Some(header.first), None, state)));
            }
            reader => reader?,
        };
        let read = read_batches(&mut reader, ends, &mut |_, _| Ok(()))?;
        let to = read.good.last;
        self.proven = self.proven.max(header.predecessor.last).max(reader.durable());
        self.written = self.written.max(to);
        let (mut beyond, mut rest_bytes) = (Vec::new(), 0);
        let is_over =
            ends.is_some_and(|end| end == read.good) || matches!(read.stop, ReadEnd::Stop(Stop::End));
        if !is_over {
            let rest = reader.rest()?;
            rest_bytes = rest.bytes().len() as u64;
            self.proven = self.proven.max(rest.durable());
            beyond.extend(
                rest.batches()
                    .filter(|batch| batch.header.count > 0)
                    .map(|batch| (batch.header.first, u64::from(batch.header.count))),
            );
        }
        let at = read.good.len;
        let damaged = |problem| SegmentState::Damaged { at, problem, from: Some(to.next()), to: None };
        let state = match (read.stop, ends) {
            _ if place.is_none() => SegmentState::Renamed { says: header.number },
            (ReadEnd::Newer(problem), _) => SegmentState::Newer { problem },
            (_, Some(end)) if end == read.good => SegmentState::Sealed,
            (ReadEnd::Stop(Stop::End), None) => SegmentState::Whole,
            (ReadEnd::Stop(Stop::Sealed), None) => {
                self.findings.push(format!("segment {} is missing: segment {number} was sealed", number + 1));
                SegmentState::Sealed
            }
            (ReadEnd::Stop(Stop::Invalid(problem)), None) => {
                SegmentState::Torn { at, bytes: rest_bytes, problem }
            }
            (ReadEnd::Invalid(problem), _)
            | (ReadEnd::Stop(Stop::Invalid(problem) | Stop::Unreadable(problem)), _) => damaged(problem),
            (ReadEnd::Stop(Stop::End), Some(_)) => {
                damaged("a batch is missing: only zeros follow".to_owned())
            }
            (ReadEnd::Stop(Stop::Sealed), Some(_)) => damaged("it is sealed here, before its end".to_owned()),
            (ReadEnd::Through, _) => damaged("its successor says that it ended otherwise".to_owned()),
        };
        let segment_header = place.map(|_| header);
        Ok(SurveyedSegment {
            number,
            header: segment_header,
            beyond,
            good: at,
            report: report(Some(header.first), Some(to), state),
        })
    }

    /// Which segments only lost their names. One that is damaged, too, is told as such first.
    fn name_misnamed(&mut self) {
        for segment in self.segments.iter_mut().filter(|segment| segment.is_misnamed()) {
            let says = segment.number;
            match segment.report.state {
                SegmentState::Whole | SegmentState::Sealed | SegmentState::Torn { .. } => {
                    segment.report.state = SegmentState::Renamed { says };
                }
                _ => {
                    let path = segment.report.path.display();
                    self.findings.push(format!("{path}: it says that it is segment {says}: was it renamed?"));
                }
            }
        }
    }

    /// Now that everything was seen: which tails are damage, and how far damage reaches.
    fn name_damage(&mut self) {
        let last = self.segments.last().map(|segment| segment.number);
        for index in 0..self.segments.len() {
            let segment = &self.segments[index];
            let Some(next) = segment.report.to.map(Seq::next) else { continue };
            let beyond = segment.beyond.iter().copied();
            let readable = beyond.clone().map(|(first, _)| first).filter(|first| *first >= next).min();
            let later = self.segments[index + 1..].iter().filter_map(|later| Some(later.header?.first));
            let again = readable.into_iter().chain(later.filter(|first| *first >= next)).min();
            let is_last = Some(segment.number) == last;
            let is_damage = match &segment.report.state {
                SegmentState::Torn { .. } => !is_last || self.proven >= next,
                SegmentState::Whole => is_last && self.proven >= next,
                SegmentState::Damaged { .. } => true,
                _ => false,
            };
            if !is_damage {
                continue;
            }
            let ends = beyond.map(|(first, count)| Seq(first.0 + count - 1)).max();
            self.written = self.written.max(ends.unwrap_or_default());
            let through = again.map_or(self.proven.max(next), |again| Seq(again.0 - 1));
            let segment = &mut self.segments[index];
            let (at, problem) = match &segment.report.state {
                SegmentState::Torn { problem, .. } | SegmentState::Damaged { problem, .. } => {
                    (segment.good, problem.clone())
                }
                _ => (segment.good, "only zeros follow what was durable".to_owned()),
            };
            let (from, to) = (Some(next), Some(through));
            segment.report.state = SegmentState::Damaged { at, problem, from, to };
        }
    }
}
