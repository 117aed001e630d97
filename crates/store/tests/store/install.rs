//! Settings through power cuts: old or new, never neither.

use crate::flash::{Flash, NoPower, SECTOR, Tear};
use embassy_futures::block_on;
use picolet_store::settings::{
    CAPACITY, Field, HEADER, InstallError, REGION, SLOT, Settings, SettingsError, VERSION, Writer, checksum,
    install, load, mend,
};

fn block(name: &str) -> [u8; SLOT] {
    let mut block = [0; SLOT];
    let mut writer = Writer::new(&mut block);
    let certificate = [&[0x30, 0x82, 0x0b, 0xb4], [0x55; 2996].as_slice()].concat();
    for (field, value) in [
        (Field::Ssid, b"attic".as_slice()),
        (Field::Passphrase, b"correct horse"),
        (Field::Server, b"https://10.0.0.1:6443"),
        (Field::CertificateAuthority, &certificate),
        (Field::ClientAuthority, &certificate),
        (Field::NodeName, name.as_bytes()),
    ] {
        writer.put(field, value).expect("in order");
    }
    *writer.finish().expect("in order")
}

/// The entries alone, as they are sent to a board.
fn entries(name: &str) -> Vec<u8> {
    let block = block(name);
    let length = u32::from_le_bytes(block[12..16].try_into().expect("four bytes")) as usize;
    block[HEADER..HEADER + length].to_vec()
}

fn name(flash: &Flash) -> Result<String, SettingsError> {
    Settings::read(&flash.bytes).map(|settings| settings.node_name().into())
}

#[test]
fn new_settings_take_the_place_of_old_ones() {
    let mut flash = Flash::new(REGION / SECTOR);
    assert_eq!(name(&flash), Err(SettingsError::Missing));
    for n in 0..5 {
        let wanted = format!("pico-{n}");
        block_on(install(&mut flash, &entries(&wanted))).expect("installs");
        assert_eq!(name(&flash).as_deref(), Ok(wanted.as_str()));
    }
    assert_eq!(flash.erased, [5; 4]);
    assert_eq!(flash.bytes[..SLOT], flash.bytes[SLOT..]);
}

/// What a board copies out of flash is what [`Settings::read`] finds there.
#[test]
fn settings_are_copied_from_the_slot_that_counts() {
    let mut flash = Flash::new(REGION / SECTOR);
    let missing = InstallError::Settings(SettingsError::Missing);
    assert_eq!(block_on(load(&mut flash)), Err(missing));
    block_on(install(&mut flash, &entries("pico-1"))).expect("installs");
    let copied = block_on(load(&mut flash)).expect("settings");
    assert_eq!(copied, entries("pico-1"));
    // They stay as they are while new ones take their place in flash.
    let settings = Settings::read_entries(&copied).expect("in order");
    block_on(install(&mut flash, &entries("another-name"))).expect("installs");
    assert_eq!(settings.node_name(), "pico-1");
    flash.bytes[HEADER] ^= 1;
    assert_eq!(
        block_on(load(&mut flash)),
        Ok(entries("another-name")),
        "the second slot"
    );
    flash.bytes[SLOT + HEADER] ^= 1;
    let damaged = InstallError::Settings(SettingsError::Damaged);
    assert_eq!(block_on(load(&mut flash)), Err(damaged));
    // A header of the next version over the same entries.
    flash.bytes[HEADER] ^= 1;
    flash.bytes[8] = VERSION as u8 + 1;
    let sum = checksum(&flash.bytes[..20]).to_le_bytes();
    flash.bytes[20..24].copy_from_slice(&sum);
    let version = InstallError::Settings(SettingsError::Version(VERSION + 1));
    assert_eq!(block_on(load(&mut flash)), Err(version));
}

#[test]
fn second_slot_counts_when_the_header_of_the_first_is_longer_than_a_slot() {
    let mut flash = Flash::new(REGION / SECTOR);
    block_on(install(&mut flash, &entries("pico-1"))).expect("installs");
    for length in [CAPACITY as u32 + 1, REGION as u32, u32::MAX] {
        flash.bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&flash.bytes[..20]).to_le_bytes();
        flash.bytes[20..24].copy_from_slice(&sum);
        assert_eq!(block_on(load(&mut flash)), Ok(entries("pico-1")), "{length}");
    }
}

