//! Records through power cuts: old or new, never neither; and whatever a region holds, it can be used.

use crate::flash::{Flash, SECTOR, Tear};
use embassy_futures::block_on;
use picolet_platform::{LONGEST_RECORD, Record, RecordError, Records};
use picolet_store::device::{Device, Opened};
use picolet_store::layout::PICO_W;
use proptest::prelude::*;
use std::collections::BTreeMap;

const RECORDS: [Record; 5] = [
    Record::TimeFloor,
    Record::Seed,
    Record::IdentityReset,
    Record::ClientIdentity,
    Record::ServingIdentity,
];

type Values = BTreeMap<u8, Vec<u8>>;

fn open(flash: &mut Flash) -> Result<(Device<&mut Flash>, Opened), RecordError> {
    let end = flash.bytes.len() as u32;
    block_on(Device::open(flash, 0..end))
}

fn load(device: &Device<&mut Flash>, record: Record) -> Vec<u8> {
    let mut buffer = [0; LONGEST_RECORD];
    let length = block_on(device.load(record, &mut buffer)).unwrap_or_default();
    buffer[..length].to_vec()
}

/// Opens the flash, which must hold `values`, but for `open_question` whose value may be either.
fn expect(flash: &mut Flash, values: &Values, open_question: Option<(Record, &[u8])>) -> Values {
    let (device, opened) = open(flash).expect("opens with power");
    assert_eq!(opened, Opened::Intact, "nothing is erased after a cut");
    let mut found = Values::new();
    for record in RECORDS {
        let value = load(&device, record);
        let old = values.get(&(record as u8)).cloned().unwrap_or_default();
        let new = open_question.filter(|(other, _)| *other == record);
        assert!(
            value == old || new.is_some_and(|(_, new)| value == new),
            "{record:?}: {} bytes, neither the old {} nor {:?}",
            value.len(),
            old.len(),
            new.map(|(_, new)| new.len())
        );
        found.insert(record as u8, value);
    }
    found
}

#[test]
fn records_are_kept() {
    let mut flash = Flash::new(12);
    {
        let (device, opened) = open(&mut flash).expect("opens");
        assert_eq!((opened, device.boots()), (Opened::Intact, 1));
        block_on(async {
            assert_eq!(device.load(Record::Seed, &mut [0; 32]).await, None);
            device.store(Record::Seed, &[7; 32]).await.expect("stores");
            device.store(Record::TimeFloor, &[1; 8]).await.expect("stores");
            device.store(Record::TimeFloor, &[2; 8]).await.expect("stores");
            let long = [3; LONGEST_RECORD];
            device.store(Record::ClientIdentity, &long).await.expect("stores");
            let too_long = [3; LONGEST_RECORD + 1];
            assert_eq!(
                device.store(Record::ClientIdentity, &too_long).await,
                Err(RecordError::Full)
            );
            device
                .store(Record::ServingIdentity, &[4; 600])
                .await
                .expect("stores");
            device.store(Record::ServingIdentity, &[]).await.expect("stores");
        });
    }
    let (device, opened) = open(&mut flash).expect("opens");
    assert_eq!((opened, device.boots()), (Opened::Intact, 2));
    assert_eq!(load(&device, Record::Seed), [7; 32]);
    assert_eq!(load(&device, Record::TimeFloor), [2; 8]);
    assert_eq!(load(&device, Record::ClientIdentity), [3; LONGEST_RECORD]);
    assert_eq!(load(&device, Record::ServingIdentity), []);
    // What does not fit into the caller's buffer is not there.
    assert_eq!(block_on(device.load(Record::Seed, &mut [0; 31])), None);
}