#[test]
fn what_is_not_in_order_is_not_written() {
    let mut flash = Flash::new(REGION / SECTOR);
    block_on(install(&mut flash, &entries("pico-1"))).expect("installs");
    let before = flash.operations;
    let whole = entries("pico-2");
    let cut = &whole[..whole.len() - 1];
    assert_eq!(
        block_on(install(&mut flash, cut)),
        Err(InstallError::Settings(SettingsError::Damaged))
    );
    // Unknown fields are passed over, but not without end.
    let mut long = whole.clone();
    long.extend([0xee, 0x00, 0x20]);
    long.extend([0; 0x2000]);
    assert!(long.len() > CAPACITY);
    assert!(block_on(install(&mut flash, &long)).is_err());
    assert_eq!(
        block_on(install(&mut flash, &whole[..4 + 3])),
        Err(InstallError::Settings(SettingsError::Damaged))
    );
    assert_eq!(flash.operations, before);
    assert_eq!(name(&flash).as_deref(), Ok("pico-1"));
}

#[test]
fn power_cut_at_every_operation() {
    let mut flash = Flash::new(REGION / SECTOR);
    let mut old: Option<String> = None;
    let mut cuts = 0;
    for n in 0..3 {
        let new = format!("pico-{n}");
        for tear in Tear::SOME {
            for operation in 0.. {
                let mut cut = flash.clone();
                cut.cut = Some((operation, tear));
                match block_on(install(&mut cut, &entries(&new))) {
                    Ok(()) => break,
                    Err(error) => assert_eq!(error, InstallError::Flash(NoPower)),
                }
                cuts += 1;
                let mut cut = cut.powered();
                let found = name(&cut).ok();
                assert!(
                    found == old || found.as_ref() == Some(&new),
                    "{tear:?} of {operation}: {found:?}"
                );
                // Made up for at the next boot, with another cut in between; and it can be done again.
                let mut again = cut.clone();
                again.cut = Some((operation % 20, tear));
                let _ = block_on(mend(&mut again));
                assert_eq!(name(&again).ok(), found);
                block_on(install(&mut cut, &entries("again"))).expect("installs");
                assert_eq!(name(&cut).as_deref(), Ok("again"));
            }
        }
        block_on(install(&mut flash, &entries(&new))).expect("installs");
        old = Some(new);
    }
    println!("{cuts} cuts");
}

/// A file that is dragged onto the board puts the same block into both slots, sector by sector, whatever is there.
#[test]
fn power_cut_while_a_file_is_dragged_onto_the_board() {
    use embedded_storage_async::nor_flash::NorFlash;
    for before in 0..2 {
        let mut flash = Flash::new(REGION / SECTOR);
        for n in 0..before {
            block_on(install(&mut flash, &entries(&format!("pico-{n}")))).expect("installs");
        }
        let old = name(&flash).ok();
        let file = [block("new"), block("new")].concat();
        let drag = async |flash: &mut Flash| {
            for (sector, at) in file.chunks(SECTOR).zip((0..).step_by(SECTOR)) {
                flash.erase(at, at + SECTOR as u32).await?;
                for (page, at) in sector.chunks(256).zip((at..).step_by(256)) {
                    flash.write(at, page).await?;
                }
            }
            Ok::<_, NoPower>(())
        };
        for tear in Tear::SOME {
            for operation in 0.. {
                let mut cut = flash.clone();
                cut.cut = Some((operation, tear));
                if block_on(drag(&mut cut)).is_ok() {
                    assert_eq!(name(&cut).as_deref(), Ok("new"));
                    break;
                }
                // The next boot, and another power cut while the file is dragged there again.
                let mut cut = cut.powered();
                let found = name(&cut).ok();
                assert!(
                    found == old || found.as_deref() == Some("new"),
                    "{before} {tear:?}: {found:?}"
                );
                block_on(mend(&mut cut)).expect("mends");
                assert_eq!(name(&cut).ok(), found);
                cut.cut = Some((1, tear));
                let _ = block_on(drag(&mut cut));
                let again = name(&cut).ok();
                assert!(again == found || again.as_deref() == Some("new"), "{again:?}");
            }
        }
    }
}