#[test]
fn a_value_that_is_there_is_not_written_again() {
    let mut flash = Flash::new(12);
    {
        let (device, _) = open(&mut flash).expect("opens");
        block_on(device.store(Record::Seed, &[7; 32])).expect("stores");
    }
    let mut alone = flash.clone();
    drop(open(&mut alone).expect("opens"));
    let (device, _) = open(&mut flash).expect("opens");
    block_on(device.store(Record::Seed, &[7; 32])).expect("stores");
    block_on(device.store(Record::ServingIdentity, &[])).expect("stores");
    drop(device);
    assert_eq!(flash.operations, alone.operations);
}

#[test]
fn identity_is_reset_once_for_each_number() {
    let mut flash = Flash::new(12);
    let (device, _) = open(&mut flash).expect("opens");
    block_on(async {
        let identity = Record::ClientIdentity;
        device.store(identity, &[1; 100]).await.expect("stores");
        device.store(Record::TimeFloor, &[2; 9]).await.expect("stores");
        device.store(Record::Seed, &[4; 8]).await.expect("stores");
        assert_eq!(device.reset_identity(5).await, Ok(true));
        assert_eq!(device.load(identity, &mut [0; 100]).await, None);
        assert_eq!(device.load(Record::TimeFloor, &mut [0; 9]).await, None);
        device.store(identity, &[3; 100]).await.expect("stores");
        assert_eq!(device.reset_identity(5).await, Ok(false));
        assert_eq!(device.load(identity, &mut [0; 100]).await, Some(100));
        assert_eq!(device.reset_identity(6).await, Ok(true));
        assert_eq!(device.load(identity, &mut [0; 100]).await, None);
        assert_eq!(device.load(Record::Seed, &mut [0; 8]).await, Some(8));
    });
}

/// Twelve sectors with a secret in many versions, of which only the last can be read.
fn with_secrets() -> Flash {
    let mut flash = Flash::new(12);
    let (device, _) = open(&mut flash).expect("opens");
    for round in 0..16_u8 {
        let mut identity = vec![round; 600];
        identity[100..132].copy_from_slice(&SECRET);
        for record in Record::IDENTITY {
            identity[0] = record as u8;
            block_on(device.store(record, &identity)).expect("stores");
        }
        block_on(device.store(Record::Seed, &[round; 8])).expect("stores");
    }
    drop(device);
    flash
}

const SECRET: [u8; 32] = *b"thirty-two bytes that are secret";

fn holds_secret(flash: &Flash) -> bool {
    flash.bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

#[test]
fn what_is_forgotten_is_nowhere_in_the_flash() {
    let mut flash = with_secrets();
    assert!(holds_secret(&flash));
    let (device, _) = open(&mut flash).expect("opens");
    block_on(device.forget()).expect("forgets");
    drop(device);
    assert!(!holds_secret(&flash));
    let (device, opened) = open(&mut flash).expect("opens");
    assert_eq!(opened, Opened::Intact);
    assert_eq!(load(&device, Record::Forget), []);
    for record in Record::IDENTITY {
        assert_eq!(load(&device, record), []);
    }
    assert_eq!(load(&device, Record::Seed), [15; 8], "the rest is kept");
}

#[test]
fn a_power_cut_while_it_forgets_is_made_up_for() {
    let whole = with_secrets();
    let mut cuts = 0;
    // Each operation takes long to try; a prime hits all kinds of them.
    for operation in (0..).step_by(7) {
        for tear in Tear::SOME {
            let mut flash = whole.clone();
            flash.cut = Some((operation, tear));
            let done = open(&mut flash).and_then(|(device, _)| block_on(device.forget()));
            let mut flash = flash.powered();
            let (device, opened) = open(&mut flash).expect("opens with power");
            assert_eq!(opened, Opened::Intact);
            let marked = !load(&device, Record::Forget).is_empty();
            if done.is_err() && marked {
                cuts += 1;
                block_on(device.forget()).expect("forgets");
            }
            drop(device);
            // What was cut before it was known to be asked for was not begun.
            assert!(
                marked || !holds_secret(&flash) || operation < 7,
                "operation {operation}, {tear:?}"
            );
            if done.is_ok() {
                assert!(cuts > 50, "{cuts}");
                return;
            }
        }
    }
}

/// Records of a node that has joined.
fn with_identity(sectors: usize) -> Flash {
    let mut flash = Flash::new(sectors);
    let (device, _) = open(&mut flash).expect("opens");
    block_on(device.store(Record::ClientIdentity, &[3; 1500])).expect("stores");
    block_on(device.store(Record::NodePassword, &[4; 16])).expect("stores");
    block_on(device.store(Record::TimeFloor, &[5; 8])).expect("stores");
    drop(device);
    flash
}

fn expect_identity(device: &Device<&mut Flash>) {
    assert_eq!(load(device, Record::ClientIdentity), [3; 1500]);
    assert_eq!(load(device, Record::NodePassword), [4; 16]);
    assert_eq!(load(device, Record::TimeFloor), [5; 8]);
}

#[test]
fn records_can_be_read_when_nothing_can_be_written() {
    let whole = with_identity(12);
    for (writes, erases) in [(true, false), (true, true)] {
        let mut flash = whole.clone();
        flash.failing.writes = writes;
        flash.failing.erases = erases;
        let (device, opened) = open(&mut flash).expect("opens");
        assert_eq!((opened, device.boots()), (Opened::ReadOnly(RecordError::Io), 2));
        expect_identity(&device);
        drop(device);
        assert_eq!(flash.bytes, whole.bytes, "nothing was erased");
        flash.failing = Default::default();
        let (device, opened) = open(&mut flash).expect("opens");
        assert_eq!((opened, device.boots()), (Opened::Intact, 2));
        expect_identity(&device);
    }
}

#[test]
fn records_can_be_read_when_their_storage_is_full() {
    let mut flash = with_identity(2);
    {
        let (device, _) = open(&mut flash).expect("opens");
        // Each of them as long as there is room for; one of the two sectors is for what is in use.
        for record in [Record::ServingIdentity, Record::Seed, Record::IdentityReset] {
            let fits = |length: &usize| block_on(device.store(record, &vec![9; *length])).is_ok();
            let _ = (1..=LONGEST_RECORD).rev().step_by(4).find(fits);
        }
    }
    let mut full = false;
    for boot in 0..20 {
        let before = flash.erased.clone();
        let (device, opened) = open(&mut flash).expect("opens");
        expect_identity(&device);
        drop(device);
        assert_ne!(opened, Opened::Erased, "boot {boot}, erased {before:?}");
        full |= opened == Opened::ReadOnly(RecordError::Full);
    }
    assert!(full, "the storage was never full");
}

#[test]
fn nothing_is_erased_when_the_flash_cannot_be_read() {
    let whole = with_identity(12);
    let mut flash = whole.clone();
    flash.failing.reads = true;
    assert_eq!(open(&mut flash).err(), Some(RecordError::Io));
    assert_eq!(flash.bytes, whole.bytes);
}

#[test]
fn other_records_are_kept_when_one_item_is_damaged() {
    let whole = with_identity(12);
    let identity = whole.bytes.windows(1500).position(|window| window == [3; 1500]);
    let password = whole.bytes.windows(16).position(|window| window == [4; 16]);
    for (at, record) in [
        (identity, Record::ClientIdentity),
        (password, Record::NodePassword),
    ] {
        let mut flash = whole.clone();
        flash.bytes[at.expect("a value")] = 0;
        let (device, opened) = open(&mut flash).expect("opens");
        assert_eq!(opened, Opened::Intact);
        for (other, value) in [
            (Record::ClientIdentity, vec![3; 1500]),
            (Record::NodePassword, vec![4; 16]),
            (Record::TimeFloor, vec![5; 8]),
        ] {
            let expected = if other == record { vec![] } else { value };
            assert_eq!(load(&device, other), expected, "{record:?} is damaged");
        }
        block_on(device.store(record, &[6; 16])).expect("stores");
        assert_eq!(load(&device, record), [6; 16]);
    }
}

#[test]
fn region_is_erased_when_it_holds_no_records() {
    let mut flash = Flash::new(4);
    flash.bytes.fill(0);
    let (device, opened) = open(&mut flash).expect("opens");
    assert_eq!((opened, device.boots()), (Opened::Erased, 1));
    drop(device);
    let mut flash = Flash::new(4);
    flash.bytes.fill(0);
    flash.failing.erases = true;
    assert_eq!(open(&mut flash).err(), Some(RecordError::Io));
}

#[test]
fn region_is_erased_when_it_holds_an_item_that_is_longer_than_any_record() {
    let mut flash = Flash::new(4);
    flash.bytes[0] = 0;
    // The header of an item, as `sequential-storage` writes it: a checksum of the data, their length, and its checksum.
    flash.bytes[4..8].copy_from_slice(&[1; 4]);
    flash.bytes[8..10].copy_from_slice(&3000_u16.to_le_bytes());
    flash.bytes[10..12].copy_from_slice(&0xed83_u16.to_le_bytes());
    let (device, opened) = open(&mut flash).expect("opens");
    assert_eq!((opened, device.boots()), (Opened::Erased, 1));
}

/// A life of records in so few sectors that each of them is used again twice and more, cut at every single operation in
/// every way, and once more while the first cut is being made up for.
#[test]
fn power_cut_at_every_operation() {
    let mut flash = Flash::new(4);
    let mut values = Values::new();
    let (mut cuts, mut second_cuts) = (0, 0);
    for step in 0..160_usize {
        let record = RECORDS[step * 7 % RECORDS.len()];
        let length = [8, 32, 1700, 8, LONGEST_RECORD, 0][step % 6];
        let value = vec![step as u8 + 1; length];
        for tear in Tear::SOME {
            for operation in 0.. {
                let mut cut = flash.clone();
                cut.cut = Some((operation, tear));
                let done = open(&mut cut).and_then(|(device, _)| block_on(device.store(record, &value)));
                if done.is_ok() {
                    break;
                }
                cuts += 1;
                let cut = cut.powered();
                for second in 0..6 {
                    let mut again = cut.clone();
                    again.cut = Some((second, tear));
                    if open(&mut again).is_ok() {
                        break;
                    }
                    second_cuts += 1;
                    expect(&mut again.powered(), &values, Some((record, &value)));
                }
                let mut cut = cut;
                let found = expect(&mut cut, &values, Some((record, &value)));
                // What was found stays, and can be replaced.
                {
                    let (device, _) = open(&mut cut).expect("opens");
                    block_on(device.store(Record::Seed, &[0xee; 32])).expect("stores");
                }
                let mut found = found;
                found.insert(Record::Seed as u8, vec![0xee; 32]);
                expect(&mut cut, &found, None);
            }
        }
        let (device, _) = open(&mut flash).expect("opens");
        block_on(device.store(record, &value)).expect("stores");
        drop(device);
        values.insert(record as u8, value);
    }
    let erased = &flash.erased;
    assert!(
        erased.iter().all(|times| *times >= 2),
        "each sector was used again: {erased:?}"
    );
    println!("{cuts} cuts, {second_cuts} while the first was made up for, sectors erased {erased:?} times");
}

#[test]
fn record_stays_when_it_is_stored_after_a_torn_write() {
    // sequential-storage, issue 136: a header behind a torn one can complete it, by one value of its first byte in 256.
    let (mut flash, mut lost) = (Flash::new(2), Vec::new());
    for number in 0..2048_u32 {
        let value = number.to_le_bytes().repeat(8);
        let boots = open(&mut flash).expect("opens").0.boots();
        for (operation, bytes) in (1..4).flat_map(|operation| (1..8).map(move |bytes| (operation, bytes))) {
            let mut torn = flash.clone();
            torn.cut = Some((operation, Tear::Bytes(bytes)));
            let done = open(&mut torn).and_then(|(device, _)| block_on(device.store(Record::Seed, &value)));
            assert!(done.is_err(), "{operation}");
            let mut torn = torn.powered();
            let (device, _) = open(&mut torn).expect("opens");
            let before = device.boots();
            block_on(device.store(Record::Seed, &value)).expect("stores");
            drop(device);
            let (device, _) = open(&mut torn).expect("opens");
            if device.boots() != before + 1 || load(&device, Record::Seed) != value {
                lost.push((boots, operation, bytes));
            }
        }
    }
    assert!(
        lost.is_empty(),
        "{} of {} were lost: {lost:?}",
        lost.len(),
        2048 * 21
    );
}

#[test]
fn wear_is_spread_over_all_sectors() {
    let sectors = PICO_W.device.length as usize / SECTOR;
    let mut flash = Flash::new(sectors);
    let (device, _) = open(&mut flash).expect("opens");
    block_on(device.store(Record::ClientIdentity, &[1; 1500])).expect("stores");
    let stores = 10_000_u64;
    for time in 0..stores {
        block_on(device.store(Record::TimeFloor, &time.to_le_bytes())).expect("stores");
    }
    drop(device);
    let (least, most) = (
        flash.erased.iter().min().expect("sectors"),
        flash.erased.iter().max().expect("sectors"),
    );
    println!("{stores} time floors: each of {sectors} sectors erased {least} to {most} times");
    assert!(most - least <= 1, "{:?}", flash.erased);
    // 100,000 erases of a sector (W25Q16JV datasheet) are good for so many.
    assert!(u64::from(*most) * 2_000 <= stores, "{most}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any life, cut anywhere and again: old or new.
    #[test]
    fn records_survive_any_cuts(
        steps in prop::collection::vec((0..RECORDS.len(), 0..LONGEST_RECORD, prop::option::of((0..40_usize, any::<u32>()))), 1..60),
    ) {
        let mut flash = Flash::new(6);
        let mut values = Values::new();
        for (n, (record, length, cut)) in steps.into_iter().enumerate() {
            let record = RECORDS[record];
            // Two that may be long, as the identities of a node are.
            let most = if record as u8 >= Record::ClientIdentity as u8 { length } else { length % 40 };
            let value = vec![n as u8 | 1; most];
            flash.cut = cut.map(|(operation, seed)| (operation, match seed % 3 {
                0 => Tear::Prefix(seed as u8),
                _ => Tear::Bits(seed),
            }));
            let done = open(&mut flash).and_then(|(device, _)| block_on(device.store(record, &value)));
            flash = flash.powered();
            if done.is_ok() {
                values.insert(record as u8, value.clone());
            }
            values = expect(&mut flash, &values, Some((record, &value)));
        }
    }

    /// Whatever another program left there.
    #[test]
    fn any_region_can_be_used(
        start in prop::collection::vec(any::<u8>(), 0..SECTOR),
        fill in prop::sample::select(vec![0_u8, 0xff, 0x55]),
        ends in any::<[u8; 8]>(),
    ) {
        let mut flash = Flash::new(4);
        flash.bytes.fill(fill);
        for (sector, end) in flash.bytes.chunks_mut(SECTOR).zip(ends.chunks(2)) {
            sector[..start.len()].copy_from_slice(&start);
            sector[0] = end[0];
            sector[SECTOR - 1] = end[1];
        }
        let (device, _) = open(&mut flash).expect("opens");
        for time in 0..600_u64 {
            block_on(device.store(Record::TimeFloor, &time.to_le_bytes())).expect("stores");
        }
        block_on(device.store(Record::ClientIdentity, &[1; LONGEST_RECORD])).expect("stores");
        prop_assert_eq!(load(&device, Record::TimeFloor), 599_u64.to_le_bytes());
        prop_assert_eq!(device.boots(), 1);
    }
}
